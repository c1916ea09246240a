/**
 * The memory that calls hold, within limits: requests that handlers work on, replies that wait to be
 * sent, what is queued. A connection counts its own; its server, or client, counts all.
 *
 * What a running handler will answer is not held yet, and too late to bound once it is. So it is
 * expected, which counts as well.
 *
 * @module
 */

/** What a connection may use while its server has no room, in bytes: enough for small calls. */
export const SHARE = 1 << 16;

/** Bytes that are held, and those that are expected. */
export class HeldBytes {
  /** What these are a part of. */
  readonly whole: HeldBytes | undefined;
  readonly #limit: number;
  readonly #replyBytes: number;
  readonly #waiting = new Set<() => void>();
  /** Called when somebody waits for room. */
  onAwaited: (() => void) | undefined;
  #bytes = 0;
  #expected = 0;
  #soon = 0; // calls that have just begun

  /**
   * @param limit The most bytes to be held when something more is begun.
   * @param whole What these are a part of.
   * @param replyBytes How long the reply to a call can be that has just begun.
   */
  constructor(limit: number, whole?: HeldBytes, replyBytes = 0) {
    this.#limit = limit;
    this.#replyBytes = replyBytes;
    this.whole = whole;
  }

  /** How many bytes are held. */
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

  /** What has no room, if something has not: these, or what they are a part of. */
  get full(): HeldBytes | undefined {
    if (!this.hasRoom) return this;
    return this.whole?.full;
  }

  /** Whether somebody waits for room. */
  get awaited(): boolean {
    return this.#waiting.size > 0;
  }

  /**
   * Whether a call may begin.
   *
   * @param bytes What it would hold, as far as that is known. Asked for only where it matters.
   */
  mayBegin(bytes: () => number): boolean {
    if (!this.hasRoom) return false;
    return !this.whole?.full || this.#sum + bytes() <= SHARE;
  }

  /**
   * Whether a long frame may be received.
   *
   * @param bytes Its length.
   */
  mayReceive(bytes: number): boolean {
    return !this.whole?.full || this.#sum + bytes <= SHARE;
  }

  /** So many more bytes are held; fewer, if that is negative. */
  change(bytes: number): void {
    this.#bytes += bytes;
    this.whole?.change(bytes);
    if (bytes < 0) this.#tell();
  }

  /** A call has begun, and may be answered soon. */
  begin(): void {
    this.#soon++;
  }

  /** So many of these calls were answered, or are taken not to be soon. */
  begun(calls: number): void {
    this.#soon -= calls;
    this.#tell();
  }

  /** So many more bytes are expected here, not of the whole; fewer, if that is negative. */
  expect(bytes: number): void {
    this.#expected += bytes;
    if (bytes < 0) this.#tell();
  }

  /** So many more bytes are held, which have a limit of their own on the connection. */
  changeWhole(bytes: number): void {
    this.whole?.change(bytes);
  }

  /**
   * Calls back when there is room, or has been: others may be faster.
   *
   * @param callback What to call, once.
   * @returns What ends the wait. Has to be called, so that the next one has its turn.
   */
  wait(callback: () => void): () => void {
    // Less that is held here may be enough as well, where the whole has no room.
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

  /** Tells the one who has waited longest. */
  #tell(): void {
    if (this.#waiting.size === 0 || !this.hasRoom) return;
    const [tell] = this.#waiting;
    tell!();
  }
}
