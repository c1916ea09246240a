/**
 * Keepalive: pings a silent peer, and ends the connection if it does not answer.
 *
 * @module
 */

import type { Deadlines, Expirable } from "../async/deadlines.ts";
import { FrameType, HEADER_LENGTH, writeHeader } from "../framing.ts";
import { checkTime, turn } from "../async/timer.ts";
import type { WriteQueue } from "./write_queue.ts";
import { NO_BYTES } from "../wire/writer.ts";

/**
 * When to ping a silent peer, and how long to wait for it.
 *
 * @category Client
 */
export interface KeepaliveOptions {
  /** How long the peer may send nothing before it is sent a ping, in milliseconds. */
  intervalMs: number;
  /**
   * How long the peer may then take to send anything, whether the pong or something else, in
   * milliseconds. 20,000 by default.
   */
  timeoutMs?: number | undefined;
}

/** {@linkcode KeepaliveOptions} with the defaults filled in. */
export type KeepaliveSettings = Readonly<Required<{ [K in keyof KeepaliveOptions]: number }>>;

/**
 * Options of the extension to ttrpc, for clients and servers.
 *
 * @category Client
 */
export interface ExtensionOptions {
  /**
   * Whether to use the extension to ttrpc that `docs/extension.md` describes: frames that cancel a
   * call, and pings. Peers that do not support it ignore these. `true` by default.
   */
  extensions?: boolean | undefined;
  /**
   * Sends a ping when the peer has sent nothing for a while, and ends the connection if it still
   * sends nothing: calls in flight end with `UNAVAILABLE`. This has no effect on a peer that has
   * never answered a ping, since it may not support them. Off by default.
   */
  keepalive?: KeepaliveOptions | undefined;
}

/** {@linkcode ExtensionOptions} with the defaults filled in. */
export interface ExtensionSettings {
  readonly keepalive: KeepaliveSettings | undefined;
}

const TIMEOUT_MS = 20_000;
/** The longest data of a ping, in bytes. */
const PING_BYTES = 8;

/**
 * Checks the options of the extension, and adds the defaults.
 *
 * @param options The options.
 * @returns The settings; `undefined` if the extension is off.
 * @throws {RangeError} If a time is not a number above zero.
 * @throws {TypeError} If `keepalive` is set, but the extension is off.
 */
export function resolveExtension(options: ExtensionOptions): ExtensionSettings | undefined {
  const { extensions = true, keepalive } = options;
  if (!keepalive) return extensions ? { keepalive: undefined } : undefined;
  if (!extensions) {
    throw new TypeError("Cannot use keepalive: it sends pings, which extensions: false turns off");
  }
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
  /** Whether it is reading. If not, bytes from the peer may wait in the socket. */
  readonly reads: boolean;
  /** Ends the connection because of an error. */
  fail(cause: unknown): void;
}

/** Sends and answers the pings of one connection. */
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
   * @param settings When to send pings; `undefined` to send none.
   * @param deadlines The deadlines of its client or server.
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

  /** Starts to send pings. The first is sent at once, to find out whether the peer answers. */
  start(): void {
    if (!this.#settings || this.deadline !== Infinity || this.#host.closed) return;
    this.#heardAt = performance.now();
    this.#ping();
  }

  /** Bytes were received. */
  heard(): void {
    if (this.deadline !== Infinity) this.#heardAt = performance.now();
  }

  /** A ping or pong was received. */
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

  /** Reads once more first: bytes may have arrived while this process was suspended. */
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
