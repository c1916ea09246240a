/**
 * The deadlines of many calls on one timer.
 *
 * Setting and clearing a timer costs more than all else that a small call does, so calls share
 * one. It is set for the earliest deadline that was known when it was set, and looks again then.
 * While nothing waits for it, it does not keep the process alive.
 *
 * @module
 */

import { delay } from "./timer.ts";

/** Something that ends at a deadline. */
export interface Expirable {
  /** When, in milliseconds of {@linkcode performance.now}. */
  readonly deadline: number;
  /** The deadline has passed. Called once, after it was removed. */
  expire(): void;
}

/** A set of deadlines. */
export class Deadlines {
  readonly #entries = new Set<Expirable>();
  #timer: number | undefined;
  #due = Infinity; // when the timer fires
  #unref = false;
  #closed = false;

  /** Watches a deadline until it passes or is removed. One that never passes is not watched. */
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

  /** Lets the timer keep the process alive while there are deadlines, as it does at first. */
  ref(): void {
    this.#unref = false;
    this.#hold();
  }

  /** Lets the process end before the timer fires. */
  unref(): void {
    this.#unref = true;
    this.#release();
  }

  /** Lets go of the timer and of all deadlines. */
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
    // What has expired may have removed others, added some, or closed this.
    let next = Infinity;
    for (const { deadline } of this.#entries) next = Math.min(next, deadline);
    if (next < this.#due) this.#set(next);
  }
}
