/**
 * What users' code gives back: calling it back when it only listens, and knowing a promise.
 *
 * @module
 */

/**
 * Tells a listener. What goes wrong in it is nobody's concern: there is nobody left to tell.
 *
 * @param listener The listener, if there is one.
 * @param what What to tell.
 */
export function tell<What extends unknown[]>(
  listener: ((...what: What) => unknown) | undefined,
  ...what: What
): void {
  try {
    Promise.resolve(listener?.(...what)).catch(() => {});
  } catch {
    // As above.
  }
}

/**
 * Whether a value is to be awaited.
 *
 * @param value Anything.
 * @returns `true` for a promise, of whatever make.
 */
export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}
