/**
 * The write queue of a connection.
 *
 * What is added in one turn of the event loop leaves in one write, or in two if it is much; what is
 * added while a write is under way leaves in the next. A message of a stream waits a moment for the
 * next one; what ends a call, or starts one, does not.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import { recycle, Writer } from "../wire/writer.ts";

/** Bytes that are written at once, so that the peer starts on them while the rest is being made. */
const EARLY = 1 << 12;
/** Microtasks without another message of a stream, after which none is waited for. */
const PAUSE = 8;
/** Bytes that may wait for the socket before senders have to. */
const HIGH_WATER = 1 << 18;

/** Where the bytes go: a connection. */
export interface ByteSink {
  /** Writes some of the bytes, and tells how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** A queue of bytes to be written, in order. */
export class WriteQueue {
  /** Takes the bytes; {@linkcode WriteQueue.send} follows. */
  readonly writer: Writer = new Writer();
  readonly #sink: ByteSink;
  readonly #onFailure: (cause: unknown) => void;
  readonly #held: HeldBytes | undefined;
  #pending = 0; // bytes that wait, or are being written
  #total = 0; // bytes ever sent
  #scheduled = false;
  #urgent = false;
  #running = false;
  #failed = false;
  #closed = false;
  readonly #waiting = new Set<() => void>();
  #flushed: PromiseWithResolvers<void> | undefined;

  /**
   * @param sink Where the bytes go.
   * @param onFailure Called once, if writing fails. Nothing is written any more, and who asks for
   * room from then on waits until the queue is closed.
   * @param held What the bytes that wait count into.
   */
  constructor(sink: ByteSink, onFailure: (cause: unknown) => void, held?: HeldBytes) {
    this.#sink = sink;
    this.#onFailure = onFailure;
    this.#held = held;
  }

  /** Whether nothing is written any more. */
  get over(): boolean {
    return this.#failed || this.#closed;
  }

  /** Whether so much waits for the socket that senders should wait, too. */
  get congested(): boolean {
    return this.#pending >= HIGH_WATER || this.#failed;
  }

  /** Whether nothing waits for the socket. */
  get idle(): boolean {
    return this.#pending === 0;
  }

  /** How many bytes the socket has taken. */
  get written(): number {
    return this.#total - this.#pending;
  }

  /** How many bytes were ever sent. */
  get total(): number {
    return this.#total;
  }

  /**
   * Sends what was given to the writer, or drops it when nothing is written any more.
   *
   * @param length Its length in bytes.
   * @param more Whether more is likely to follow: a message of a stream waits for the next ones, as
   * long as they come without a pause. To write each alone takes up to half of a stream's speed.
   */
  send(length: number, more = false): void {
    if (this.over) {
      this.writer.take();
      return;
    }
    this.#pending += length;
    this.#held?.change(length);
    this.#total += length;
    if (!more) this.#urgent = true;
    if (!this.#running) this.#go();
  }

  #go(): void {
    if (this.#pending >= EARLY) void this.#run();
    else if (!this.#scheduled) void this.#runSoon();
  }

  async #runSoon(): Promise<void> {
    this.#scheduled = true;
    let quiet = 0;
    do {
      const total = this.#total;
      await undefined;
      quiet = this.#total === total ? quiet + 1 : 0;
    } while (!this.#urgent && quiet < PAUSE);
    this.#scheduled = false;
    if (!this.#running && this.#pending > 0) void this.#run();
  }

  /** Calls back when there is room, writing has just failed, or the queue is closed. */
  whenWritable(callback: () => void): void {
    if (this.congested && !this.#closed) this.#waiting.add(callback);
    else callback();
  }

  /** Takes a callback back. */
  cancelWritable(callback: () => void): void {
    this.#waiting.delete(callback);
  }

  /** Settles when all is written, or nothing is any more. */
  flushed(): Promise<void> {
    if (this.idle || this.over) return Promise.resolve();
    this.#flushed ??= Promise.withResolvers();
    return this.#flushed.promise;
  }

  /** Drops what waits. */
  close(): void {
    this.#closed = true;
    this.#drop();
    this.#release();
  }

  #drop(): void {
    this.#held?.change(-this.#pending);
    this.#pending = 0;
    this.writer.take();
    this.#flushed?.resolve();
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      do {
        this.#urgent = false;
        for (const chunk of this.writer.take()) {
          let rest = chunk;
          while (rest.length > 0) {
            const written = await this.#sink.write(rest);
            if (this.#closed) return;
            checkCount("written", written, rest.length);
            rest = rest.subarray(written);
            this.#pending -= written;
            this.#held?.change(-written);
            if (this.#waiting.size > 0 && !this.congested) this.#release();
          }
          recycle(chunk);
        }
      } while (this.#urgent || this.#pending >= EARLY);
      this.#running = false;
      if (this.#pending > 0) return this.#go();
      this.#flushed?.resolve();
      this.#flushed = undefined;
    } catch (cause) {
      if (this.#closed) return;
      this.#failed = true;
      this.#drop();
      this.#onFailure(cause);
      this.#release(); // to find out
    }
  }

  #release(): void {
    const callbacks = [...this.#waiting];
    this.#waiting.clear();
    for (const callback of callbacks) callback();
  }
}

/**
 * Checks what a connection says it has done: one that does nothing would be asked for ever.
 *
 * @param what What was done.
 * @param count How many bytes.
 * @param most How many it was asked for.
 * @throws {TypeError} If that is no number from one to that.
 */
export function checkCount(what: string, count: number, most: number): void {
  if (Number.isInteger(count) && count > 0 && count <= most) return;
  throw new TypeError(`the connection says that it has ${what} ${count} bytes`);
}
