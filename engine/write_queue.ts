/**
 * The write queue of a connection, which joins frames into few writes.
 *
 * Frames that are added in one turn of the event loop are sent in one write, or in two if they are
 * long; frames that are added during a write are sent in the next. A message of a stream waits a
 * moment for the next one; frames that start or end a call do not wait.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import { recycle, Writer } from "../wire/writer.ts";

/** Bytes that are written at once, so that the peer can handle them while more are being made. */
const EARLY = 1 << 12;
/** Microtasks without another message of a stream, after which what there is is written. */
const PAUSE = 8;
/** Bytes that may wait for the socket before senders have to wait. */
const HIGH_WATER = 1 << 18;

/** Where the bytes go: a connection. */
export interface ByteSink {
  /** Writes some of the bytes, and returns how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** A queue of bytes to be written, in order. */
export class WriteQueue {
  /** Takes the bytes; {@linkcode WriteQueue.send} follows. */
  readonly writer: Writer = new Writer();
  readonly #sink: ByteSink;
  readonly #onFailure: (cause: unknown) => void;
  readonly #held: HeldBytes | undefined;
  #pending = 0; // bytes that wait or are being written
  #total = 0; // bytes sent so far, including these
  #scheduled = false;
  #urgent = false;
  #running = false;
  #failed = false;
  #closed = false;
  readonly #waiting = new Set<() => void>();
  #flushed: PromiseWithResolvers<void> | undefined;

  /**
   * @param sink Where the bytes go.
   * @param onFailure Called once, if a write fails. From then on nothing is written, and senders
   * that wait for room wait until the queue is closed.
   * @param held Counts the bytes that wait.
   */
  constructor(sink: ByteSink, onFailure: (cause: unknown) => void, held?: HeldBytes) {
    this.#sink = sink;
    this.#onFailure = onFailure;
    this.#held = held;
  }

  /** Whether nothing more is written, after a failure or `close()`. */
  get over(): boolean {
    return this.#failed || this.#closed;
  }

  /** Whether so many bytes wait for the socket that senders have to wait. */
  get congested(): boolean {
    return this.#pending >= HIGH_WATER || this.#failed;
  }

  /** Whether no bytes wait for the socket. */
  get idle(): boolean {
    return this.#pending === 0;
  }

  /** Bytes that the socket has accepted so far. */
  get written(): number {
    return this.#total - this.#pending;
  }

  /** Bytes sent so far, including those that wait for the socket. */
  get total(): number {
    return this.#total;
  }

  /**
   * Sends what was given to the writer, or drops it if nothing more is written.
   *
   * @param length Its length in bytes.
   * @param more Whether more is likely to follow: a message of a stream waits for the next ones, as
   * long as they follow without a pause. Streams are up to twice as fast as with a write for each.
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

  /** Removes a callback. */
  cancelWritable(callback: () => void): void {
    this.#waiting.delete(callback);
  }

  /** Resolves when everything is written, or nothing more is written. */
  flushed(): Promise<void> {
    if (this.idle || this.over) return Promise.resolve();
    this.#flushed ??= Promise.withResolvers();
    return this.#flushed.promise;
  }

  /** Drops the bytes that wait. */
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
      this.#release(); // senders then find the failure
    }
  }

  #release(): void {
    const callbacks = [...this.#waiting];
    this.#waiting.clear();
    for (const callback of callbacks) callback();
  }
}

/**
 * Checks the number of bytes that a connection has read or written. Zero would cause an endless
 * loop.
 *
 * @param what `"read"` or `"written"`.
 * @param count The number that the connection returned.
 * @param most The number of bytes that could be read or written.
 * @throws {TypeError} If `count` is not a whole number from 1 to `most`.
 */
export function checkCount(what: string, count: number, most: number): void {
  if (Number.isInteger(count) && count > 0 && count <= most) return;
  throw new TypeError(
    `the connection reports ${count} bytes ${what}, not a number from 1 to ${most}`,
  );
}
