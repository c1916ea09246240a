/**
 * Counts the memory that calls hold, within limits: requests that handlers work on, replies that
 * wait to be sent, queued messages. Each connection has a count, and its server or client has one
 * of all its connections.
 *
 * The reply of a running handler is not held yet, and once it is, it is too late to limit it. So an
 * estimate of it counts as well: the expected bytes.
 *
 * @module
 */

/** Bytes that a connection may use while its server has no room: enough for small calls. */
export const SHARE = 1 << 16;

/** The held and the expected bytes of a connection, or of all connections. */
export class HeldBytes {
  /** The count of all connections, for that of a connection. */
  readonly whole: HeldBytes | undefined;
  readonly #limit: number;
  readonly #replyBytes: number;
  readonly #waiting = new Set<() => void>();
  /** Called when a connection waits for room. */
  onAwaited: (() => void) | undefined;
  #bytes = 0;
  #expected = 0;
  #soon = 0; // calls that have just begun

  /**
   * @param limit The bytes at which no further call begins.
   * @param whole The count of all connections, for that of a connection.
   * @param replyBytes The longest reply to a call that has just begun, in bytes.
   */
  constructor(limit: number, whole?: HeldBytes, replyBytes = 0) {
    this.#limit = limit;
    this.#replyBytes = replyBytes;
    this.whole = whole;
  }

  /** The bytes that are held. */
  get bytes(): number {
    return this.#bytes;
  }

  get #sum(): number {
    return this.#bytes + this.#expected + this.#soon * this.#replyBytes;
  }

  /** Whether there is room for more. */
  get hasRoom(): boolean {
    return this.#sum < this.#limit;
  }

  /** The count that has no room, if there is one: this one, or that of all connections. */
  get full(): HeldBytes | undefined {
    if (!this.hasRoom) return this;
    return this.whole?.full;
  }

  /** Whether a connection waits for room. */
  get awaited(): boolean {
    return this.#waiting.size > 0;
  }

  /**
   * Whether a call may begin.
   *
   * @param bytes Returns the bytes that it would hold, as far as known. Called only if needed.
   */
  mayBegin(bytes: () => number): boolean {
    if (!this.hasRoom) return false;
    return !this.whole?.full || this.#sum + bytes() <= SHARE;
  }

  /**
   * Whether a long frame may be received.
   *
   * @param bytes Its length in bytes.
   */
  mayReceive(bytes: number): boolean {
    return !this.whole?.full || this.#sum + bytes <= SHARE;
  }

  /** Adds to the held bytes; takes away if `bytes` is negative. */
  change(bytes: number): void {
    this.#bytes += bytes;
    this.whole?.change(bytes);
    if (bytes < 0) this.#tell();
  }

  /** A call has begun, and may be answered soon. */
  begin(): void {
    this.#soon++;
  }

  /** Some of these calls were answered, or are no longer expected to be answered soon. */
  begun(calls: number): void {
    this.#soon -= calls;
    this.#tell();
  }

  /** Adds to the expected bytes of this count only; takes away if `bytes` is negative. */
  expect(bytes: number): void {
    this.#expected += bytes;
    if (bytes < 0) this.#tell();
  }

  /** Adds to the held bytes of all connections only: the connection has another limit for these. */
  changeWhole(bytes: number): void {
    this.whole?.change(bytes);
  }

  /**
   * Calls back when there is room. Another connection may have used it since.
   *
   * @param callback Called once.
   * @returns A function that ends the wait. It must be called, so that the next connection gets its
   * turn.
   */
  wait(callback: () => void): () => void {
    // Where all connections together have no room, less on this one may be enough as well.
    const { whole } = this;
    const both = whole?.full ? [this, whole] : [this];
    const tell = () => {
      for (const held of both) held.#waiting.delete(tell);
      callback();
    };
    for (const held of both) {
      held.#waiting.add(tell);
      held.onAwaited?.();
    }
    return () => {
      for (const held of both) {
        held.#waiting.delete(tell);
        held.#tell();
      }
    };
  }

  /** Calls back for the connection that has waited longest. */
  #tell(): void {
    if (this.#waiting.size === 0 || !this.hasRoom) return;
    const [tell] = this.#waiting;
    tell!();
  }
}
