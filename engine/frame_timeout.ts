/**
 * Ends connections whose peers begin a frame and do not finish it.
 *
 * @module
 */

import type { FrameDecoder } from "../framing.ts";
import type { Timer, Timers } from "../async/timer.ts";

/** How often it is looked whether a frame is still the same one, in the time that it may take. */
const LOOKS = 8;

/** Watches the frame under way on one connection. */
export class FrameTimeout {
  /** Whether the connection waits for the peer: only then its frames take their time. */
  waiting = false;
  readonly #ms: number;
  readonly #decoder: FrameDecoder;
  readonly #timers: Timers;
  readonly #expired: () => void;
  #timer: Timer | undefined;
  #frames = 0;
  #looks = 0; // at the same frame

  /**
   * @param ms How long a frame may take, in milliseconds; zero for as long as it likes.
   * @param decoder Where it comes together.
   * @param timers Those of the client or server.
   * @param expired Called when a frame has taken longer.
   */
  constructor(ms: number, decoder: FrameDecoder, timers: Timers, expired: () => void) {
    this.#ms = ms || Infinity;
    this.#decoder = decoder;
    this.#timers = timers;
    this.#expired = expired;
  }

  /** Bytes have come. */
  // One timer goes on while there is traffic: to start one for each frame would cost more.
  watch(): void {
    if (this.#timer !== undefined || !this.#decoder.partial) return;
    this.#frames = this.#decoder.frames;
    this.#looks = 0;
    this.#timer = this.#timers.repeat(this.#ms / LOOKS, () => this.#look());
  }

  /** Watches no more. */
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
