/**
 * Holds back frames while there is no room for another call. The first frame without room waits
 * here, the frames behind it wait in the decoder, and nothing more is read.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import { Code, RpcError } from "../status.ts";
import type { Timer, Timers } from "../async/timer.ts";

/** What this needs of a connection. */
export interface AdmissionHost {
  /** The memory that its calls hold. */
  readonly held: HeldBytes;
  /** Whether it has ended. */
  readonly closed: boolean;
  /** Whether the peer is connected; `undefined` if that is not known. */
  peerReads(): Promise<boolean | undefined>;
  /** Handles the frames that are decoded after the one that was kept. */
  resume(): void;
  /** Reads a little further while something is waited for. */
  during(wait: Promise<void>): Promise<void>;
  /** A peer that has asked is told that this side is there. */
  stillHere(): void;
  /** Ends the connection because of an error. */
  fail(cause: unknown): void;
}

/** What this needs of the connection's role. */
export interface Admitting {
  /**
   * Whether a frame may be taken now.
   *
   * @param streamId The stream of the frame.
   * @param type Its type.
   * @param data Its data.
   * @param paidFor Whether memory was reserved for it on the server before it was read.
   */
  admits(streamId: number, type: number, data: Uint8Array, paidFor: boolean): boolean;
  /** Whether calls that began in this turn of the event loop are not answered yet. */
  readonly begins: boolean;
  /** A turn of the event loop has passed. */
  turned(): void;
}

/**
 * The microtasks in which a handler that does not wait for the event loop has answered. To wait for
 * the event loop at once would cost such handlers a tenth of their speed.
 */
const HOPS = 8;
/** The interval at which it is tested whether the peer is still connected, in milliseconds. */
const PROBE_MS = 1_000;

/** A frame that waits. */
interface KeptFrame {
  readonly streamId: number;
  readonly type: number;
  readonly data: Uint8Array;
  /** Bytes of memory that are reserved for it on the server. */
  readonly paid: number;
  /** When it was received, in milliseconds of `performance.now()`. */
  readonly arrival: number;
  readonly take: () => void;
}

/** Holds the frame of one connection for which there is no room yet. */
export class Admission {
  readonly #host: AdmissionHost;
  readonly #role: Admitting;
  readonly #timers: Timers;
  #kept: KeptFrame | undefined;
  #paid = 0; // bytes reserved on the server for the long frame that is being received
  #arrival: number | undefined;
  #probe: Timer | undefined;
  #wake: (() => void) | undefined;

  /**
   * @param host The connection.
   * @param role Its role.
   * @param timers The timers of its client or server.
   */
  constructor(host: AdmissionHost, role: Admitting, timers: Timers) {
    this.#host = host;
    this.#role = role;
    this.#timers = timers;
  }

  /** Bytes of memory that are reserved for the long frame that is being received. */
  get paid(): number {
    return this.#paid;
  }

  /** Whether a frame waits. */
  get waiting(): boolean {
    return this.#kept !== undefined;
  }

  /** Whether a received frame may be handled at once. If not, it has to be kept. */
  admits(streamId: number, type: number, data: Uint8Array): boolean {
    return this.#role.admits(streamId, type, data, this.#paid > 0);
  }

  /** A frame is about to be handled: its call counts from now on, so the reservation ends. */
  taken(): void {
    if (this.#paid === 0) return;
    this.#host.held.changeWhole(-this.#paid);
    this.#paid = 0;
  }

  /** Keeps a frame until there is room. No other frame is handled until then. */
  keep(streamId: number, type: number, data: Uint8Array, take: () => void): void {
    this.#kept = { streamId, type, data, paid: this.#paid, arrival: performance.now(), take };
    this.#paid = 0;
  }

  /**
   * When the frame being handled was received, in milliseconds of `performance.now()`, if it was
   * kept; else `undefined`.
   */
  get arrival(): number | undefined {
    return this.#arrival;
  }

  /** Handles the frame that waits, when there is room. Frames behind it may then have to wait. */
  async release(): Promise<void> {
    for (let hops = 0; this.#kept && !this.#host.closed;) {
      const { streamId, type, data, paid, arrival, take } = this.#kept;
      if (this.#role.admits(streamId, type, data, paid > 0)) {
        hops = 0;
        this.#host.held.changeWhole(-paid);
        this.#kept = undefined;
        this.#arrival = arrival;
        take();
        this.#arrival = undefined;
        this.#host.resume();
      } else if (!this.#role.begins) await this.#room();
      else if (++hops <= HOPS) await undefined;
      else {
        await new Promise((resolve) => setImmediate(resolve));
        this.#role.turned();
      }
    }
    this.#roomFound();
  }

  /**
   * Reserves memory on the server for a long frame whose beginning was received. Waits until there
   * is room.
   *
   * @param length Its length in bytes.
   */
  async payFor(length: number): Promise<void> {
    if (this.#paid > 0) return;
    const { held } = this.#host;
    while (!held.mayReceive(length) && !this.#host.closed) await this.#room();
    this.#roomFound();
    if (this.#host.closed) return;
    this.#paid = length;
    held.changeWhole(length);
  }

  /** Checks again whether there is room. */
  look(): void {
    this.#wake?.();
  }

  /** Drops the frame and its reservation: the connection has ended. */
  drop(): void {
    this.taken();
    if (this.#kept) this.#host.held.changeWhole(-this.#kept.paid);
    this.#kept = undefined;
    this.look();
  }

  /** Waits until there may be room. */
  async #room(): Promise<void> {
    // The probe goes on over all the waits of one frame.
    this.#probe ??= this.#timers.repeat(PROBE_MS, async () => {
      this.#host.stillHere();
      if (await this.#host.peerReads() === false) this.#host.fail(GONE);
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const over = this.#host.held.wait(resolve);
    await this.#host.during(promise);
    this.#wake = undefined;
    over();
  }

  #roomFound(): void {
    this.#probe?.stop();
    this.#probe = undefined;
  }
}

const GONE = new RpcError(Code.UNAVAILABLE, "the peer has gone");
