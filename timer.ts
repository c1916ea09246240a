/**
 * Waiting, with bounds that make sense.
 *
 * @module
 */

/** The longest delay that a timer takes. */
const LONGEST_DELAY = 2 ** 31 - 1;

/**
 * Checks a time that a user has given.
 *
 * @param name What it is called.
 * @param ms Milliseconds; `Infinity` and `undefined` mean that there is no bound.
 * @returns The time, `Infinity` if there is no bound.
 * @throws {RangeError} If it is no number.
 */
export function checkTime(name: string, ms: number | undefined): number {
  if (ms === undefined) return Infinity;
  if (typeof ms !== "number" || Number.isNaN(ms)) {
    throw new RangeError(`Cannot use ${name} of ${ms}: it takes a number of milliseconds`);
  }
  return ms;
}

/**
 * Calls back later.
 *
 * @param ms In how many milliseconds; never if that is infinite.
 * @param callback What to call.
 * @returns What `clearTimeout()` takes.
 */
export function startTimer(
  ms: number,
  callback: () => void,
): ReturnType<typeof setTimeout> | undefined {
  if (ms === Infinity) return undefined;
  // A time that no timer can take is as good as for ever, but not for the process that waits.
  return setTimeout(callback, Math.min(Math.max(0, Math.ceil(ms)), LONGEST_DELAY));
}

/**
 * Waits.
 *
 * @param ms How many milliseconds.
 * @param signal Ends the wait when it is aborted. See whether it was.
 */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = () => resolve();
  const timer = startTimer(ms, stop);
  signal?.addEventListener("abort", stop);
  await promise;
  clearTimeout(timer);
  signal?.removeEventListener("abort", stop);
}

/**
 * Waits for a promise that does not reject, but no longer than so many milliseconds.
 *
 * @param promise The promise.
 * @param ms How long at most.
 */
export async function settled(promise: Promise<unknown>, ms: number): Promise<void> {
  const over = new AbortController();
  await Promise.race([promise, pause(ms, over.signal)]);
  over.abort();
}
