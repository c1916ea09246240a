/**
 * Reconnects with exponential backoff: after a connection is lost, or has used all its stream ids.
 *
 * @module
 */

import type { ByteConnection } from "../transport.ts";
import { backoff, type BackoffOptions, checkBackoff } from "../async/backoff.ts";
import { abort } from "../async/signals.ts";
import type { Timers } from "../async/timer.ts";

/**
 * The delays between attempts to reconnect.
 *
 * @category Client
 */
export interface ReconnectOptions {
  /** The delay before the second attempt in a row, in milliseconds. 20 by default. */
  initialDelayMs?: number | undefined;
  /**
   * The longest delay, in milliseconds. 2,000 by default. The delay doubles with each attempt; the
   * time that is waited is random, between half of it and all of it.
   */
  maxDelayMs?: number | undefined;
}

/** Attempts to connect, one at a time, with a pause before each except the first. */
export class Reconnect {
  readonly #dial: (signal: AbortSignal) => Promise<ByteConnection>;
  readonly #delays: BackoffOptions;
  readonly #timers: Timers;
  readonly #closing = new AbortController();
  #failures = 0;
  #connectedAt = -Infinity;

  /**
   * @param dial Makes one attempt.
   * @param options The delays.
   * @param timers The timers of the client.
   * @throws {RangeError} If a delay is negative, or not a number.
   */
  constructor(
    dial: (signal: AbortSignal) => Promise<ByteConnection>,
    options: ReconnectOptions,
    timers: Timers,
  ) {
    const { initialDelayMs = 20, maxDelayMs = 2_000 } = options;
    this.#delays = checkBackoff("reconnect", { initialDelayMs, maxDelayMs });
    this.#dial = dial;
    this.#timers = timers;
  }

  /** Notes that an attempt succeeded. */
  connected(): void {
    this.#connectedAt = performance.now();
  }

  /** Makes one attempt, after the pause that is due. */
  async attempt(): Promise<ByteConnection> {
    // A connection that is lost soon after it was made counts as a failure. Otherwise a server that
    // accepts connections and crashes would be dialled without a pause.
    const lasted = performance.now() - this.#connectedAt;
    if (lasted > this.#delays.maxDelayMs && this.#connectedAt !== -Infinity) this.#failures = 0;
    if (this.#failures > 0) {
      await this.#timers.pause(backoff(this.#failures, this.#delays), this.#closing.signal);
    }
    this.#failures++;
    this.#connectedAt = -Infinity;
    return await this.#dial(this.#closing.signal);
  }

  /** Stops for good, and aborts an attempt or pause that is pending. */
  close(): void {
    abort(this.#closing, undefined);
  }
}
