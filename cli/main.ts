/**
 * The `ttrpc` command: calls, lists, describes, taps, replays, measures and mocks whatever speaks
 * ttrpc.
 *
 * ```sh
 * deno run -A jsr:@ttrpc/ttrpc/cli call unix:///run/x.sock pkg.Service/Method '{"id":"x"}'
 * ```
 *
 * It exits with 0 if all went well, 2 for a mistake in what it was given (arguments, schema, JSON),
 * 64 and the gRPC code for a call that failed, and 1 for anything else.
 *
 * @module
 */

import { Exit, Failure, isBrokenPipe, messageOf } from "./failure.ts";
import { program } from "./program.ts";
import { type Terminal, terminal } from "./terminal.ts";

/**
 * Runs the command.
 *
 * @param args What stands behind the name of the command.
 * @returns What the process is to exit with. Never rejects.
 */
export async function main(args: readonly string[]): Promise<number> {
  const streams = terminal();
  let code: number = Exit.ok;
  try {
    code = await program(streams, args);
  } catch (error) {
    await streams.out.flushed().catch(() => {}); // in this order also where both are one
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

// Pending reads of stdin or of a connection must not keep the process.
if (import.meta.main) Deno.exit(await main(Deno.args));
