/**
 * Connects again: after a connection is lost, or when one is used up.
 *
 * @module
 */

import type { ByteConnection } from "../transport.ts";
import { backoff, type BackoffOptions, checkBackoff } from "../async/backoff.ts";
import { abort } from "../async/signals.ts";
import type { Timers } from "../async/timer.ts";

/**
 * How to connect again.
 *
 * @category Client
 */
export interface ReconnectOptions {
  /** What to wait before the second attempt in a row, in milliseconds. 20 by default. */
  initialDelayMs?: number | undefined;
  /**
   * What to wait at most, in milliseconds. 2,000 by default. The delay doubles from attempt to
   * attempt; of each, between half and all is waited, at random.
   */
  maxDelayMs?: number | undefined;
}

/** Attempts to connect, one at a time, with a pause before each but the first. */
export class Reconnect {
  readonly #dial: (signal: AbortSignal) => Promise<ByteConnection>;
  readonly #delays: BackoffOptions;
  readonly #timers: Timers;
  readonly #closing = new AbortController();
  #failures = 0;
  #connectedAt = -Infinity;

  /**
   * @param dial Makes one attempt.
   * @param options How long to wait.
   * @param timers Those of the client.
   * @throws {RangeError} If a delay is negative, or no number.
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

  /** There is a connection. */
  connected(): void {
    this.#connectedAt = performance.now();
  }

  /** Makes one attempt, after the pause that is due. */
  async attempt(): Promise<ByteConnection> {
    // A connection that was lost soon after it was made counts as a failure, or a server that
    // accepts and dies would be called without a pause.
    const lasted = performance.now() - this.#connectedAt;
    if (lasted > this.#delays.maxDelayMs && this.#connectedAt !== -Infinity) this.#failures = 0;
    if (this.#failures > 0) {
      await this.#timers.pause(backoff(this.#failures, this.#delays), this.#closing.signal);
    }
    this.#failures++;
    this.#connectedAt = -Infinity;
    return await this.#dial(this.#closing.signal);
  }

  /** Gives up for good. */
  close(): void {
    abort(this.#closing, undefined);
  }
}
