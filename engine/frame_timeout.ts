/**
 * Ends connections whose peers do not finish a frame in time.
 *
 * @module
 */

import type { FrameDecoder } from "../framing.ts";
import type { Timer, Timers } from "../async/timer.ts";

/** How often a frame is checked during the time that it may take. */
const LOOKS = 8;

/** Watches the incomplete frame of one connection. */
export class FrameTimeout {
  /** Whether the connection is reading: only then the time of a frame counts. */
  waiting = false;
  readonly #ms: number;
  readonly #decoder: FrameDecoder;
  readonly #timers: Timers;
  readonly #expired: () => void;
  #timer: Timer | undefined;
  #frames = 0;
  #looks = 0; // checks at which it was the same frame

  /**
   * @param ms How long a frame may take, in milliseconds; zero for no limit.
   * @param decoder The decoder of the frames.
   * @param timers The timers of the client or server.
   * @param expired Called when a frame has taken longer.
   */
  constructor(ms: number, decoder: FrameDecoder, timers: Timers, expired: () => void) {
    this.#ms = ms || Infinity;
    this.#decoder = decoder;
    this.#timers = timers;
    this.#expired = expired;
  }

  /** Bytes were received. */
  // One timer runs while there is traffic: to start one for each frame would take more time.
  watch(): void {
    if (this.#timer !== undefined || !this.#decoder.partial) return;
    this.#frames = this.#decoder.frames;
    this.#looks = 0;
    this.#timer = this.#timers.repeat(this.#ms / LOOKS, () => this.#look());
  }

  /** Stops the timer. */
  stop(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }

  #look(): void {
    const { frames, partial } = this.#decoder;
    if (!partial) return this.stop();
    if (frames !== this.#frames) {
      this.#frames = frames;
      this.#looks = 0;
    } else if (this.waiting && ++this.#looks >= LOOKS) {
      this.stop();
      this.#expired();
    }
  }
}
