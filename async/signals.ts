/**
 * Abort signals: watched by many calls with one listener, and aborted without stray errors.
 *
 * A signal gets one listener, however many calls watch it: adding or removing a listener takes time
 * in proportion to the number of listeners.
 *
 * @module
 */

/** Something that ends when a signal is aborted. */
export interface Abortable {
  /** Called when the signal is aborted. */
  aborted(): void;
}

interface Watch {
  readonly entries: Set<Abortable>;
  readonly listener: () => void;
}

const watches = new WeakMap<AbortSignal, Watch>();

/**
 * Watches a signal that is not aborted.
 *
 * @param signal The signal.
 * @param entry The object to notify.
 */
export function watchSignal(signal: AbortSignal, entry: Abortable): void {
  let watch = watches.get(signal);
  if (!watch) {
    const entries = new Set<Abortable>();
    watch = { entries, listener: () => entries.forEach((entry) => entry.aborted()) };
    watches.set(signal, watch);
    signal.addEventListener("abort", watch.listener);
  }
  watch.entries.add(entry);
}

/**
 * Stops watching a signal.
 *
 * @param signal The signal.
 * @param entry The object that was to be notified.
 */
export function unwatchSignal(signal: AbortSignal, entry: Abortable): void {
  const watch = watches.get(signal);
  if (!watch?.entries.delete(entry) || watch.entries.size > 0) return;
  watches.delete(signal);
  signal.removeEventListener("abort", watch.listener);
}

/**
 * Checks a signal that a user passed.
 *
 * @param signal The signal, or `undefined`.
 * @throws {TypeError} If it is anything else, such as an `AbortController`.
 */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw new TypeError("Cannot use the signal: it is not an AbortSignal");
}

/** The errors of the listeners of the signal that is being aborted. */
let thrown: unknown[] | undefined;

function take(event: ErrorEvent): void {
  event.preventDefault();
  thrown!.push(event.error);
}

/**
 * Aborts a signal that users listen to. All its listeners are called, even if some throw.
 *
 * `AbortController.abort()` does not throw the error of a listener: it dispatches an error event on
 * the global scope, which ends the process unless it is prevented. This prevents it.
 *
 * @param controller The controller of the signal.
 * @param reason The reason of the abort.
 * @param report Called with each error of a listener, after all listeners were called.
 */
export function abort(
  controller: AbortController,
  reason: unknown,
  report?: (error: unknown) => void,
): void {
  const outer = thrown; // a listener of one signal may abort another
  const own: unknown[] = thrown = [];
  globalThis.addEventListener("error", take); // adding it twice has no effect
  try {
    controller.abort(reason);
  } finally {
    if (!outer) globalThis.removeEventListener("error", take);
    thrown = outer;
  }
  if (report) own.forEach((error) => report(error));
}
