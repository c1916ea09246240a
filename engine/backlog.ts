/**
 * The received messages of a connection that nobody has taken yet.
 *
 * The wire has no flow control, so what comes waits in queues. A connection reads on while their
 * sum is within its limit: a stream that nobody reads delays nobody. Beyond it, the connection
 * stops reading until consumers catch up, which slows the peer down through the socket. A stream
 * that holds up others in this way for too long, while its consumer takes nothing, is dropped.
 *
 * Whom it holds up may be behind it in the socket, unread. So a connection that does not know reads
 * ahead, a sixteenth of its limit at a time, until it sees somebody; or until so much waits that it
 * has to assume it, which is three quarters over the limit.
 *
 * @module
 */

import { type HeldBytes, SHARE } from "./held_bytes.ts";
import type { Limits } from "../limits.ts";

/** Bytes that may be read of a peer which is gone: more than the buffers of a socket hold. */
const LAST_BYTES = 8 << 20;

/** The messages that wait on one stream. */
export interface Waiting {
  /** What they are taken to use in memory, in bytes. */
  readonly queuedBytes: number;
  /** Whether one was taken since this was last set to `false`. */
  taken: boolean;
  /** Gives those that have come since the last time memory of their own. */
  keep(): void;
}

/** What waits on all streams of a connection. */
export class Backlog<Queue extends Waiting = Waiting> {
  readonly #limits: Readonly<Limits>;
  readonly #held: HeldBytes | undefined;
  readonly #queues = new Set<Queue>(); // with something in them
  readonly #fresh = new Set<Queue>(); // with something that came with the last read
  #bytes = 0;
  #ahead = 0; // bytes beyond the limit that may be read
  #extra = 0; // bytes beyond the limit that are sure to be the last
  #room: PromiseWithResolvers<void> | undefined;

  /**
   * @param limits The bounds.
   * @param held What the server or client holds.
   */
  constructor(limits: Readonly<Limits>, held?: HeldBytes) {
    this.#limits = limits;
    this.#held = held;
  }

  /** What the messages are taken to use in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether the connection should not read on. */
  get full(): boolean {
    return this.#bytes >= this.#limit + this.#ahead + this.#extra;
  }

  /** What may wait. While the server has no room, that is little. */
  get #limit(): number {
    const { connectionQueueBytes } = this.#limits;
    return this.#held?.whole?.full ? Math.min(connectionQueueBytes, SHARE) : connectionQueueBytes;
  }

  /** Whether the connection reads beyond its limit, to see whom it holds up. */
  get readsAhead(): boolean {
    return this.#ahead > 0;
  }

  /** What waits on a stream has changed by so many bytes. */
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
      // It may be that the server has no room, of which the one who waits has to know by now.
      if (this.#room && this.#bytes < connectionQueueBytes + this.#ahead + this.#extra) {
        this.release();
      }
    }
  }

  /** More is about to come: what waits now has to keep. */
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

  /** Whoever waits for room waits no longer. */
  release(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  /**
   * The peer sends no more: what is still in the socket may be read, so that its end is heard of. It
   * is not trusted to be no more than a socket holds.
   */
  readToEnd(): void {
    this.#extra = LAST_BYTES;
    this.release();
  }

  /**
   * The streams whose consumers have taken nothing since the last time.
   *
   * @returns The streams, those on which most waits first.
   */
  idle(): Queue[] {
    const idle = [...this.#queues].filter((queue) => !queue.taken);
    for (const queue of this.#queues) queue.taken = false;
    return idle.sort((a, b) => b.queuedBytes - a.queuedBytes);
  }

  /**
   * Lets the connection read some more.
   *
   * @returns Whether it may, or need not: not if too much waits already.
   */
  readAhead(): boolean {
    const { connectionQueueBytes } = this.#limits;
    if (this.#bytes < connectionQueueBytes) return true; // it is the server that has no room
    if (this.#bytes > 1.75 * connectionQueueBytes) return false;
    this.#ahead = this.#bytes - connectionQueueBytes + Math.ceil(connectionQueueBytes / 16);
    this.release();
    return true;
  }

  /**
   * Whom to drop of streams that hold up others: those on which much waits; and, since many short
   * queues can fill a connection, too, the longest of the others until there is room.
   *
   * @param idle As {@linkcode Backlog.idle} returns them.
   * @returns The streams.
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
