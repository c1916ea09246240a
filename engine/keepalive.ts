/**
 * Ping and pong: finds out whether a silent peer is still there.
 *
 * @module
 */

import type { Deadlines, Expirable } from "../async/deadlines.ts";
import { FrameType, HEADER_LENGTH, writeHeader } from "../framing.ts";
import { checkTime, turn } from "../async/timer.ts";
import type { WriteQueue } from "./write_queue.ts";
import { NO_BYTES } from "../wire/writer.ts";

/**
 * How to find out that a peer is silent because it is gone.
 *
 * @category Client
 */
export interface KeepaliveOptions {
  /** After how many milliseconds without a byte from the peer it is sent a ping. */
  intervalMs: number;
  /**
   * How many milliseconds it may then take until something comes, be it the pong or anything else.
   * 20,000 by default.
   */
  timeoutMs?: number | undefined;
}

/** Keepalive with its defaults filled in. */
export type KeepaliveSettings = Readonly<Required<{ [K in keyof KeepaliveOptions]: number }>>;

/**
 * What a peer and its own side know beyond ttrpc.
 *
 * @category Client
 */
export interface ExtensionOptions {
  /**
   * Whether to use the extension to ttrpc that `docs/extension.md` describes: frames that cancel a
   * call, and pings. A peer that does not know them ignores them. `true` by default.
   */
  extensions?: boolean | undefined;
  /**
   * Sends a ping when nothing has come from the peer for a while, and ends the connection when
   * nothing comes after that: its calls end with `UNAVAILABLE`. It takes a peer that answers pings;
   * one that has never answered any is not taken for dead. Off by default.
   */
  keepalive?: KeepaliveOptions | undefined;
}

/** The extension with its defaults filled in; `undefined` if it is not used. */
export interface ExtensionSettings {
  readonly keepalive: KeepaliveSettings | undefined;
}

const TIMEOUT_MS = 20_000;
/** The most data that a ping has. */
const PING_BYTES = 8;

/**
 * Checks what a client or server was told of the extension.
 *
 * @param options What was given.
 * @returns The same with its defaults; `undefined` if it is not to be used.
 * @throws {RangeError} If a time is no number above zero.
 * @throws {TypeError} If there is to be a keepalive, but no extension.
 */
export function resolveExtension(options: ExtensionOptions): ExtensionSettings | undefined {
  const { extensions = true, keepalive } = options;
  if (!keepalive) return extensions ? { keepalive: undefined } : undefined;
  if (!extensions) throw new TypeError("Cannot keep alive without extensions: it takes pings");
  const { intervalMs, timeoutMs = TIMEOUT_MS } = keepalive;
  return {
    keepalive: {
      intervalMs: checkAboveZero("keepalive.intervalMs", intervalMs),
      timeoutMs: checkAboveZero("keepalive.timeoutMs", timeoutMs),
    },
  };
}

function checkAboveZero(name: string, ms: number): number {
  if (checkTime(name, ms) > 0 && Number.isFinite(ms)) return ms;
  throw new RangeError(`Cannot use ${name} of ${ms}: it takes a number of milliseconds above zero`);
}

/** What this needs of a connection. */
export interface KeepaliveHost {
  /** Where frames are written. */
  readonly queue: WriteQueue;
  /** Whether it has ended. */
  readonly closed: boolean;
  /** Whether it waits for the peer: else nothing of what has come may have been read yet. */
  readonly reads: boolean;
  /** Ends the connection because of an error. */
  fail(cause: unknown): void;
}

/** Answers the pings of one connection's peer, and sends it some. */
export class Keepalive implements Expirable {
  deadline = Infinity;
  readonly #host: KeepaliveHost;
  readonly #settings: KeepaliveSettings | undefined;
  readonly #deadlines: Deadlines;
  #heardAt = 0; // when the last bytes have come
  #askedAt: number | undefined; // when a ping has left, or was found on its way
  #pingEnd = 0; // of all bytes that are sent, where the ping ends
  #written = 0; // bytes that had left when that was looked at
  #answers = false; // the peer has answered a ping
  #asks = false; // the peer has sent one
  #owed: Uint8Array | undefined; // the data of its last one that is not answered
  #answering = false;

  /**
   * @param host The connection.
   * @param settings When to send pings; never without.
   * @param deadlines Those of its client or server.
   */
  constructor(
    host: KeepaliveHost,
    settings: KeepaliveSettings | undefined,
    deadlines: Deadlines,
  ) {
    this.#host = host;
    this.#settings = settings;
    this.#deadlines = deadlines;
  }

  /** The peer may be sent pings. The first is sent at once, so that it is known whether it answers. */
  start(): void {
    if (!this.#settings || this.deadline !== Infinity || this.#host.closed) return;
    this.#heardAt = performance.now();
    this.#ping();
  }

  /** Bytes have come. */
  heard(): void {
    if (this.deadline !== Infinity) this.#heardAt = performance.now();
  }

  /** A ping or pong has come. */
  frame(type: number, data: Uint8Array): void {
    if (type === FrameType.Pong) this.#answers = true;
    else if (data.length <= PING_BYTES) {
      this.#asks = true;
      this.#owed = data.slice();
      if (!this.#answering) void this.#answer();
    }
  }

  /** Tells a peer that has sent pings that this side is there, although it does not read for now. */
  stillHere(): void {
    if (!this.#asks || this.#answering) return;
    this.#owed ??= NO_BYTES;
    void this.#answer();
  }

  /** Sends no more pings. */
  stop(): void {
    if (this.deadline === Infinity) return;
    this.#deadlines.delete(this);
    this.deadline = Infinity;
  }

  expire(): void {
    const { intervalMs, timeoutMs } = this.#settings!;
    const now = performance.now();
    const heard = this.#heardAt;
    if (heard <= (this.#askedAt ?? 0)) this.#follow(now);
    const asked = this.#askedAt;
    if (!this.#host.reads) {
      this.#askedAt = undefined;
      this.#watch(now + intervalMs);
    } else if (asked !== undefined && heard <= asked && now < asked + timeoutMs) {
      this.#watch(asked + timeoutMs);
    } else if (asked !== undefined && heard <= asked && this.#answers) {
      void this.#lookAgain(asked);
    } else {
      const due = Math.max(heard, asked ?? 0) + intervalMs;
      this.#askedAt = undefined;
      if (now < due) this.#watch(due);
      else this.#ping();
    }
  }

  /** What has come while this process stood still counts, too. */
  async #lookAgain(asked: number): Promise<void> {
    await turn(); // which may have begun before
    await turn();
    if (this.#host.closed) return;
    if (this.#heardAt > asked) return this.expire();
    const { timeoutMs } = this.#settings!;
    this.#host.fail(
      `the peer has sent nothing for ${timeoutMs} ms after a ping (keepalive.timeoutMs)`,
    );
  }

  #ping(): void {
    const { intervalMs, timeoutMs } = this.#settings!;
    this.#send(FrameType.Ping, NO_BYTES);
    const { queue } = this.#host;
    const now = this.#askedAt = performance.now();
    this.#pingEnd = queue.total;
    this.#written = queue.written;
    this.#watch(now + Math.min(intervalMs, timeoutMs));
    void queue.flushed().then(() => {
      if (this.#askedAt === now && this.#heardAt <= now) this.#follow(performance.now());
    });
  }

  /** The time for an answer begins when the ping has left: there may be much before it. */
  #follow(now: number): void {
    const { written } = this.#host.queue;
    if (this.#written < this.#pingEnd && written > this.#written) this.#askedAt = now;
    this.#written = written;
  }

  #watch(deadline: number): void {
    this.deadline = deadline;
    this.#deadlines.add(this);
  }

  /** Pongs leave one by one: a peer that does not read them is owed one, however often it has asked. */
  async #answer(): Promise<void> {
    const { queue } = this.#host;
    this.#answering = true;
    for (let data = this.#owed; data && !queue.over; data = this.#owed) {
      this.#owed = undefined;
      this.#send(FrameType.Pong, data);
      await queue.flushed();
    }
    this.#answering = false;
  }

  #send(type: number, data: Uint8Array): void {
    const { queue } = this.#host;
    writeHeader(queue.writer, 0, type, 0, data.length);
    queue.writer.bytes(data);
    queue.send(HEADER_LENGTH + data.length);
  }
}
