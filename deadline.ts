/**
 * The deadlines of many calls on one timer.
 *
 * Setting and clearing a timer costs more than all else that a small call does, so calls share
 * one. It is set for the earliest deadline that was known when it was set, and looks again then.
 *
 * @module
 */

import { startTimer } from "./timer.ts";

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
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = Infinity; // when the timer fires
  #unref = false;
  #closed = false;

  /** Watches a deadline until it passes or is removed. */
  add(entry: Expirable): void {
    if (this.#closed) return;
    this.#entries.add(entry);
    if (entry.deadline < this.#due) this.#set(entry.deadline);
  }

  /** Stops watching a deadline. */
  delete(entry: Expirable): void {
    this.#entries.delete(entry);
  }

  /** Lets the timer keep the process alive, as it does at first. */
  ref(): void {
    this.#unref = false;
    if (this.#timer !== undefined) Deno.refTimer(this.#timer as unknown as number);
  }

  /** Lets the process end before the timer fires. */
  unref(): void {
    this.#unref = true;
    if (this.#timer !== undefined) Deno.unrefTimer(this.#timer as unknown as number);
  }

  /** Lets go of the timer and of all deadlines. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#entries.clear();
  }

  #set(due: number): void {
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = startTimer(Math.max(1, due - performance.now()), () => this.#fire());
    if (this.#unref) this.unref();
  }

  #fire(): void {
    this.#due = Infinity;
    const now = performance.now();
    let next = Infinity;
    for (const entry of this.#entries) {
      if (entry.deadline <= now) {
        this.#entries.delete(entry);
        entry.expire();
      } else if (entry.deadline < next) next = entry.deadline;
    }
    if (next < this.#due) this.#set(next);
  }
}
