/**
 * A connection in either role: one socket, its read loop, its write queue and its table of streams.
 *
 * @module
 */

import type { ByteConnection } from "../transport.ts";
import { Admission, type Admitting } from "./admission.ts";
import { Backlog } from "./backlog.ts";
import type { Deadlines } from "../async/deadlines.ts";
import { FrameTimeout } from "./frame_timeout.ts";
import { FrameDecoder, type FrameSink, FrameType } from "../framing.ts";
import { HeldBytes } from "./held_bytes.ts";
import { type ExtensionSettings, Keepalive } from "./keepalive.ts";
import type { Limits } from "../limits.ts";
import { Stall } from "./stall.ts";
import { Code, describe, type Status, statusOf } from "../status.ts";
import type { Stream, StreamHost } from "./stream.ts";
import { tell } from "../async/tell.ts";
import { type Timer, type Timers, turnIfDue } from "../async/timer.ts";
import { ReadAhead } from "./read_ahead.ts";
import { NO_BYTES } from "../wire/writer.ts";
import { checkCount, WriteQueue } from "./write_queue.ts";

/** What a connection needs of its client or server. */
export interface ConnectionOwner {
  /** The limits. */
  readonly limits: Readonly<Limits>;
  /** The timers. */
  readonly timers: Timers;
  /** The memory that the calls of all connections hold. */
  readonly held: HeldBytes;
  /** The deadlines of calls. */
  readonly deadlines: Deadlines;
  /** The settings of the extension; `undefined` if it is off. */
  readonly extension: ExtensionSettings | undefined;
}

/** What a connection does as a client's or as a server's. */
export interface Role extends FrameSink, Admitting {
  /** Whether the peer may start calls. */
  readonly accepts: boolean;
  /** A Cancel frame was found behind frames that wait for room. */
  overtaken(streamId: number, data: Uint8Array): void;
  /**
   * The input has ended between two frames. The connection ends when the promise has resolved.
   *
   * @returns The status of the calls that are then still in flight.
   */
  endOfInput(): Promise<Status>;
  /**
   * The connection and all its calls have ended. Called once.
   *
   * @param failure The error, if the connection was lost.
   */
  ended(failure: Status | undefined): void;
}

/** How long the end of a connection waits for the peer to read the last bytes, in milliseconds. */
const LINGER_MS = 1_000;
/** The most bytes of one read while the connection reads ahead. */
const AHEAD_BYTES = 1 << 12;

/** The number of open connections in this process, in both roles. */
let connections = 0;

/** A connection in either role. */
export class Connection<Call extends Stream = Stream> implements StreamHost {
  /** The peer's address for error messages, if known. */
  readonly name: string | undefined;
  readonly limits: Readonly<Limits>;
  readonly backlog: Backlog<Stream>;
  readonly queue: WriteQueue;
  /** The memory that its calls hold. */
  readonly held: HeldBytes;
  /** The calls in flight, by id. */
  readonly streams: Map<number, Call> = new Map();
  /** Whether replies were queued without waiting for room: they are written before more is read. */
  owesReplies = false;
  /** Whether a Cancel frame is sent for calls that are cancelled. */
  readonly cancels: boolean;
  /** When the last call ended, in milliseconds of `performance.now()`, for the idle timeout. */
  idleSince: number;
  readonly #conn: ByteConnection;
  readonly #role: Role;
  readonly #timers: Timers;
  readonly #decoder: FrameDecoder;
  readonly #reads: ReadAhead;
  readonly #stall: Stall;
  readonly #admission: Admission;
  readonly #keepalive: Keepalive | undefined;
  readonly #frameTimeout: FrameTimeout;
  readonly #read = Promise.withResolvers<void>(); // resolves when reading has ended
  readonly #ended = Promise.withResolvers<void>();
  #closed = false;
  #finishing = false; // what still comes is dropped
  #inputEnded = false;
  #writeError: { readonly cause: unknown } | undefined;
  #watch: Timer | undefined;
  #forgotten: PromiseWithResolvers<void> | undefined;
  #bytesIn = 0;

  /**
   * @param conn The open connection, which this object owns from now on.
   * @param name The peer's address, if known.
   * @param owner The client or server.
   * @param role Handles received frames.
   */
  constructor(
    conn: ByteConnection,
    name: string | undefined,
    owner: ConnectionOwner,
    role: Role,
  ) {
    const { limits, timers, held, deadlines, extension } = owner;
    connections++;
    this.#conn = conn;
    this.name = name;
    this.limits = limits;
    this.idleSince = performance.now();
    this.#timers = timers;
    this.#role = role;
    const most = role.accepts ? limits.heldBytes : Infinity;
    this.held = new HeldBytes(most, held, limits.messageBytes);
    this.backlog = new Backlog(limits, this.held);
    this.#decoder = new FrameDecoder(limits.messageBytes);
    this.#reads = new ReadAhead(conn, this.#decoder, this.held, this);
    this.queue = new WriteQueue(conn, (cause) => this.#writeFailed(cause), this.held);
    this.#stall = new Stall(this, timers, role.accepts);
    this.#admission = new Admission(this, role, timers);
    this.cancels = extension !== undefined;
    this.#keepalive = extension && new Keepalive(this, extension.keepalive, deadlines);
    const { frameTimeoutMs } = limits;
    this.#frameTimeout = new FrameTimeout(frameTimeoutMs, this.#decoder, timers, () => {
      this.fail(
        `the peer has not finished a frame in ${frameTimeoutMs} ms, which is the most that ` +
          `limits.frameTimeoutMs allows`,
      );
    });
  }

  /** The name of the connection in error messages. */
  get title(): string {
    return this.name === undefined ? "connection" : `connection to ${this.name}`;
  }

  /** Whether the connection has ended. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether a frame is received in part, or waits for room. */
  get receiving(): boolean {
    return this.#decoder.partial || this.#admission.waiting;
  }

  /** The error of the write that failed, if one did. After that, nothing can be sent. */
  get writeError(): { readonly cause: unknown } | undefined {
    return this.#writeError;
  }

  /** The peer's address, if known. */
  get remoteAddr(): Deno.Addr | undefined {
    return this.#conn.remoteAddr;
  }

  /** Estimated bytes of memory of received messages that wait to be taken. */
  get queuedBytes(): number {
    return this.backlog.bytes;
  }

  /** Bytes received so far. */
  get bytesIn(): number {
    return this.#bytesIn;
  }

  /** Whether it waits for the rest of a long frame, for which memory is reserved. */
  get awaitsFrame(): boolean {
    return this.#admission.paid > 0 && this.#frameTimeout.waiting;
  }

  /** Whether it is reading, and waits for bytes from the peer. */
  get reads(): boolean {
    return this.#frameTimeout.waiting || this.#reads.reading;
  }

  /** Bytes sent so far, including those that wait for the socket. */
  get bytesOut(): number {
    return this.queue.total;
  }

  /** The number of calls in flight. */
  get calls(): number {
    return this.streams.size;
  }

  /** Makes the connection keep the process alive, as it does by default. */
  ref(): void {
    this.#conn.ref?.();
  }

  /** Lets the process exit while the connection is open. */
  unref(): void {
    this.#conn.unref?.();
  }

  /** Reads until the connection ends. Resolves when its resources are released. Never rejects. */
  async run(): Promise<void> {
    // A server sends pings only to a client that has used the extension itself.
    if (!this.#role.accepts) this.#keepalive?.start();
    try {
      while (!this.#closed) {
        if (this.#admission.waiting) await this.#admission.release();
        const { longFrame } = this.#decoder;
        if (longFrame > 0) await this.#admission.payFor(longFrame);
        if (this.backlog.full) await this.#pause();
        if (this.owesReplies && this.queue.congested) await this.during(this.#writable());
        this.owesReplies = false;
        if (this.#closed) break;
        const space = this.#space();
        this.#frameTimeout.waiting = true;
        const reads = this.#reads.ahead ? this.#reads : this.#conn;
        const length = await reads.read(space);
        this.#frameTimeout.waiting = false;
        if (this.#closed) break;
        this.#role.turned();
        if (length === null) {
          await this.#endOfInput();
          break;
        }
        checkCount("read", length, space.length);
        this.#bytesIn += length;
        this.#keepalive?.heard();
        this.backlog.keep();
        this.#decoder.push(length, this);
        if (!this.#closed) this.#frameTimeout.watch();
        // With a single connection there is nobody to wait for.
        const others = connections > 1 ? turnIfDue(performance.now()) : undefined;
        if (others) await others;
      }
    } catch (cause) {
      if (this.#finishing) this.close();
      else this.fail(cause);
    }
    this.#read.resolve();
    await this.#ended.promise; // `finish()` may still be sending
  }

  /** Reads a little further while something is waited for. */
  during(wait: Promise<void>): Promise<void> {
    return this.cancels ? this.#reads.during(wait) : wait;
  }

  heard(): void {
    this.#keepalive?.heard();
  }

  cancelled(streamId: number, data: Uint8Array): void {
    this.#role.overtaken(streamId, data);
    this.readmit();
  }

  /** The connection is not read for long: a peer that has asked is told that this side is there. */
  stillHere(): void {
    this.#keepalive?.stillHere();
  }

  async #pause(): Promise<void> {
    this.backlog.keep(); // messages may wait for long
    await this.#stall.pause();
  }

  async #endOfInput(): Promise<void> {
    this.#inputEnded = true;
    if (this.#finishing) return; // what waits to be sent is sent first
    if (this.#decoder.partial) return this.fail("the peer closed it inside a frame");
    const status = await this.#role.endOfInput();
    if (this.streams.size > 0 && this.#writeError) this.fail(this.#writeError.cause);
    else this.close(status);
  }

  /**
   * Ends the connection because of an error. Calls in flight end with that error.
   *
   * @param cause The error that was thrown, or a description.
   */
  fail(cause: unknown): void {
    if (this.#closed) return;
    if (this.#writeError) cause = this.#writeError.cause;
    const calls = this.streams.size;
    const inFlight = calls === 0
      ? ""
      : ` with ${calls} ${calls === 1 ? "call" : "calls"} in flight`;
    const { code } = statusOf(cause);
    const status: Status = {
      code: code === Code.UNKNOWN ? Code.UNAVAILABLE : code,
      message: `${this.title} lost${inFlight}: ${describe(cause)}`,
      cause: cause instanceof Error ? cause : undefined,
    };
    this.#end(status, status);
  }

  /**
   * Ends the connection because one side has closed it.
   *
   * @param status The status of calls in flight.
   */
  close(status: Status = ENDED): void {
    this.#end(status, undefined);
  }

  #end(status: Status, failure: Status | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    connections--;
    this.#frameTimeout.stop();
    this.#keepalive?.stop();
    this.#reads.drop();
    this.#admission.drop();
    tell(() => this.#conn.close()); // may throw, because it is closed already
    this.queue.close();
    for (const stream of [...this.streams.values()]) stream.end(status);
    this.backlog.release();
    this.#watch?.stop();
    this.look();
    this.#role.ended(failure);
    this.#ended.resolve();
  }

  /**
   * Ends the connection so that the peer receives everything that was sent: writes what is queued,
   * half-closes, and drops what still arrives until the peer has closed, too. If it closed at once,
   * the peer could lose bytes that it has not read yet. No call may be in flight.
   *
   * @param flushMs How long to wait for the write queue, in milliseconds.
   * @param lingerMs How long to wait for the peer after that, in milliseconds.
   */
  async finish(flushMs = Infinity, lingerMs = LINGER_MS): Promise<void> {
    this.#finishing = true;
    this.readmit();
    this.backlog.readToEnd();
    let late = false;
    const { promise: overdue, resolve } = Promise.withResolvers<void>();
    const timer = this.#timers.start(flushMs, () => {
      late = true;
      resolve();
    });
    // The answer to a refused call may still be queued during this.
    while (!this.queue.idle && !this.queue.over && !late) {
      await Promise.race([this.queue.flushed(), overdue]);
    }
    timer.stop();
    const { closeWrite } = this.#conn;
    if (this.queue.idle && !this.queue.over && !this.#inputEnded && closeWrite) {
      try {
        await closeWrite.call(this.#conn);
        await this.#timers.settled(this.#read.promise, lingerMs);
      } catch {
        // The peer has gone.
      }
    }
    this.close();
  }

  /**
   * Resolves when no call is in flight, or the connection has ended.
   *
   * @param but Calls that do not count. Call {@linkcode Connection.look} after adding one.
   */
  async whenIdle(but: ReadonlySet<Stream> = NOBODY): Promise<void> {
    while (!this.#closed && this.streams.size > 0) {
      if (but.size > 0 && this.streams.values().every((stream) => but.has(stream))) return;
      this.#forgotten ??= Promise.withResolvers();
      await this.#forgotten.promise;
    }
  }

  /**
   * When the frame being handled was received, in milliseconds of `performance.now()`, if it had to
   * wait for room; else `undefined`.
   */
  get arrival(): number | undefined {
    return this.#admission.arrival;
  }

  /** Handles the frames behind one that had to wait for room. */
  resume(): void {
    this.#decoder.resume(this);
  }

  /** Checks again whether there is room for the frame that waits. */
  readmit(): void {
    this.#admission.look();
  }

  /** Lets {@linkcode Connection.whenIdle} check again. */
  look(): void {
    this.#forgotten?.resolve();
    this.#forgotten = undefined;
  }

  forget(stream: Stream): void {
    this.streams.delete(stream.id);
    if (this.limits.idleTimeoutMs > 0) this.idleSince = performance.now();
    this.look();
  }

  /**
   * Whether the peer is connected, and reads; `undefined` if that is not known. Only a unix socket
   * shows it without sending anything.
   */
  async peerReads(): Promise<boolean | undefined> {
    if (this.#writeError) return false;
    if (this.#conn.remoteAddr?.transport !== "unix") return undefined;
    if (!this.queue.idle) return true; // the pending write fails if it is not
    try {
      await this.#conn.write(NO_BYTES);
      return true;
    } catch {
      return false;
    }
  }

  frame(streamId: number, type: number, flags: number, data: Uint8Array): void {
    if (!this.#admission.admits(streamId, type, data)) {
      this.#admission.keep(streamId, type, data, () => this.#take(streamId, type, flags, data));
      return this.#decoder.stop();
    }
    this.#admission.taken();
    this.#take(streamId, type, flags, data);
  }

  #take(streamId: number, type: number, flags: number, data: Uint8Array): void {
    if (this.#closed || this.#finishing) return;
    if (type > FrameType.Data && EXTENSION.has(type)) {
      if (!this.#keepalive) return;
      this.#keepalive.start();
      if (type !== FrameType.Cancel) {
        if (streamId === 0) this.#keepalive.frame(type, data);
        return;
      }
    }
    this.#stall.frame(streamId);
    this.#role.frame(streamId, type, flags, data);
  }

  oversized(streamId: number, type: number, flags: number, length: number): void {
    if (this.#closed || this.#finishing) return;
    this.#role.oversized(streamId, type, flags, length);
  }

  #space(): Uint8Array<ArrayBuffer> {
    const space = this.#decoder.space();
    return this.backlog.readsAhead ? space.subarray(0, AHEAD_BYTES) : space;
  }

  /** Resolves when the write queue has room, or nothing more is written. */
  #writable(): Promise<void> {
    if (this.#writeError) return Promise.resolve();
    return new Promise((resolve) => this.queue.whenWritable(resolve));
  }

  // Reading goes on: what the peer sent before it stopped reading may contain answers.
  #writeFailed(cause: unknown): void {
    this.#writeError = { cause };
    this.backlog.readToEnd();
    // If the peer is gone, the input ends, too. If it only stopped reading, it may not.
    let bytesIn = this.#bytesIn;
    this.#watch = this.#timers.repeat(LINGER_MS, () => {
      if (this.#bytesIn === bytesIn) this.fail(cause);
      bytesIn = this.#bytesIn;
    });
  }
}

const NOBODY: ReadonlySet<Stream> = new Set();

/** The frame types of the extension. */
const EXTENSION: ReadonlySet<number> = new Set([FrameType.Ping, FrameType.Pong, FrameType.Cancel]);

const ENDED: Status = { code: Code.CANCELLED, message: "the connection has ended" };
