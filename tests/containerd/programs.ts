/**
 * The programs that the tests run.
 *
 * @module
 */

/**
 * Runs a program to its end.
 *
 * @param program Its name.
 * @param options Its arguments and environment.
 * @returns What it printed.
 */
export async function run(program: string, options: Deno.CommandOptions): Promise<string> {
  const command = new Deno.Command(program, { ...options, stdin: "null" });
  const { success, code, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  if (!success) throw new Error(`${program} has exited with ${code}: ${text.decode(stderr)}`);
  return text.decode(stdout);
}

/**
 * Sends a signal to a process, if it is there.
 *
 * @param pid The process.
 * @param signal The signal.
 */
export function kill(pid: number, signal: Deno.Signal = "SIGKILL"): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    // Nothing is left to end then.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
