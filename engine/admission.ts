/**
 * Which frames a connection may take while there is no room for another call. The first for which
 * there is none waits here, what has come behind it in the decoder, and nothing more is read.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import { Code, RpcError } from "../status.ts";
import type { Timer, Timers } from "../async/timer.ts";

/** What this needs of a connection. */
export interface AdmissionHost {
  /** What it holds. */
  readonly held: HeldBytes;
  /** Whether it has ended. */
  readonly closed: boolean;
  /** Whether the peer is there to read; `undefined` if that cannot be told. */
  peerReads(): Promise<boolean | undefined>;
  /** Hands out the frames that came with the one that was kept. */
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
   * @param paidFor Whether the server has made room for it before it was read.
   */
  admits(streamId: number, type: number, data: Uint8Array, paidFor: boolean): boolean;
  /** Whether calls have begun in this turn of the event loop, whose replies may be about to come. */
  readonly begins: boolean;
  /** The turn has passed. */
  turned(): void;
}

/**
 * Microtasks in which a handler that has nothing to wait for has answered. To wait for the event loop
 * at once costs a tenth of the calls of such handlers.
 */
const HOPS = 8;
/** How often a peer is asked whether it is still there, in milliseconds. */
const PROBE_MS = 1_000;

/** A frame that waits. */
interface KeptFrame {
  readonly streamId: number;
  readonly type: number;
  readonly data: Uint8Array;
  /** What the server holds for it. */
  readonly paid: number;
  /** When it came, in milliseconds of `performance.now()`. */
  readonly arrival: number;
  readonly take: () => void;
}

/** The frame of one connection for which there is no room yet. */
export class Admission {
  readonly #host: AdmissionHost;
  readonly #role: Admitting;
  readonly #timers: Timers;
  #kept: KeptFrame | undefined;
  #paid = 0; // what the server holds for the long frame under way
  #arrival: number | undefined;
  #probe: Timer | undefined;
  #wake: (() => void) | undefined;

  /**
   * @param host The connection.
   * @param role Its role.
   * @param timers Those of its client or server.
   */
  constructor(host: AdmissionHost, role: Admitting, timers: Timers) {
    this.#host = host;
    this.#role = role;
    this.#timers = timers;
  }

  /** What the server holds for the long frame under way, in bytes. */
  get paid(): number {
    return this.#paid;
  }

  /** Whether a frame waits. */
  get waiting(): boolean {
    return this.#kept !== undefined;
  }

  /** Whether a frame that has come may be taken at once. If not, it has to be kept. */
  admits(streamId: number, type: number, data: Uint8Array): boolean {
    return this.#role.admits(streamId, type, data, this.#paid > 0);
  }

  /** A frame is about to be taken at once: what the server held for it is counted anew. */
  taken(): void {
    if (this.#paid === 0) return;
    this.#host.held.changeWhole(-this.#paid);
    this.#paid = 0;
  }

  /** Keeps a frame until there is room. No other one comes until then. */
  keep(streamId: number, type: number, data: Uint8Array, take: () => void): void {
    this.#kept = { streamId, type, data, paid: this.#paid, arrival: performance.now(), take };
    this.#paid = 0;
  }

  /** When the frame that is being taken has come, if it was kept: milliseconds of `performance.now()`. */
  get arrival(): number | undefined {
    return this.#arrival;
  }

  /** Has the frame that waits taken when there is room. Others may have to wait after it. */
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
   * Waits until the server has room for a long frame, of which the beginning has come.
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

  /** Has those look again who wait for room. */
  look(): void {
    this.#wake?.();
  }

  /** Drops all: the connection has ended. */
  drop(): void {
    this.taken();
    if (this.#kept) this.#host.held.changeWhole(-this.#kept.paid);
    this.#kept = undefined;
    this.look();
  }

  /** Waits until there may be room. */
  async #room(): Promise<void> {
    // It may take many looks until there is room, and the peer is asked now and then all the while.
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
