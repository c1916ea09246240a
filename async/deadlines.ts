/**
 * Watches the deadlines of many calls with one timer.
 *
 * Setting and clearing a timer costs more than the rest of a small call, so calls share one. It is
 * set for the earliest deadline known at that time; when it fires, it is set for the next one.
 * While no deadline is watched, it does not keep the process alive.
 *
 * @module
 */

import { delay } from "./timer.ts";

/** Something with a deadline. */
export interface Expirable {
  /** The deadline, in milliseconds of {@linkcode performance.now}; `Infinity` for none. */
  readonly deadline: number;
  /** Called once when the deadline has passed, after it was removed from the set. */
  expire(): void;
}

/** A set of deadlines. */
export class Deadlines {
  readonly #entries = new Set<Expirable>();
  #timer: number | undefined;
  #due = Infinity; // when the timer fires
  #unref = false;
  #closed = false;

  /** Watches a deadline until it passes or is removed. `Infinity` is ignored. */
  add(entry: Expirable): void {
    if (this.#closed || entry.deadline === Infinity) return;
    this.#entries.add(entry);
    if (entry.deadline < this.#due) this.#set(entry.deadline);
    else if (this.#entries.size === 1) this.#hold();
  }

  /** Stops watching a deadline. */
  delete(entry: Expirable): void {
    if (this.#entries.delete(entry) && this.#entries.size === 0) this.#release();
  }

  /** Keeps the process alive while deadlines are watched, which is the default. */
  ref(): void {
    this.#unref = false;
    this.#hold();
  }

  /** Lets the process exit while deadlines are watched. */
  unref(): void {
    this.#unref = true;
    this.#release();
  }

  /** Stops the timer and removes all deadlines. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#entries.clear();
  }

  #set(due: number): void {
    clearTimeout(this.#timer);
    this.#due = due;
    const left = Math.max(1, due - performance.now());
    this.#timer = setTimeout(() => this.#fire(), delay(left)) as unknown as number;
    if (this.#unref) this.#release();
  }

  #hold(): void {
    if (this.#timer !== undefined && this.#entries.size > 0 && !this.#unref) {
      Deno.refTimer(this.#timer);
    }
  }

  #release(): void {
    if (this.#timer !== undefined) Deno.unrefTimer(this.#timer);
  }

  #fire(): void {
    this.#timer = undefined;
    this.#due = Infinity;
    const now = performance.now();
    for (const entry of this.#entries) {
      if (entry.deadline > now) continue;
      this.#entries.delete(entry);
      entry.expire();
    }
    // expire() may have removed or added deadlines, or closed this set.
    let next = Infinity;
    for (const { deadline } of this.#entries) next = Math.min(next, deadline);
    if (next < this.#due) this.#set(next);
  }
}
