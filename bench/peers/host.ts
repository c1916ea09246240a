/** The differences of Deno and Node. No module of Node is loaded under Deno, to save memory. */

interface Host {
  readonly args: readonly string[];
  readonly input: AsyncIterable<Uint8Array>;
  exit(): void;
}

async function node(): Promise<Host> {
  const { default: process } = await import("node:process");
  return { args: process.argv.slice(2), input: process.stdin, exit: () => process.exit() };
}

const host: Host = typeof Deno === "undefined"
  ? await node()
  : { args: Deno.args, input: Deno.stdin.readable, exit: () => Deno.exit() };

/** The arguments on the command line. */
export const args: readonly string[] = host.args;

/** Exits the process. */
export function exit(): void {
  host.exit();
}

/** The lines of the standard input. */
export async function* lines(): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of host.input) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}
