/** Options on the command line. */

/** The number that follows `--name`. */
export function numberOption(name: string, otherwise: number): number {
  const at = Deno.args.indexOf(`--${name}`);
  if (at < 0) return otherwise;
  const value = Number(Deno.args[at + 1]);
  if (!Number.isInteger(value)) throw new TypeError(`--${name} takes a whole number`);
  return value;
}
