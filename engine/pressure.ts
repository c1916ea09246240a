/**
 * Sees to it that peers which read nothing do not keep a server without room for others.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import type { Timer, Timers } from "../async/timer.ts";
import type { WriteQueue } from "./write_queue.ts";

/** What this needs of a connection. */
export interface PressedConnection {
  /** What is being written. */
  readonly queue: WriteQueue;
  /** What its calls hold. */
  readonly held: HeldBytes;
  /** How many bytes were ever received. */
  readonly bytesIn: number;
  /** Whether it waits for the rest of a long frame, for which there is room. */
  readonly awaitsFrame: boolean;
  /** Ends the connection because of an error. */
  fail(cause: unknown): void;
}

/** How often it is looked who reads and sends, in milliseconds. */
const LOOK_MS = 1_000;
/** What has to come of a long frame meanwhile, in bytes, or it is too slow after so many looks. */
const LEAST_BYTES = 1 << 16;
const SLOW_LOOKS = 2;

/** What was sent and received at the last look, and how often that was the same, or too little. */
interface Seen {
  readonly sent: number;
  readonly received: number;
  readonly stuck: number;
  readonly slow: number;
}

/** Watches over a server whose memory is held. */
export class Pressure {
  readonly #held: HeldBytes;
  readonly #timeoutMs: number;
  readonly #connections: () => Iterable<PressedConnection>;
  #seen = new Map<PressedConnection, Seen>();
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
    this.#timeoutMs = timeoutMs;
    this.#connections = connections;
    held.onAwaited = () => {
      if (!held.hasRoom && timeoutMs > 0) {
        this.#timer ??= timers.repeat(LOOK_MS, () => this.#look());
      }
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
    let worst: PressedConnection | undefined;
    for (const connection of this.#connections()) {
      const { queue, bytesIn: received, awaitsFrame } = connection;
      const { idle, written: sent } = queue;
      if (idle && !awaitsFrame) continue;
      const seen = before.get(connection);
      const stuck = !idle && seen?.sent === sent ? seen.stuck + 1 : 0;
      const slow = awaitsFrame && seen && received - seen.received < LEAST_BYTES
        ? seen.slow + 1
        : 0;
      this.#seen.set(connection, { sent, received, stuck, slow });
      if (slow >= SLOW_LOOKS) {
        connection.fail(
          "it sends a long frame too slowly, while the server has no room for others",
        );
      } else if (stuck * LOOK_MS >= this.#timeoutMs) {
        if (!worst || connection.held.bytes > worst.held.bytes) worst = connection;
      }
    }
    // One at a time: that may be enough.
    worst?.fail("it reads nothing, while the server has no room for others");
  }
}
