/**
 * One socket: its read loop, its write queue and its table of streams. Both roles stand on it.
 *
 * @module
 */

import type { ByteConnection } from "./address.ts";
import { Backlog } from "./backlog.ts";
import { FrameDecoder, type FrameSink } from "./framing.ts";
import type { Limits } from "./limits.ts";
import { Stall } from "./stall.ts";
import { Code, describe, type Status, statusOf } from "./status.ts";
import type { Stream, StreamHost } from "./stream.ts";
import { tell } from "./tell.ts";
import type { Timer, Timers } from "./timer.ts";
import { NO_BYTES } from "./writer.ts";
import { checkCount, WriteQueue } from "./write_queue.ts";

/** What makes a connection a client's or a server's. */
export interface Role extends FrameSink {
  /** Whether the peer may start calls. */
  readonly accepts: boolean;
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
  /** The calls in flight, by id. */
  readonly streams: Map<number, Call> = new Map();
  /** Whether something was sent for which nobody waits. It has to leave before more is read. */
  owesReplies = false;
  readonly #conn: ByteConnection;
  readonly #role: Role;
  readonly #timers: Timers;
  readonly #decoder: FrameDecoder;
  readonly #stall: Stall;
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
   * @param limits The bounds.
   * @param timers Those of the client or server.
   * @param role What to do with what comes.
   */
  constructor(
    conn: ByteConnection,
    name: string | undefined,
    limits: Readonly<Limits>,
    timers: Timers,
    role: Role,
  ) {
    this.#conn = conn;
    this.name = name;
    this.limits = limits;
    this.#timers = timers;
    this.#role = role;
    this.backlog = new Backlog(limits);
    this.#decoder = new FrameDecoder(limits.messageBytes);
    this.queue = new WriteQueue(conn, (cause) => this.#writeFailed(cause));
    this.#stall = new Stall(this, timers, role.accepts);
  }

  /** What to call it in messages. */
  get title(): string {
    return this.name === undefined ? "connection" : `connection to ${this.name}`;
  }

  /** Whether the connection has ended. */
  get closed(): boolean {
    return this.#closed;
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
    try {
      while (!this.#closed) {
        if (this.backlog.full) await this.#stall.pause();
        if (this.owesReplies) await this.#writable();
        this.owesReplies = false;
        const space = this.#space();
        const length = await this.#conn.read(space);
        if (this.#closed) break;
        if (length === null) {
          await this.#endOfInput();
          break;
        }
        checkCount("read", length, space.length);
        this.#bytesIn += length;
        this.backlog.keep();
        this.#decoder.push(length, this);
      }
    } catch (cause) {
      if (this.#finishing) this.close();
      else this.fail(cause);
    }
    this.#read.resolve();
    await this.#ended.promise; // what finishes may still have something to send
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

  /** Has those look again who wait until no call is in flight. */
  look(): void {
    this.#forgotten?.resolve();
    this.#forgotten = undefined;
  }

  forget(stream: Stream): void {
    this.streams.delete(stream.id);
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
    if (this.#closed || this.#finishing) return;
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

const ENDED: Status = { code: Code.CANCELLED, message: "the connection has ended" };
