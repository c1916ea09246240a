/**
 * One socket: its read loop, its write queue and its table of streams. Both roles stand on it.
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
  /** The bounds. */
  readonly limits: Readonly<Limits>;
  /** Its timers. */
  readonly timers: Timers;
  /** What all its connections hold. */
  readonly held: HeldBytes;
  /** Its calls' deadlines. */
  readonly deadlines: Deadlines;
  /** How to use the extension; `undefined` if it is not to be used. */
  readonly extension: ExtensionSettings | undefined;
}

/** What makes a connection a client's or a server's. */
export interface Role extends FrameSink, Admitting {
  /** Whether the peer may start calls. */
  readonly accepts: boolean;
  /** A call was given up, by a frame that is behind others which wait for room. */
  overtaken(streamId: number, data: Uint8Array): void;
  /**
   * The peer sends no more, and ended between two frames. The connection ends when this has
   * settled.
   *
   * @returns How the calls end that are still in flight then.
   */
  endOfInput(): Promise<Status>;
  /**
   * The connection has ended, and with it all its calls. Called once.
   *
   * @param failure Why, if it was lost.
   */
  ended(failure: Status | undefined): void;
}

/** How long the end of a connection waits for the peer to read the last bytes, in milliseconds. */
const LINGER_MS = 1_000;
/** Bytes that are read at once while more waits than should. */
const AHEAD_BYTES = 1 << 12;

/** A connection in either role. */
export class Connection<Call extends Stream = Stream> implements StreamHost {
  /** The address of the peer, for messages; `undefined` if the connection has none. */
  readonly name: string | undefined;
  readonly limits: Readonly<Limits>;
  readonly backlog: Backlog<Stream>;
  readonly queue: WriteQueue;
  /** What its calls hold. */
  readonly held: HeldBytes;
  /** The calls in flight, by id. */
  readonly streams: Map<number, Call> = new Map();
  /** Whether something was sent for which nobody waits. It has to leave before more is read. */
  owesReplies = false;
  /** Whether calls that are given up are cancelled. */
  readonly cancels: boolean;
  /** Since when no call is in flight, in milliseconds of `performance.now()`, if that matters. */
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
  readonly #read = Promise.withResolvers<void>(); // settles when nothing is read any more
  readonly #ended = Promise.withResolvers<void>();
  #closed = false;
  #finishing = false; // what still comes is dropped
  #inputEnded = false;
  #writeError: { readonly cause: unknown } | undefined;
  #watch: Timer | undefined;
  #forgotten: PromiseWithResolvers<void> | undefined;
  #bytesIn = 0;

  /**
   * @param conn The open connection. It belongs to this object from now on.
   * @param name The address, if there is one.
   * @param owner The client or server.
   * @param role What to do with what comes.
   */
  constructor(
    conn: ByteConnection,
    name: string | undefined,
    owner: ConnectionOwner,
    role: Role,
  ) {
    const { limits, timers, held, deadlines, extension } = owner;
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

  /** What to call it in messages. */
  get title(): string {
    return this.name === undefined ? "connection" : `connection to ${this.name}`;
  }

  /** Whether the connection has ended. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whether something has come that no call has taken: a part of a frame, or one without room. */
  get receiving(): boolean {
    return this.#decoder.partial || this.#admission.waiting;
  }

  /** The error of a write that failed, after which nothing can be sent. */
  get writeError(): { readonly cause: unknown } | undefined {
    return this.#writeError;
  }

  /** The peer's address, if known. */
  get remoteAddr(): Deno.Addr | undefined {
    return this.#conn.remoteAddr;
  }

  /** What the received messages that wait are taken to use in memory, in bytes. */
  get queuedBytes(): number {
    return this.backlog.bytes;
  }

  /** How many bytes were ever received. */
  get bytesIn(): number {
    return this.#bytesIn;
  }

  /** Whether it waits for the rest of a long frame, for which the server has made room. */
  get awaitsFrame(): boolean {
    return this.#admission.paid > 0 && this.#frameTimeout.waiting;
  }

  /** Whether it waits for the peer to send something. */
  get reads(): boolean {
    return this.#frameTimeout.waiting || this.#reads.reading;
  }

  /** How many bytes were ever sent. */
  get bytesOut(): number {
    return this.queue.total;
  }

  /** How many calls are in flight. */
  get calls(): number {
    return this.streams.size;
  }

  /** Lets the connection keep the process alive. */
  ref(): void {
    this.#conn.ref?.();
  }

  /** Lets the process end while the connection is open. */
  unref(): void {
    this.#conn.unref?.();
  }

  /** Reads until the connection ends, and settles when nothing of it is left. Never rejects. */
  async run(): Promise<void> {
    // A server sends nothing that nobody has asked for.
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
        const length = await this.#reads.read(space);
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
        const others = turnIfDue(performance.now());
        if (others) await others;
      }
    } catch (cause) {
      if (this.#finishing) this.close();
      else this.fail(cause);
    }
    this.#read.resolve();
    await this.#ended.promise; // what finishes may still have something to send
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
    this.backlog.keep(); // what waits may do so for long
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
   * Ends the connection because of an error. The calls in flight end with it.
   *
   * @param cause What was thrown, or what has happened.
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
   * Ends the connection, because one side is done with it.
   *
   * @param status How the calls end that are in flight.
   */
  close(status: Status = ENDED): void {
    this.#end(status, undefined);
  }

  #end(status: Status, failure: Status | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#frameTimeout.stop();
    this.#keepalive?.stop();
    this.#reads.drop();
    this.#admission.drop();
    tell(() => this.#conn.close()); // the peer, or its owner, may have been faster
    this.queue.close();
    for (const stream of [...this.streams.values()]) stream.end(status);
    this.backlog.release();
    this.#watch?.stop();
    this.look();
    this.#role.ended(failure);
    this.#ended.resolve();
  }

  /**
   * Ends the connection so that the peer gets all that was sent: sends what waits, half-closes, and
   * drops what still comes until the peer has closed, too. To close at once could take from the
   * peer what it has not read yet. No call may be in flight.
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
    // An answer to a call that was refused may still come meanwhile.
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
   * Settles when no call is in flight, or the connection has ended.
   *
   * @param but Calls that do not count. After one was added, {@linkcode Connection.look} is due.
   */
  async whenIdle(but: ReadonlySet<Stream> = NOBODY): Promise<void> {
    while (!this.#closed && this.streams.size > 0) {
      if (but.size > 0 && this.streams.values().every((stream) => but.has(stream))) return;
      this.#forgotten ??= Promise.withResolvers();
      await this.#forgotten.promise;
    }
  }

  /** When the frame that is being taken has come, if it was kept: milliseconds of `performance.now()`. */
  get arrival(): number | undefined {
    return this.#admission.arrival;
  }

  /** Hands out the frames that came with one that had to wait for room. */
  resume(): void {
    this.#decoder.resume(this);
  }

  /** Has what was kept until there is room look again whether there is. */
  readmit(): void {
    this.#admission.look();
  }

  /** Has those look again who wait until no call is in flight. */
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
   * Whether the peer is there to read; `undefined` if that cannot be told. Only a unix socket can
   * tell without sending.
   */
  async peerReads(): Promise<boolean | undefined> {
    if (this.#writeError) return false;
    if (this.#conn.remoteAddr?.transport !== "unix") return undefined;
    if (!this.queue.idle) return true; // the write under way will tell
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
    if (EXTENSION.has(type)) {
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

  /** Settles when what is owed has left, but for as much as may always wait; or never will. */
  #writable(): Promise<void> {
    if (this.#writeError) return Promise.resolve();
    return new Promise((resolve) => this.queue.whenWritable(resolve));
  }

  // What the peer has sent before it stopped reading is worth reading: there may be answers in it.
  #writeFailed(cause: unknown): void {
    this.#writeError = { cause };
    this.backlog.readToEnd();
    // A peer that is gone ends what can be read, too. One that only reads no more may not.
    let bytesIn = this.#bytesIn;
    this.#watch = this.#timers.repeat(LINGER_MS, () => {
      if (this.#bytesIn === bytesIn) this.fail(cause);
      bytesIn = this.#bytesIn;
    });
  }
}

const NOBODY: ReadonlySet<Stream> = new Set();

/** Frames that a peer ignores which does not use the extension. */
const EXTENSION: ReadonlySet<number> = new Set([FrameType.Ping, FrameType.Pong, FrameType.Cancel]);

const ENDED: Status = { code: Code.CANCELLED, message: "the connection has ended" };
