/**
 * Calls users' callbacks, and recognizes the promises that users' code returns.
 *
 * @module
 */

/**
 * Calls a listener. Its errors and rejections are ignored: they cannot be reported to anyone.
 *
 * @param listener The listener, if there is one.
 * @param what Its arguments.
 */
export function tell<What extends unknown[]>(
  listener: ((...what: What) => unknown) | undefined,
  ...what: What
): void {
  try {
    Promise.resolve(listener?.(...what)).catch(() => {});
  } catch {
    // Ignored, like a rejection.
  }
}

/**
 * Whether a value is a promise.
 *
 * @param value Any value.
 * @returns `true` if it has a method `then`.
 */
export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}
