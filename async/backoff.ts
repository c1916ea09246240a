/**
 * How long to wait between attempts: longer each time, and never the same for all.
 *
 * @module
 */

/** The delays between attempts. */
export interface BackoffOptions {
  /** What to wait before the second attempt in a row, in milliseconds. */
  initialDelayMs: number;
  /** What to wait at most, in milliseconds. The delay doubles from attempt to attempt. */
  maxDelayMs: number;
}

/**
 * Checks delays that a user has given.
 *
 * @param doing What they are for, for the error: `"retry"`.
 * @param options The delays.
 * @returns The same.
 * @throws {RangeError} If one is negative, or no number.
 */
export function checkBackoff(doing: string, options: BackoffOptions): BackoffOptions {
  for (const [name, delay] of Object.entries(options)) {
    if (!(delay >= 0)) throw new RangeError(`Cannot ${doing} with ${name} of ${delay}`);
  }
  return options;
}

/**
 * What to wait before the next attempt. Between half and all of the delay, at random, so that many
 * who have failed together do not come back together.
 *
 * @param failures How many attempts have failed in a row, at least one.
 * @param options The delays.
 * @returns Milliseconds.
 */
export function backoff(failures: number, options: BackoffOptions): number {
  const longest = Math.min(options.initialDelayMs * 2 ** (failures - 1), options.maxDelayMs);
  return longest * (0.5 + 0.5 * Math.random());
}
