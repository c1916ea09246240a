/**
 * The received messages of a connection that wait to be taken.
 *
 * ttrpc has no flow control, so received messages wait in queues. A connection reads on while their
 * sum is within its limit: a stream whose messages are not taken does not delay others. Beyond it,
 * the connection stops reading until consumers catch up, which slows the peer down through the
 * socket. A stream that holds up others in this way for too long, while its consumer takes nothing,
 * is dropped.
 *
 * The frames that it holds up may be behind it in the socket, unread. So a connection that does not
 * know reads ahead, a sixteenth of its limit at a time, until it finds such a frame; or until so
 * much waits that it has to assume one, which is three quarters over the limit.
 *
 * @module
 */

import { type HeldBytes, SHARE } from "./held_bytes.ts";
import type { Limits } from "../limits.ts";

/** Bytes that may be read from a peer that is gone: more than the buffers of a socket hold. */
const LAST_BYTES = 8 << 20;

/** The messages that wait on one stream. */
export interface Waiting {
  /** Estimated bytes of memory that they use. */
  readonly queuedBytes: number;
  /** Whether one was taken since this was last set to `false`. */
  taken: boolean;
  /** Copies those that came since the last time out of the read buffer. */
  keep(): void;
}

/** The messages that wait on all streams of a connection. */
export class Backlog<Queue extends Waiting = Waiting> {
  readonly #limits: Readonly<Limits>;
  readonly #held: HeldBytes | undefined;
  readonly #queues = new Set<Queue>(); // those that are not empty
  readonly #fresh = new Set<Queue>(); // those with messages of the last read
  #bytes = 0;
  #ahead = 0; // bytes beyond the limit that may be read
  #extra = 0; // bytes beyond the limit that may be read until the end of input
  #room: PromiseWithResolvers<void> | undefined;

  /**
   * @param limits The limits.
   * @param held The memory that the connection's calls hold.
   */
  constructor(limits: Readonly<Limits>, held?: HeldBytes) {
    this.#limits = limits;
    this.#held = held;
  }

  /** Estimated bytes of memory that the messages use. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether the connection must not read on. */
  get full(): boolean {
    return this.#bytes >= this.#limit + this.#ahead + this.#extra;
  }

  /** The bytes that may wait. They are few while the server has no room. */
  get #limit(): number {
    const { connectionQueueBytes } = this.#limits;
    return this.#held?.whole?.full ? Math.min(connectionQueueBytes, SHARE) : connectionQueueBytes;
  }

  /** Whether the connection reads beyond its limit, to find frames that are held up. */
  get readsAhead(): boolean {
    return this.#ahead > 0;
  }

  /** The bytes that wait on a stream have changed by so many. */
  change(queue: Queue, bytes: number): void {
    this.#bytes += bytes;
    this.#held?.changeWhole(bytes);
    if (bytes > 0) {
      this.#fresh.add(queue);
      if (queue.queuedBytes === bytes) this.#queues.add(queue);
    } else {
      if (queue.queuedBytes === 0) {
        this.#queues.delete(queue);
        this.#fresh.delete(queue);
      }
      const { connectionQueueBytes } = this.#limits;
      if (this.#ahead > 0 && this.#bytes < connectionQueueBytes) this.#ahead = 0;
      // The limit may be smaller while the server has no room: whoever waits checks that again.
      if (this.#room && this.#bytes < connectionQueueBytes + this.#ahead + this.#extra) {
        this.release();
      }
    }
  }

  /** The next read begins: messages that wait are copied out of the read buffer. */
  keep(): void {
    if (this.#fresh.size === 0) return;
    for (const queue of this.#fresh) queue.keep();
    this.#fresh.clear();
  }

  /** Settles when the connection may read on. */
  room(): Promise<void> {
    if (!this.full) return Promise.resolve();
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  /** Ends the wait for room. */
  release(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  /**
   * The peer sends no more: what is still in the socket may be read, so that the end of input is
   * found. That is limited all the same, in case the peer does send more.
   */
  readToEnd(): void {
    this.#extra = LAST_BYTES;
    this.release();
  }

  /**
   * The streams whose consumers have taken nothing since the last time.
   *
   * @returns The streams, those with the most bytes first.
   */
  idle(): Queue[] {
    const idle = [...this.#queues].filter((queue) => !queue.taken);
    for (const queue of this.#queues) queue.taken = false;
    return idle.sort((a, b) => b.queuedBytes - a.queuedBytes);
  }

  /**
   * Lets the connection read a little further.
   *
   * @returns `false` if too much waits already.
   */
  readAhead(): boolean {
    const { connectionQueueBytes } = this.#limits;
    if (this.#bytes < connectionQueueBytes) return true; // only the server has no room
    if (this.#bytes > 1.75 * connectionQueueBytes) return false;
    this.#ahead = this.#bytes - connectionQueueBytes + Math.ceil(connectionQueueBytes / 16);
    this.release();
    return true;
  }

  /**
   * Chooses which streams to drop of those that hold up others: those with long queues; and, since
   * many short queues can fill a connection, too, the longest of the others until there is room.
   *
   * @param idle The streams that {@linkcode Backlog.idle} returned.
   * @returns The streams to drop.
   */
  *worst(idle: readonly Queue[]): Generator<Queue> {
    const { streamQueueBytes, connectionQueueBytes } = this.#limits;
    for (const queue of idle) {
      if (queue.queuedBytes > streamQueueBytes || this.#bytes > connectionQueueBytes / 2) {
        yield queue;
      }
    }
  }
}
