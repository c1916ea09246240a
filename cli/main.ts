/**
 * The `ttrpc` command: calls, inspects, taps, benchmarks and mocks ttrpc servers.
 *
 * ```sh
 * deno run -A jsr:@ttrpc/ttrpc/cli call unix:///run/x.sock pkg.Service/Method '{"id":"x"}'
 * ```
 *
 * It exits with 0 on success, 2 for a mistake in the arguments, the schema or the JSON, 64 plus the
 * gRPC code if the call failed, and 1 for any other error.
 *
 * @module
 */

import { Exit, Failure, isBrokenPipe, messageOf } from "./failure.ts";
import { program } from "./program.ts";
import { type Terminal, terminal } from "./terminal.ts";

/**
 * Runs the command.
 *
 * @param args The arguments, without the name of the command.
 * @returns The exit code. Never rejects.
 */
export async function main(args: readonly string[]): Promise<number> {
  const streams = terminal();
  let code: number = Exit.ok;
  try {
    code = await program(streams, args);
  } catch (error) {
    await streams.out.flushed().catch(() => {}); // before stderr, which may be the same file
    code = report(streams, error);
  }
  try {
    await streams.out.flushed();
    await streams.err.flushed();
  } catch (error) {
    return isBrokenPipe(error) ? Exit.brokenPipe : Exit.failed;
  }
  return code;
}

function report({ err }: Terminal, error: unknown): number {
  if (isBrokenPipe(error)) return Exit.brokenPipe;
  err.line`${err.paint("red", "error:")} ${messageOf(error)}`;
  if (!(error instanceof Failure)) return Exit.failed;
  for (const line of error.more) err.line`  ${line}`;
  return error.exitCode;
}

// Pending reads of stdin or of a connection must not keep the process alive.
if (import.meta.main) Deno.exit(await main(Deno.args));
