/**
 * Calls back a user who only listens.
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
