/**
 * What happens while a connection does not read, because too much waits: streams that hold up
 * others are dropped, and a peer that has gone is noticed.
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
  /** The bounds. */
  readonly limits: Readonly<Limits>;
  /** What waits. */
  readonly backlog: Backlog<Stream>;
  /** What its calls hold. */
  readonly held: HeldBytes;
  /** What is being written. */
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

/** How often a peer is asked whether it is still there, in milliseconds. */
const PROBE_MS = 1_000;

/** Watches over the pauses of one connection. */
export class Stall {
  readonly #host: StallHost;
  readonly #timers: Timers;
  readonly #accepts: boolean;
  #idle: readonly Stream[] = []; // nobody takes their messages

  /**
   * @param host The connection.
   * @param timers Those of its client or server.
   * @param accepts Whether the peer may start calls, of which nothing is known until they are read.
   */
  constructor(host: StallHost, timers: Timers, accepts: boolean) {
    this.#host = host;
    this.#timers = timers;
    this.#accepts = accepts;
  }

  /** Waits until there is room for more, and sees to it that nobody waits for ever meanwhile. */
  async pause(): Promise<void> {
    const { backlog, limits, held: { whole } } = this.#host;
    this.#idle = this.#idle.filter((stream) => !stream.taken);
    backlog.idle(); // from now on counts what is taken
    const relieve = this.#timers.repeat(limits.stallTimeoutMs || Infinity, () => this.#relieve());
    const probe = this.#timers.repeat(PROBE_MS, async () => {
      this.#host.stillHere();
      // What a peer has sent that is gone is all there will be: no more than a socket holds.
      if (await this.#host.peerReads() === false) backlog.readToEnd();
    });
    while (backlog.full && !this.#host.closed) {
      // More may wait as soon as the server has room, if it has none.
      const over = whole?.full ? whole.wait(() => backlog.release()) : undefined;
      await backlog.room();
      over?.();
    }
    relieve.stop();
    probe.stop();
  }

  /** A frame has come. If it was behind messages that nobody takes, these hold it up. */
  frame(streamId: number): void {
    if (this.#idle.length === 0) return;
    if (!this.#host.backlog.readsAhead) this.#idle = [];
    else if (this.#idle.every(({ id }) => id !== streamId)) this.#drop();
  }

  /** Finds streams whose consumers take nothing, and drops those that hold up others. */
  #relieve(): void {
    const { backlog } = this.#host;
    this.#idle = backlog.idle();
    if (this.#idle.length === 0) return;
    if (this.#holdsUp() || this.#accepts && !backlog.readAhead()) this.#drop();
  }

  /** Whether somebody is known to wait for this side to read on. */
  #holdsUp(): boolean {
    const { queue, streams } = this.#host;
    if (queue.congested) return true; // perhaps because the peer waits until it is read
    return streams.values().some((stream) => stream.waiting);
  }

  #drop(): void {
    const idle = this.#idle.filter((stream) => !stream.taken);
    this.#idle = [];
    for (const stream of this.#host.backlog.worst(idle)) stream.overrun();
  }
}
