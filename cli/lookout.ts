/**
 * Delays the decoding and printing of a tap, so that forwarding the bytes comes first.
 *
 * @module
 */

const LATER_MS = 5;
const WAITING_BYTES = 1 << 20;

/** Runs functions later, in order. */
export class Lookout {
  #waiting: (() => void)[] = [];
  #bytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Adds a function.
   *
   * @param bytes The memory that it holds, in bytes.
   * @param look The function. It must not throw.
   */
  later(bytes: number, look: () => void): void {
    this.#waiting.push(look);
    this.#bytes += bytes;
    if (this.#bytes > WAITING_BYTES) this.now();
    else this.#timer ??= setTimeout(() => this.now(), LATER_MS);
  }

  /** Runs all of them now. */
  now(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    for (const look of waiting) look();
  }
}
