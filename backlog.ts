/**
 * The received messages of a connection that nobody has taken yet.
 *
 * The wire has no flow control, so what comes waits in queues. A connection reads on while their
 * sum is within its limit: a stream that nobody reads delays nobody. Beyond it, the connection
 * stops reading until consumers catch up, which slows the peer down through the socket. A stream
 * that holds up others in this way for too long, while its consumer takes nothing, is dropped.
 *
 * @module
 */

import type { Limits } from "./limits.ts";
import type { Stream } from "./stream.ts";

/** Decides about streams that hold up their connection. */
export interface BacklogOwner {
  /** Whether somebody suffers from these streams, whose consumers have taken nothing for long. */
  holdsUp(idle: readonly Stream[]): boolean;
  /** Ends such a stream, and drops what waits on it. */
  drop(stream: Stream): void;
}

/** What waits on all streams of a connection. */
export class Backlog {
  readonly #limits: Readonly<Limits>;
  readonly #owner: BacklogOwner;
  readonly #streams = new Set<Stream>();
  #bytes = 0;
  #resume: (() => void) | undefined;

  /**
   * @param limits The bounds.
   * @param owner The connection.
   */
  constructor(limits: Readonly<Limits>, owner: BacklogOwner) {
    this.#limits = limits;
    this.#owner = owner;
  }

  /** What the messages are taken to use in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether the connection should not read on. */
  get full(): boolean {
    return this.#bytes >= this.#limits.connectionQueueBytes;
  }

  /** What waits on a stream has changed by so many bytes. */
  change(stream: Stream, bytes: number): void {
    this.#bytes += bytes;
    if (stream.queuedBytes > 0) this.#streams.add(stream);
    else this.#streams.delete(stream);
    if (!this.full) this.release();
  }

  /** More is about to come: what waits now has to keep. */
  keep(): void {
    for (const stream of this.#streams) stream.keep();
  }

  /** Settles when the connection may read on. */
  async room(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#resume = resolve;
    const { stallTimeoutMs } = this.#limits;
    for (const stream of this.#streams) stream.taken = false;
    const timer = stallTimeoutMs === 0
      ? undefined
      : setInterval(() => this.#dropIdle(), stallTimeoutMs);
    await promise;
    clearInterval(timer);
  }

  /** Lets the connection go on, for it has ended. */
  release(): void {
    this.#resume?.();
    this.#resume = undefined;
  }

  #dropIdle(): void {
    const idle = [...this.#streams].filter((stream) => !stream.taken);
    for (const stream of this.#streams) stream.taken = false;
    if (idle.length === 0 || !this.#owner.holdsUp(idle)) return;
    // Many short queues can fill a connection, too. Then the longest go, until there is room.
    const enough = this.#limits.connectionQueueBytes / 2;
    for (const stream of idle.toSorted((a, b) => b.queuedBytes - a.queuedBytes)) {
      const stalled = stream.queuedBytes > this.#limits.streamQueueBytes;
      if (stalled || this.#bytes > enough) this.#owner.drop(stream);
    }
  }
}
