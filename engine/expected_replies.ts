/**
 * What the calls of a connection are expected to be answered: a reply counts before it is made.
 *
 * A call that has just begun may be answered with as much as there can be, until the event loop has
 * turned; then with as much as the longest reply of late of its method; and one that takes long is
 * taken to wait for something, perhaps for other calls, which have to begin.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import type { Timer, Timers } from "../async/timer.ts";

/** How long the replies of a method are: the longest of late, which is forgotten slowly. */
export class Expectation {
  readonly #most: number;
  #bytes: number;
  #known = false;

  /** @param most How long a reply can be, in bytes. The first ones may be. */
  constructor(most: number) {
    this.#most = most;
    this.#bytes = most;
  }

  /** The bytes to expect. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether there was a reply. */
  get known(): boolean {
    return this.#known;
  }

  /** A reply of so many bytes was made. One that is too long is not sent. */
  learn(bytes: number): void {
    if (bytes > this.#most) bytes = 0;
    const rest = this.#known ? this.#bytes - Math.ceil(this.#bytes / 64) : 0;
    this.#bytes = Math.max(bytes, rest);
    this.#known = true;
  }

  /** There is still no reply: the calls take long, and are hardly about to be answered all at once. */
  doubt(): void {
    if (!this.#known) this.#bytes /= 2;
  }
}

/** A call, as far as its reply is expected. */
export interface ExpectedCall {
  /** How long the replies of its method are; `undefined` once it is made. */
  readonly replies: Expectation | undefined;
  /** The turn in which it has begun, if it was not answered since; else zero. */
  turn: number;
  /** The bytes that the server expects of it. */
  expectedBytes: number;
}

/** What this needs of a connection. */
export interface ExpectingConnection {
  /** What it holds. */
  readonly held: HeldBytes;
  /** Whether it has ended: its calls are not answered any more. */
  readonly closed: boolean;
}

/** Replies that are shorter are not worth being expected, in bytes. */
const LITTLE_BYTES = 1 << 12;
/** After how many milliseconds a turn of the event loop is over, if nothing else tells. */
const TURN_MS = 50;
/** How often it is looked which calls take long, in milliseconds, and after how many looks they do. */
const DOUBT_MS = 100;
const KNOWN_LOOKS = 10;

/** The replies that are expected on one connection. */
export class ExpectedReplies {
  readonly #connection: ExpectingConnection;
  readonly #timers: Timers;
  #turn = 1; // of the event loop
  #soon = 0; // calls that have begun in it, and were not answered yet
  #begun: ExpectedCall[] = []; // those of them whose replies may be long
  #turning: Timer | undefined;
  /** Calls of earlier turns whose replies are likely to be long. */
  readonly #late = new Map<ExpectedCall, { looks: number }>();
  #doubting: Timer | undefined;

  /**
   * @param connection The connection.
   * @param timers Those of the server.
   */
  constructor(connection: ExpectingConnection, timers: Timers) {
    this.#connection = connection;
    this.#timers = timers;
  }

  /** Whether calls have begun in this turn of the event loop, and were not answered yet. */
  get soon(): boolean {
    return this.#soon > 0;
  }

  /** A call has begun, and its handler waits for something. Perhaps not for long. */
  begin(call: ExpectedCall): void {
    // The reply may be made already, and wait; or there is nobody any more to send it to.
    if (!call.replies || this.#connection.closed) return;
    call.turn = this.#turn;
    this.#soon++;
    this.#connection.held.begin();
    // For the server it counts as what is likely, or few connections would leave no room on any.
    if (call.replies.bytes >= LITTLE_BYTES) {
      this.#expect(call, call.replies.bytes);
      this.#begun.push(call);
    }
    // Usually the next read tells that a turn has passed, which costs nothing.
    this.#turning ??= this.#timers.start(TURN_MS, () => {
      this.#turning = undefined;
      this.turned();
    });
  }

  /** The event loop has turned. */
  turned(): void {
    if (this.#soon + this.#begun.length === 0) return;
    const { held, closed } = this.#connection;
    held.begun(this.#soon);
    this.#soon = 0;
    const turn = this.#turn++;
    for (const call of this.#begun) {
      if (call.turn !== turn) continue;
      const { bytes } = call.replies!; // as is known by now
      const little = bytes < LITTLE_BYTES || closed;
      this.#expect(call, little ? 0 : bytes);
      if (little) continue;
      held.expect(bytes);
      this.#late.set(call, { looks: 0 });
    }
    this.#begun = [];
    if (this.#late.size > 0) {
      this.#doubting ??= this.#timers.repeat(DOUBT_MS, () => this.#doubt());
    }
  }

  /** The reply to a call was made, or there will be none. */
  answered(call: ExpectedCall): void {
    if (call.turn === this.#turn) {
      this.#soon--;
      this.#connection.held.begun(1);
    }
    call.turn = 0;
    if (call.expectedBytes > 0) this.#forget(call);
  }

  /** The connection has ended. */
  end(): void {
    this.turned();
    this.#turning?.stop();
    for (const call of [...this.#late.keys()]) this.#forget(call);
  }

  /** Expects nothing more of calls that take long. */
  #doubt(): void {
    const unknown = new Set<Expectation>();
    for (const [call, age] of this.#late) {
      const { known } = call.replies!;
      if (++age.looks <= (known ? KNOWN_LOOKS : 1)) continue;
      this.#forget(call);
      if (!known) unknown.add(call.replies!);
    }
    for (const replies of unknown) replies.doubt();
  }

  #forget(call: ExpectedCall): void {
    if (this.#late.delete(call)) this.#connection.held.expect(-call.expectedBytes);
    this.#expect(call, 0);
    if (this.#late.size > 0) return;
    this.#doubting?.stop();
    this.#doubting = undefined;
  }

  /** Expects so many bytes of a call, on the server. */
  #expect(call: ExpectedCall, bytes: number): void {
    this.#connection.held.whole?.expect(bytes - call.expectedBytes);
    call.expectedBytes = bytes;
  }
}
