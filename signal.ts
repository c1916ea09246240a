/**
 * One listener for each abort signal, however many calls share it: to add and to remove a listener
 * takes time in proportion to the listeners there are.
 *
 * @module
 */

/** Something that ends when a signal is aborted. */
export interface Abortable {
  /** The signal was aborted. */
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
 * @param entry What to tell.
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
 * @param entry What it was watched for.
 */
export function unwatchSignal(signal: AbortSignal, entry: Abortable): void {
  const watch = watches.get(signal);
  if (!watch?.entries.delete(entry) || watch.entries.size > 0) return;
  watches.delete(signal);
  signal.removeEventListener("abort", watch.listener);
}

/**
 * Checks a signal that a user has given.
 *
 * @param signal The signal, or none.
 * @throws {TypeError} If it is something else, such as an `AbortController`.
 */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw new TypeError("Cannot use what was given as a signal: it is not an AbortSignal");
}
