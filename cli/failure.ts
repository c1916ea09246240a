/**
 * Failures of the command: one line on stderr, and an exit code that tells the kind of failure.
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

/** A failure that is reported in one line, without a stack trace. */
export class Failure extends Error {
  /** The exit code of the process. */
  readonly exitCode: number;
  /** Further lines, printed below the message. */
  readonly more: readonly string[];

  /**
   * @param message What was attempted, why it failed, and what to do.
   * @param exitCode One of {@linkcode Exit}, or more than `Exit.call`.
   * @param more Further lines, such as the details of a status.
   */
  constructor(message: string, exitCode: number = Exit.failed, more: readonly string[] = []) {
    super(message);
    this.exitCode = exitCode;
    this.more = more;
  }
}

/** A failure for a mistake of the user: in the command line, a schema or JSON. */
export function usage(message: string): Failure {
  return new Failure(message, Exit.usage);
}

/** The exit code of a failed call. Codes that gRPC does not have count as UNKNOWN. */
export function exitCodeOf(code: number): number {
  return Exit.call + (code >= 1 && code <= 16 ? code : 2);
}

/** The message of an error. It may come from a peer: it is made printable where it is printed. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim();
}

/** Whether the reader of our output has closed it, as `head` does. */
export function isBrokenPipe(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe;
}

/** Why a file cannot be read or written. */
export function fileReason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file or folder";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.IsADirectory) return "it is a folder";
  return messageOf(error).split(/ \(os error \d+\)/, 1)[0]!;
}
