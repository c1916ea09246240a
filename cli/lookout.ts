/**
 * Looks at what a tap has passed on, a little later: while a call is under way, passing it on is
 * all that is done.
 *
 * @module
 */

const LATER_MS = 5;
const WAITING_BYTES = 1 << 20;

/** Does things later, in order. */
export class Lookout {
  #waiting: (() => void)[] = [];
  #bytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Adds something to do.
   *
   * @param bytes How much memory it holds.
   * @param look What to do. It does not throw.
   */
  later(bytes: number, look: () => void): void {
    this.#waiting.push(look);
    this.#bytes += bytes;
    if (this.#bytes > WAITING_BYTES) this.now();
    else this.#timer ??= setTimeout(() => this.now(), LATER_MS);
  }

  /** Does all of it. */
  now(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    for (const look of waiting) look();
  }
}
