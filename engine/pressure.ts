/**
 * Ends connections whose peers do not read, or send too slowly, while the server's memory is used
 * up.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import type { Timer, Timers } from "../async/timer.ts";
import type { WriteQueue } from "./write_queue.ts";

/** What this needs of a connection. */
export interface PressedConnection {
  /** The bytes to be written. */
  readonly queue: WriteQueue;
  /** The memory that its calls hold. */
  readonly held: HeldBytes;
  /** Bytes received so far. */
  readonly bytesIn: number;
  /** Whether it waits for the rest of a long frame, for which memory is reserved. */
  readonly awaitsFrame: boolean;
  /** Ends the connection because of an error. */
  fail(cause: unknown): void;
}

/** The interval at which connections are checked, in milliseconds. */
const LOOK_MS = 1_000;
/** A long frame of which fewer bytes arrive in an interval is too slow, after so many intervals. */
const LEAST_BYTES = 1 << 16;
const SLOW_LOOKS = 2;

/** The bytes sent and received until the last check, and how many checks found too little. */
interface Seen {
  readonly sent: number;
  readonly received: number;
  readonly stuck: number;
  readonly slow: number;
}

/** Checks the connections of a server while its memory is used up. */
export class Pressure {
  readonly #held: HeldBytes;
  readonly #timeoutMs: number;
  readonly #connections: () => Iterable<PressedConnection>;
  #seen = new Map<PressedConnection, Seen>();
  #timer: Timer | undefined;

  /**
   * @param held The memory that the server's calls hold.
   * @param timers The server's timers.
   * @param timeoutMs How long a peer may read nothing while others wait, in milliseconds; zero for
   * no limit.
   * @param connections The server's connections.
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

  /** Stops the checks. */
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
          "the peer sends a long frame too slowly, while the server has no memory left for other " +
            "calls (limits.serverHeldBytes)",
        );
      } else if (stuck * LOOK_MS >= this.#timeoutMs) {
        if (!worst || connection.held.bytes > worst.held.bytes) worst = connection;
      }
    }
    // One at a time, which may be enough.
    worst?.fail(
      "the peer reads nothing, while the server has no memory left for other calls " +
        "(limits.serverHeldBytes)",
    );
  }
}
