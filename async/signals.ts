/**
 * Abort signals: those that users give, and those that users listen to.
 *
 * A signal has one listener, however many calls share it: to add and to remove a listener takes
 * time in proportion to the listeners there are.
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

/** What listeners of the signal that is being aborted have thrown. */
let thrown: unknown[] | undefined;

function take(event: ErrorEvent): void {
  event.preventDefault();
  thrown!.push(event.error);
}

/**
 * Aborts a signal that users listen to. All its listeners are called, and those that throw harm
 * nobody.
 *
 * What a listener of an event throws does not come out of the abort: it becomes an error event of
 * the global scope, while the abort is under way, and ends the process unless that is prevented.
 *
 * @param controller The signal's.
 * @param reason Why.
 * @param report Hears of what listeners have thrown, after all of them were called.
 */
export function abort(
  controller: AbortController,
  reason: unknown,
  report?: (error: unknown) => void,
): void {
  const outer = thrown; // a listener may have ended another call
  const own: unknown[] = thrown = [];
  globalThis.addEventListener("error", take); // once, however often it is added
  try {
    controller.abort(reason);
  } finally {
    if (!outer) globalThis.removeEventListener("error", take);
    thrown = outer;
  }
  if (report) own.forEach((error) => report(error));
}
