/**
 * One call as its connection sees it, in either role: the messages that have come for it, and how
 * it ended. All four kinds of call are streams; a unary call is one of a single message each way.
 *
 * @module
 */

import type { Deadlines, Expirable } from "./deadline.ts";
import type { Tally } from "./stats.ts";
import { Code, describe, RpcError, type Status } from "./status.ts";
import { NO_BYTES } from "./writer.ts";

/** How a call ended. */
export interface Outcome extends Status {
  /** What led to it, if it did not come from the peer. */
  cause?: unknown;
}

/** The outcome of a call that went well. */
export const SUCCESS: Outcome = { code: Code.OK, message: "", details: [] };

/** What a call needs of the client or server that it belongs to. */
export interface CallKeeper {
  /** Watches deadlines. */
  readonly deadlines: Deadlines;
  /** Counts. */
  readonly tally: Tally;
}

/** What a stream needs of its connection. */
export interface StreamHost {
  /** The bytes that wait on a stream have changed by this many. */
  queued(stream: Stream, bytes: number): void;
  /** The stream has ended, and is to be forgotten. */
  forget(stream: Stream): void;
  /** Calls back when the write queue has room. */
  whenWritable(callback: () => void): void;
  /** Takes such a callback back. */
  cancelWritable(callback: () => void): void;
}

/** What an empty message waiting in a queue is taken to cost in memory. */
const MESSAGE_OVERHEAD = 64;

/** One call. */
export abstract class Stream implements Expirable {
  /** The id on the wire; zero until the Request is written. */
  id = 0;
  /** The connection, once there is one. */
  host: StreamHost | undefined;
  /** When the call ends with `DEADLINE_EXCEEDED`, in milliseconds of {@linkcode performance.now}. */
  deadline: number;
  /** Whether the peer may send Data: more than one message. */
  readonly streamsIn: boolean;
  /** Whether this side may send Data. */
  readonly streamsOut: boolean;
  /** Whether this side has sent its last message. */
  localClosed = false;
  /** Where the messages come from that are being sent. It is told to stop when the call ends. */
  source: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  /** Whether a message was taken since the connection last looked. */
  taken = false;

  #queue: Uint8Array[] = NO_MESSAGES;
  #head = 0;
  #kept = 0;
  #queuedBytes = 0;
  #remoteClosed = false;
  #ignoring = false;
  #outcome: Outcome | undefined;
  #receive: ((message: Uint8Array | undefined) => void) | undefined;
  #received: Promise<Uint8Array | undefined> | undefined;
  #writable: (() => void) | undefined;

  constructor(streamsIn: boolean, streamsOut: boolean, deadline: number) {
    this.streamsIn = streamsIn;
    this.streamsOut = streamsOut;
    this.deadline = deadline;
  }

  /** How the call ended; `undefined` while it runs. */
  get outcome(): Outcome | undefined {
    return this.#outcome;
  }

  /** Whether the peer has sent its last message. */
  get remoteClosed(): boolean {
    return this.#remoteClosed;
  }

  /** What the received messages that wait are taken to use in memory. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Whether somebody waits for a message. */
  get waiting(): boolean {
    return this.#receive !== undefined;
  }

  /** The method, as `pkg.Service/Method`. */
  abstract readonly path: string;

  /** The deadline has passed. */
  abstract expire(): void;

  /** Nobody will take more messages. */
  abstract release(): void;

  /** The stream has just ended: called once. */
  protected abstract ended(outcome: Outcome): void;

  /**
   * The next message, in the order they came.
   *
   * @returns The message; `undefined` when there will be none, because the peer has sent its last
   * or because the call has ended: see {@linkcode Stream.outcome}.
   */
  receive(): Promise<Uint8Array | undefined> {
    if (this.#receive) return this.#received!.then(() => this.receive());
    if (this.ready) return Promise.resolve(this.take());
    if (this.#remoteClosed || this.#outcome) return Promise.resolve(undefined);
    return this.#received = new Promise((resolve) => this.#receive = resolve);
  }

  /** Whether a message waits that can be taken at once. */
  get ready(): boolean {
    return this.#head < this.#queue.length && this.#receive === undefined;
  }

  /** Takes the message that is {@linkcode Stream.ready}. */
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

  /**
   * The messages that wait will wait longer. Each gets memory of its own: as a part of a read
   * buffer it would keep all of that. Most are taken before it comes to this.
   */
  keep(): void {
    for (let at = Math.max(this.#head, this.#kept); at < this.#queue.length; at++) {
      const message = this.#queue[at]!;
      if (message.buffer.byteLength > 2 * message.length) this.#queue[at] = message.slice();
    }
    this.#kept = this.#queue.length;
  }

  /** The peer will send no more messages. */
  closeRemote(): void {
    this.#remoteClosed = true;
    if (this.#receive) this.#settle(undefined);
  }

  /** Drops the messages that wait, and those still to come: nobody will take them. */
  ignoreRemote(): void {
    this.#ignoring = true;
    this.#clear();
    this.#account(-this.#queuedBytes);
    if (this.#receive) this.#settle(undefined);
  }

  /**
   * Ends the call. Messages that wait can still be taken. Only the first end counts.
   *
   * @param outcome How.
   */
  end(outcome: Outcome): void {
    if (this.#outcome) return;
    this.#outcome = outcome;
    this.#remoteClosed = true;
    this.host?.forget(this);
    if (this.#writable) {
      this.host!.cancelWritable(this.#writable);
      this.#writable();
    }
    if (this.#receive) this.#settle(undefined);
    this.stopSource();
    this.ended(outcome);
  }

  /**
   * Tells the source that no more is wanted. What it does then concerns nobody any more, so it is
   * not waited for, and its errors go nowhere.
   */
  stopSource(): void {
    const { source } = this;
    if (source === undefined) return;
    this.source = undefined;
    try {
      Promise.resolve(source.return?.()).catch(() => {});
    } catch {
      // As above.
    }
  }

  /** Ends the call and drops the messages that wait. */
  abandon(outcome: Outcome): void {
    this.end(outcome);
    this.ignoreRemote();
  }

  /** Drops the messages that wait, so that whoever comes for them hears why they are gone. */
  protected lose(outcome: Outcome): void {
    if (this.#queuedBytes > 0) this.#outcome = outcome;
    this.ignoreRemote();
  }

  /** Settles when the write queue has room, or the call has ended. */
  writable(): Promise<void> {
    return new Promise((resolve) => {
      this.#writable = () => {
        this.#writable = undefined;
        resolve();
      };
      this.host!.whenWritable(this.#writable);
    });
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
    this.#queuedBytes += bytes;
    this.host?.queued(this, bytes);
  }
}

// Most streams never queue a message, so that the array for it is made only when one does.
const NO_MESSAGES: Uint8Array[] = [];

/**
 * The error of a call that ended badly, made where the caller waits, so that its stack shows him.
 *
 * @param outcome How the call ended.
 * @param method The method, as `pkg.Service/Method`.
 * @returns The error.
 */
export function outcomeError(outcome: Outcome, method: string): RpcError {
  const { code, message, details, cause } = outcome;
  return new RpcError(code, message, { details, method, cause });
}

/**
 * The outcome of a call for which something was thrown.
 *
 * @param error What was thrown.
 * @returns Its status; `UNKNOWN` if it has none.
 */
export function outcomeOf(error: unknown): Outcome {
  try {
    const { code, rawMessage, details, cause } = RpcError.from(error);
    // Another copy of the module may have made it, or somebody may have changed it.
    const sound = new RpcError(code, rawMessage, { details });
    return { code, message: sound.rawMessage, details, cause };
  } catch (cause) {
    return { code: Code.UNKNOWN, message: describe(error), details: [], cause };
  }
}
