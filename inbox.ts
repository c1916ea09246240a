/**
 * The messages that were received for one call, until they are taken.
 *
 * @module
 */

import type { Backlog, Waiting } from "./backlog.ts";
import { NO_BYTES } from "./writer.ts";

/** What a message that waits is taken to cost in memory beside its bytes. */
const MESSAGE_OVERHEAD = 64;

// Most calls never queue a message, so that the array for it is made only when one does.
const NO_MESSAGES: Uint8Array[] = [];

/** A queue of messages with one consumer. */
export class Inbox implements Waiting {
  /** What the queue counts into, once it belongs to a connection. */
  protected backlog: Backlog | undefined;
  taken = false;
  /** Whether the peer has sent its last message, and none of them was dropped. */
  complete = false;
  #queue = NO_MESSAGES;
  #head = 0; // of the first message that waits
  #kept = 0; // messages before this one have memory of their own
  #bytes = 0;
  #closed = false;
  #ignoring = false;
  #receive: ((message: Uint8Array | undefined) => void) | undefined;
  #received: Promise<Uint8Array | undefined> | undefined;

  get queuedBytes(): number {
    return this.#bytes;
  }

  /** Whether somebody waits for a message. */
  get waiting(): boolean {
    return this.#receive !== undefined;
  }

  /** Whether a message waits that can be taken at once. */
  get ready(): boolean {
    return this.#head < this.#queue.length && this.#receive === undefined;
  }

  /**
   * The next message, in the order they came.
   *
   * @returns The message; `undefined` when there will be none.
   */
  receive(): Promise<Uint8Array | undefined> {
    if (this.#receive) return this.#received!.then(() => this.receive());
    if (this.ready) return Promise.resolve(this.take());
    if (this.#closed) return Promise.resolve(undefined);
    return this.#received = new Promise((resolve) => this.#receive = resolve);
  }

  /** Takes the message that is {@linkcode Inbox.ready}. */
  take(): Uint8Array {
    const message = this.#queue[this.#head]!;
    this.#queue[this.#head++] = NO_BYTES;
    if (this.#head === this.#queue.length) this.#clear();
    else if (this.#head > 1024 && this.#head > this.#queue.length >> 1) {
      this.#queue = this.#queue.slice(this.#head);
      this.#kept = Math.max(0, this.#kept - this.#head);
      this.#head = 0;
    }
    this.taken = true;
    this.#account(-message.length - MESSAGE_OVERHEAD);
    return message;
  }

  /** A message has come. */
  push(message: Uint8Array): void {
    if (this.#ignoring) return;
    if (this.#receive) {
      this.taken = true;
      this.#settle(message);
      return;
    }
    if (this.#queue === NO_MESSAGES) this.#queue = [];
    this.#queue.push(message);
    this.#account(message.length + MESSAGE_OVERHEAD);
  }

  /** No more messages will come. Those that wait can still be taken. */
  close(): void {
    this.#closed = true;
    if (this.#receive) this.#settle(undefined);
  }

  /** Drops the messages that wait, and those still to come: nobody will take them. */
  ignore(): void {
    this.#ignoring = true;
    this.#closed = true;
    if (this.#bytes > 0) this.complete = false;
    this.#clear();
    this.#account(-this.#bytes);
    if (this.#receive) this.#settle(undefined);
  }

  /**
   * The messages that wait will wait longer. As parts of a read buffer they would keep all of it, so
   * those of one read move into memory of their own, together: to make room for each alone takes
   * ten times as long as to copy it. Most are taken before it comes to this.
   */
  keep(): void {
    const queue = this.#queue;
    const first = Math.max(this.#head, this.#kept);
    this.#kept = queue.length;
    let borrowed = false;
    let length = 0;
    for (let at = first; at < queue.length; at++) {
      if (!isBorrowed(queue[at]!)) continue;
      borrowed = true;
      length += queue[at]!.length;
    }
    if (!borrowed) return;
    const own = length === 0 ? NO_BYTES : new Uint8Array(length);
    let end = 0;
    for (let at = first; at < queue.length; at++) {
      const message = queue[at]!;
      if (!isBorrowed(message)) continue;
      own.set(message, end);
      queue[at] = own.subarray(end, end += message.length);
    }
  }

  #settle(message: Uint8Array | undefined): void {
    const receive = this.#receive!;
    this.#receive = undefined;
    this.#received = undefined;
    receive(message);
  }

  #clear(): void {
    this.#queue = NO_MESSAGES;
    this.#head = 0;
    this.#kept = 0;
  }

  #account(bytes: number): void {
    if (bytes === 0) return;
    this.#bytes += bytes;
    this.backlog?.change(this, bytes);
  }
}

/** Whether a message keeps more than twice its own bytes in memory. */
function isBorrowed(message: Uint8Array): boolean {
  return message.buffer.byteLength > 2 * message.length;
}
