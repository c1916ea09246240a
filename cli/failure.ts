/**
 * How the command fails: one line on stderr, and an exit code that says of what kind it was.
 *
 * @module
 */

/** The exit codes. A call that fails with a gRPC code exits with `call` and that code added. */
export const Exit = {
  ok: 0,
  failed: 1,
  usage: 2,
  call: 64,
  brokenPipe: 141,
} as const;

/** An end that is told in one line. */
export class Failure extends Error {
  /** What the process exits with. */
  readonly exitCode: number;
  /** Further lines, below the one. */
  readonly more: readonly string[];

  /**
   * @param message What was attempted, why it failed, and the way out.
   * @param exitCode One of {@linkcode Exit}, or more than `Exit.call`.
   * @param more Further lines, such as the details of a status.
   */
  constructor(message: string, exitCode: number = Exit.failed, more: readonly string[] = []) {
    super(message);
    this.exitCode = exitCode;
    this.more = more;
  }
}

/** A mistake in what the user has given: the command line, a schema, JSON. */
export function usage(message: string): Failure {
  return new Failure(message, Exit.usage);
}

/** The exit code of a failed call. Codes that gRPC does not have count as UNKNOWN. */
export function exitCodeOf(code: number): number {
  return Exit.call + (code >= 1 && code <= 16 ? code : 2);
}

/** What an error says. Others may have said it: it is made printable where it is printed. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim();
}

/** Whether the reader of our output has gone, as `head` does. */
export function isBrokenPipe(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe;
}

/** Why a file cannot be read or written, in words. */
export function fileReason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file or folder";
  if (error instanceof Deno.errors.PermissionDenied) return "the system does not allow it";
  if (error instanceof Deno.errors.IsADirectory) return "it is a folder";
  return messageOf(error).split(/ \(os error \d+\)/, 1)[0]!;
}
