/**
 * Handles the time in which a connection does not read, because too many messages wait: drops
 * streams that hold up others, and notices that the peer is gone.
 *
 * @module
 */

import type { Backlog } from "./backlog.ts";
import type { HeldBytes } from "./held_bytes.ts";
import type { Limits } from "../limits.ts";
import type { Stream } from "./stream.ts";
import type { Timers } from "../async/timer.ts";
import type { WriteQueue } from "./write_queue.ts";

/** What this needs of a connection. */
export interface StallHost {
  /** The limits. */
  readonly limits: Readonly<Limits>;
  /** The received messages that wait. */
  readonly backlog: Backlog<Stream>;
  /** The memory that its calls hold. */
  readonly held: HeldBytes;
  /** The bytes to be written. */
  readonly queue: WriteQueue;
  /** Whether the connection has ended. */
  readonly closed: boolean;
  /** The calls in flight, by id. */
  readonly streams: ReadonlyMap<number, Stream>;
  /** A peer that has asked is told that this side is there. */
  stillHere(): void;
  /** Whether the peer is there to read; `undefined` if that cannot be told. */
  peerReads(): Promise<boolean | undefined>;
}

/** The interval at which it is tested whether the peer is still connected, in milliseconds. */
const PROBE_MS = 1_000;

/** Watches the pauses of one connection. */
export class Stall {
  readonly #host: StallHost;
  readonly #timers: Timers;
  readonly #accepts: boolean;
  #idle: readonly Stream[] = []; // their consumers take no messages

  /**
   * @param host The connection.
   * @param timers The timers of its client or server.
   * @param accepts Whether the peer may start calls, which are not known until they are read.
   */
  constructor(host: StallHost, timers: Timers, accepts: boolean) {
    this.#host = host;
    this.#timers = timers;
    this.#accepts = accepts;
  }

  /** Waits until there is room for more messages, and drops streams that prevent this too long. */
  async pause(): Promise<void> {
    const { backlog, limits, held: { whole } } = this.#host;
    this.#idle = this.#idle.filter((stream) => !stream.taken);
    backlog.idle(); // what is taken from now on counts
    const relieve = this.#timers.repeat(limits.stallTimeoutMs || Infinity, () => this.#relieve());
    const probe = this.#timers.repeat(PROBE_MS, async () => {
      this.#host.stillHere();
      // What a peer has sent that is gone is all there will be: no more than a socket holds.
      if (await this.#host.peerReads() === false) backlog.readToEnd();
    });
    while (backlog.full && !this.#host.closed) {
      // If the server has no room, more messages may wait as soon as it has.
      const over = whole?.full ? whole.wait(() => backlog.release()) : undefined;
      await backlog.room();
      over?.();
    }
    relieve.stop();
    probe.stop();
  }

  /** A frame was received. Messages before it that are not taken have held it up. */
  frame(streamId: number): void {
    if (this.#idle.length === 0) return;
    if (!this.#host.backlog.readsAhead) this.#idle = [];
    else if (this.#idle.every(({ id }) => id !== streamId)) this.#drop();
  }

  /** Finds streams whose consumers take no messages, and drops those that hold up others. */
  #relieve(): void {
    const { backlog } = this.#host;
    this.#idle = backlog.idle();
    if (this.#idle.length === 0) return;
    if (this.#holdsUp() || this.#accepts && !backlog.readAhead()) this.#drop();
  }

  /** Whether a call is known to wait until this side reads on. */
  #holdsUp(): boolean {
    const { queue, streams } = this.#host;
    if (queue.congested) return true; // the peer may wait with reading until this side reads
    return streams.values().some((stream) => stream.waiting);
  }

  #drop(): void {
    const idle = this.#idle.filter((stream) => !stream.taken);
    this.#idle = [];
    for (const stream of this.#host.backlog.worst(idle)) stream.overrun();
  }
}
