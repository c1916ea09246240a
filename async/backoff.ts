/**
 * Exponential backoff with jitter: how long to wait between attempts.
 *
 * @module
 */

/** The delays between attempts. */
export interface BackoffOptions {
  /** The delay before the second attempt in a row, in milliseconds. */
  initialDelayMs: number;
  /** The longest delay, in milliseconds. The delay doubles with each attempt. */
  maxDelayMs: number;
}

/**
 * Checks delays that a user has given.
 *
 * @param doing The verb for the error message: `"retry"`.
 * @param options The delays.
 * @returns The same delays.
 * @throws {RangeError} If one is negative, or not a number.
 */
export function checkBackoff(doing: string, options: BackoffOptions): BackoffOptions {
  for (const [name, delay] of Object.entries(options)) {
    if (!(delay >= 0)) {
      throw new RangeError(`Cannot ${doing} with ${name} of ${delay}: it must be zero or more`);
    }
  }
  return options;
}

/**
 * The wait before the next attempt: random, between half of the delay and all of it, so that
 * clients that failed together do not try again together.
 *
 * @param failures How many attempts have failed in a row, at least one.
 * @param options The delays.
 * @returns The wait in milliseconds.
 */
export function backoff(failures: number, options: BackoffOptions): number {
  const longest = Math.min(options.initialDelayMs * 2 ** (failures - 1), options.maxDelayMs);
  return longest * (0.5 + 0.5 * Math.random());
}
