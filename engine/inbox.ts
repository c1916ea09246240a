/**
 * The inbox of a call: its received messages, until they are taken.
 *
 * @module
 */

import type { Backlog, Waiting } from "./backlog.ts";
import { NO_BYTES } from "../wire/writer.ts";

/** Estimated bytes of memory that a message in the queue takes in addition to its own bytes. */
const MESSAGE_OVERHEAD = 64;

/** The most bytes and messages that share one array, when they arrive one by one. */
const PACK_BYTES = 1 << 12;
const PACK_MESSAGES = 1 << 9;

/**
 * Copies of short messages in one array. An array for each would take 450 bytes more, and ten times
 * as long to allocate as to copy the message.
 */
class Pack {
  #bytes: Uint8Array;
  readonly #ends: number[] = [];
  #length = 0;
  #taken = 0;

  constructor(messages: readonly Uint8Array[]) {
    this.#bytes = NO_BYTES;
    this.add(messages);
  }

  /** Whether no message is left. */
  get empty(): boolean {
    return this.#taken === this.#ends.length;
  }

  /** Whether there is room for more messages of this total length. */
  takes(length: number): boolean {
    return this.#length + length <= PACK_BYTES && this.#ends.length < PACK_MESSAGES;
  }

  add(messages: readonly Uint8Array[]): void {
    const length = this.#length + total(messages);
    if (length > this.#bytes.length) {
      // The first time the array has the length needed, later it doubles.
      const bytes = new Uint8Array(this.#length === 0 ? length : 2 * length);
      bytes.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = bytes;
    }
    for (const message of messages) {
      this.#bytes.set(message, this.#length);
      this.#ends.push(this.#length += message.length);
    }
  }

  take(): Uint8Array {
    const start = this.#taken === 0 ? 0 : this.#ends[this.#taken - 1]!;
    return this.#bytes.subarray(start, this.#ends[this.#taken++]!);
  }
}

// Most calls never queue a message, so the array is created when one does.
const NOTHING: (Uint8Array | Pack)[] = [];

/** A queue of messages with one consumer. */
export class Inbox implements Waiting {
  /** Counts the queue's bytes, once the call has a connection. */
  protected backlog: Backlog | undefined;
  taken = false;
  /** Whether the peer has sent its last message, and none of them was dropped. */
  complete = false;
  #queue = NOTHING;
  #head = 0; // index of the first message that waits
  #kept = 0; // messages before this index do not refer to a read buffer
  #bytes = 0;
  #closed = false;
  #ignoring = false;
  #receive: ((message: Uint8Array | undefined) => void) | undefined;
  #received: Promise<Uint8Array | undefined> | undefined;

  get queuedBytes(): number {
    return this.#bytes;
  }

  /** Whether a consumer waits for a message. */
  get waiting(): boolean {
    return this.#receive !== undefined;
  }

  /** Whether a message waits that can be taken at once. */
  get ready(): boolean {
    return this.#head < this.#queue.length && this.#receive === undefined;
  }

  /**
   * Takes the next message, waiting for it if necessary.
   *
   * @returns The message; `undefined` if there are no more.
   */
  receive(): Promise<Uint8Array | undefined> {
    if (this.#receive) return this.#received!.then(() => this.receive());
    if (this.ready) return Promise.resolve(this.take());
    if (this.#closed) return Promise.resolve(undefined);
    return this.#received = new Promise((resolve) => this.#receive = resolve);
  }

  /** Takes the message that is {@linkcode Inbox.ready}. */
  take(): Uint8Array {
    const first = this.#queue[this.#head]!;
    const packed = first instanceof Pack;
    const message = packed ? first.take() : first;
    if (!packed || first.empty) this.#next();
    this.taken = true;
    this.#account(-message.length - MESSAGE_OVERHEAD);
    return message;
  }

  #next(): void {
    this.#queue[this.#head++] = NO_BYTES;
    if (this.#head === this.#queue.length) this.#clear();
    else if (this.#head > 1024 && this.#head > this.#queue.length >> 1) {
      this.#queue = this.#queue.slice(this.#head);
      this.#kept = Math.max(0, this.#kept - this.#head);
      this.#head = 0;
    }
  }

  /** A message was received. */
  push(message: Uint8Array): void {
    if (this.#ignoring) return;
    if (this.#receive) {
      this.taken = true;
      this.#settle(message);
      return;
    }
    if (this.#queue === NOTHING) this.#queue = [];
    this.#queue.push(message);
    this.#account(message.length + MESSAGE_OVERHEAD);
  }

  /** No more messages will come. Those that wait can still be taken. */
  close(): void {
    this.#closed = true;
    if (this.#receive) this.#settle(undefined);
  }

  /** Drops the messages that wait, and those that are still to come. */
  ignore(): void {
    this.#ignoring = true;
    this.#closed = true;
    if (this.#bytes > 0) this.complete = false;
    this.#clear();
    this.#account(-this.#bytes);
    if (this.#receive) this.#settle(undefined);
  }

  /**
   * Copies messages that wait out of their read buffer, which they would keep in memory as a whole.
   * Most messages are taken before this is called.
   */
  keep(): void {
    const queue = this.#queue;
    const fresh = queue.splice(Math.max(this.#head, this.#kept)) as Uint8Array[];
    let borrowed: Uint8Array[] = [];
    for (const message of fresh) {
      if (isBorrowed(message)) borrowed.push(message);
      else {
        this.#own(borrowed);
        borrowed = [];
        queue.push(message);
      }
    }
    this.#own(borrowed);
    this.#kept = queue.length;
  }

  /** Adds copies of messages to the queue, if there are any. */
  #own(messages: Uint8Array[]): void {
    if (messages.length === 0) return;
    const queue = this.#queue;
    const end = queue.length;
    const last = end > this.#head && end <= this.#kept ? queue[end - 1]! : undefined;
    const length = total(messages);
    if (last instanceof Pack && last.takes(length)) last.add(messages);
    else if (last instanceof Uint8Array && last.length + length <= PACK_BYTES) {
      queue[end - 1] = new Pack([last, ...messages]);
    } else queue.push(messages.length === 1 ? messages[0]!.slice() : new Pack(messages));
  }

  #settle(message: Uint8Array | undefined): void {
    const receive = this.#receive!;
    this.#receive = undefined;
    this.#received = undefined;
    receive(message);
  }

  #clear(): void {
    this.#queue = NOTHING;
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

function total(messages: readonly Uint8Array[]): number {
  return messages.reduce((sum, { length }) => sum + length, 0);
}
