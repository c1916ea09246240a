/**
 * Sees to it that peers which read nothing do not keep a server without room for others.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import type { Timer, Timers } from "./timer.ts";
import type { WriteQueue } from "./write_queue.ts";

/** What this needs of a connection. */
export interface PressedConnection {
  /** What is being written. */
  readonly queue: WriteQueue;
  /** Ends the connection because of an error. */
  fail(cause: unknown): void;
}

/** How often it is looked who reads, in milliseconds. */
const LOOK_MS = 1_000;

/** Watches over a server whose memory is held. */
export class Pressure {
  readonly #held: HeldBytes;
  readonly #timeoutMs: number;
  readonly #connections: () => Iterable<PressedConnection>;
  /** What was sent on a connection, and how often that was the same. */
  #seen = new Map<PressedConnection, { sent: number; looks: number }>();
  #timer: Timer | undefined;

  /**
   * @param held What the server holds.
   * @param timers Its timers.
   * @param timeoutMs How long a peer may read nothing while others wait, in milliseconds; zero for
   * as long as it likes.
   * @param connections Its connections.
   */
  constructor(
    held: HeldBytes,
    timers: Timers,
    timeoutMs: number,
    connections: () => Iterable<PressedConnection>,
  ) {
    this.#held = held;
    this.#timeoutMs = timeoutMs || Infinity;
    this.#connections = connections;
    held.onAwaited = () => {
      if (!held.hasRoom) this.#timer ??= timers.repeat(LOOK_MS, () => this.#look());
    };
  }

  /** Looks no more. */
  stop(): void {
    this.#timer?.stop();
    this.#timer = undefined;
    this.#seen.clear();
  }

  #look(): void {
    if (!this.#held.awaited || this.#held.hasRoom) return this.stop();
    const before = this.#seen;
    this.#seen = new Map();
    for (const connection of this.#connections()) {
      const { idle, written: sent } = connection.queue;
      if (idle) continue;
      const seen = before.get(connection);
      const looks = seen?.sent === sent ? seen.looks + 1 : 0;
      if (looks * LOOK_MS < this.#timeoutMs) this.#seen.set(connection, { sent, looks });
      else connection.fail("it reads nothing, while the server has no room for others");
    }
  }
}
