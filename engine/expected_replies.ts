/**
 * Expected replies: estimates of what running calls will be answered, so that a reply counts as
 * held memory before it is made.
 *
 * A call that has just begun counts with the longest reply possible, until the event loop has
 * turned; then with the longest recent reply of its method. A call that takes long no longer
 * counts: it may wait for other calls, which must be able to begin.
 *
 * @module
 */

import type { HeldBytes } from "./held_bytes.ts";
import type { Timer, Timers } from "../async/timer.ts";

/** The expected length of a method's replies: the longest recent one, which slowly loses effect. */
export class Expectation {
  readonly #most: number;
  #bytes: number;
  #known = false;

  /** @param most The longest reply possible, in bytes. It is expected until there was a reply. */
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

  /** A reply of so many bytes was made. If it is too long, it is not sent. */
  learn(bytes: number): void {
    if (bytes > this.#most) bytes = 0;
    const rest = this.#known ? this.#bytes - Math.ceil(this.#bytes / 64) : 0;
    this.#bytes = Math.max(bytes, rest);
    this.#known = true;
  }

  /** There is no reply after a long time: the calls are unlikely to be answered all at once. */
  doubt(): void {
    if (!this.#known) this.#bytes /= 2;
  }
}

/** A call, as far as its reply is expected. */
export interface ExpectedCall {
  /** The expected length of its method's replies; `undefined` once the reply is made. */
  readonly replies: Expectation | undefined;
  /** The turn in which it began, until it is answered; else zero. */
  turn: number;
  /** The bytes that the server expects its reply to hold. */
  expectedBytes: number;
}

/** What this needs of a connection. */
export interface ExpectingConnection {
  /** The memory that its calls hold. */
  readonly held: HeldBytes;
  /** Whether it has ended: its calls are no longer answered. */
  readonly closed: boolean;
}

/** Shorter replies, in bytes, are not counted. */
const LITTLE_BYTES = 1 << 12;
/** After how many milliseconds a turn of the event loop is over, unless a read shows it earlier. */
const TURN_MS = 50;
/** The interval of checks for calls that take long, in milliseconds, and after how many they do. */
const DOUBT_MS = 100;
const KNOWN_LOOKS = 10;

/** The replies that are expected on one connection. */
export class ExpectedReplies {
  readonly #connection: ExpectingConnection;
  readonly #timers: Timers;
  #turn = 1; // of the event loop
  #soon = 0; // calls that began in it and are not answered yet
  #begun: ExpectedCall[] = []; // those of them whose replies may be long
  #turning: Timer | undefined;
  /** Calls of earlier turns whose replies are likely to be long. */
  readonly #late = new Map<ExpectedCall, { looks: number }>();
  #doubting: Timer | undefined;

  /**
   * @param connection The connection.
   * @param timers The timers of the server.
   */
  constructor(connection: ExpectingConnection, timers: Timers) {
    this.#connection = connection;
    this.#timers = timers;
  }

  /** Whether calls that began in this turn of the event loop are not answered yet. */
  get soon(): boolean {
    return this.#soon > 0;
  }

  /** A call has begun, and its handler waits for something, perhaps not for long. */
  begin(call: ExpectedCall): void {
    // The reply may be made already, or can no longer be sent.
    if (!call.replies || this.#connection.closed) return;
    call.turn = this.#turn;
    this.#soon++;
    this.#connection.held.begin();
    // The server counts the likely length only: else few connections would use up all its room.
    if (call.replies.bytes >= LITTLE_BYTES) {
      this.#expect(call, call.replies.bytes);
      this.#begun.push(call);
    }
    // Usually the next read shows that a turn has passed, before the timer does.
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
      const { bytes } = call.replies!; // other calls of the method may have been answered since
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

  /** Stops counting the replies of calls that take long. */
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

  /** Sets the bytes that the server expects of a call. */
  #expect(call: ExpectedCall, bytes: number): void {
    this.#connection.held.whole?.expect(bytes - call.expectedBytes);
    call.expectedBytes = bytes;
  }
}
