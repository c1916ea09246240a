/**
 * One socket: its read loop, its write queue and its table of streams. Both roles stand on it.
 *
 * @module
 */

import type { ByteConnection } from "./address.ts";
import { Backlog, type BacklogOwner } from "./backlog.ts";
import {
  type EncodableRequest,
  requestLength,
  type Response,
  responseLength,
  writeRequest,
  writeResponse,
} from "./envelope.ts";
import {
  FrameDecoder,
  FrameFlag,
  type FrameSink,
  FrameType,
  HEADER_LENGTH,
  oversizedError,
  writeHeader,
} from "./framing.ts";
import type { Limits } from "./limits.ts";
import { checkCount, Output } from "./output.ts";
import { Code, describe, RpcError, type Status } from "./status.ts";
import { type Outcome, outcomeOf, type Stream, type StreamHost } from "./stream.ts";
import { tell } from "./tell.ts";
import { NO_BYTES } from "./writer.ts";

/** A connection in either role. */
export abstract class Connection<Call extends Stream>
  implements FrameSink, StreamHost, BacklogOwner {
  /** The address, for messages. */
  readonly name: string;
  /** The bounds. */
  readonly limits: Readonly<Limits>;
  /** The calls in flight, by id. */
  protected readonly streams: Map<number, Call> = new Map();
  /** Whether something was sent for which nobody waits. It has to leave before more is read. */
  protected owesReplies = false;
  /** The write queue. */
  protected readonly output: Output;
  readonly #conn: ByteConnection;
  readonly #decoder: FrameDecoder;
  #closed = false;
  #over = false;
  readonly #backlog: Backlog;
  #idle: PromiseWithResolvers<void> | undefined;
  #bytesIn = 0;

  /**
   * @param conn The open connection. It belongs to this object from now on.
   * @param name The address.
   * @param limits The bounds.
   */
  constructor(conn: ByteConnection, name: string, limits: Readonly<Limits>) {
    this.#conn = conn;
    this.name = name;
    this.limits = limits;
    this.#backlog = new Backlog(limits, this);
    this.#decoder = new FrameDecoder(limits.messageBytes);
    this.output = new Output(conn, (cause) => this.fail(cause));
  }

  /** Whether the connection has ended. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Whose end the other one is, if the connection knows. */
  get remoteAddr(): Deno.Addr | undefined {
    return this.#conn.remoteAddr;
  }

  /** How much the messages that wait on all streams are taken to use in memory. */
  get queuedBytes(): number {
    return this.#backlog.bytes;
  }

  /** How many bytes were ever received. */
  get bytesIn(): number {
    return this.#bytesIn;
  }

  /** How many bytes were ever sent. */
  get bytesOut(): number {
    return this.output.total;
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

  /** A Request has come. */
  protected abstract request(streamId: number, flags: number, data: Uint8Array): void;

  /** A Data frame has come that no stream takes. `stream` is the one it names, if that is open. */
  protected abstract strayData(streamId: number, stream: Call | undefined): void;

  /** A Response has come. */
  protected abstract response(stream: Call, data: Uint8Array): void;

  /** The peer has sent its last Data frame on a stream. */
  protected abstract remoteClosed(stream: Call): void;

  /** A frame over the limit has come. */
  abstract oversized(streamId: number, type: number, flags: number, length: number): void;

  /** The peer sends no more, and ended between two frames. The connection ends after this. */
  protected abstract endOfInput(): Promise<void>;

  /** The connection has ended. Called once; all streams have ended by then. */
  protected abstract ended(error: RpcError | undefined): void;

  /** Whether nothing of it is left: it has ended, and the last read has returned. */
  get over(): boolean {
    return this.#over;
  }

  /** Reads until the connection ends. Never rejects. */
  async run(): Promise<void> {
    await this.#read();
    this.#over = true;
  }

  async #read(): Promise<void> {
    try {
      while (!this.#closed) {
        if (this.#backlog.full) await this.#backlog.room();
        if (this.owesReplies) await this.#writable();
        this.owesReplies = false;
        const length = await this.#conn.read(this.#decoder.space());
        if (this.#closed) return;
        checkCount("read", length);
        if (length === null) {
          if (this.#decoder.partial) this.fail("the peer closed it inside a frame");
          else await this.endOfInput();
          this.close();
          return;
        }
        this.#bytesIn += length;
        this.#backlog.keep();
        this.#decoder.push(length, this);
      }
    } catch (cause) {
      this.fail(cause);
    }
  }

  /**
   * Ends the connection because of an error, which goes to {@linkcode Connection.ended}.
   *
   * @param cause What was thrown, or what has happened.
   */
  fail(cause: unknown): void {
    if (this.#closed) return;
    const calls = this.streams.size;
    const inFlight = calls === 0
      ? ""
      : ` with ${calls} ${calls === 1 ? "call" : "calls"} in flight`;
    const { code, message } = cause instanceof Error
      ? outcomeOf(cause)
      : { code: Code.UNAVAILABLE, message: describe(cause) };
    this.close(
      new RpcError(
        code === Code.UNKNOWN ? Code.UNAVAILABLE : code,
        `connection to ${this.name} lost${inFlight}: ${message}`,
        { cause: cause instanceof Error ? cause : undefined },
      ),
    );
  }

  /**
   * Ends the connection, and with it its calls.
   *
   * @param error Why, if not because one side is done with it.
   */
  close(error?: RpcError): void {
    if (this.#closed) return;
    const outcome = error ? outcomeOf(error) : this.closedOutcome();
    this.#closed = true;
    tell(() => this.#conn.close()); // the peer, or its owner, may have been faster
    this.output.close();
    for (const stream of [...this.streams.values()]) stream.end(outcome);
    this.#backlog.release();
    this.#idle?.resolve();
    this.ended(error);
  }

  /** How calls end that are in flight when the connection is closed without an error. */
  protected abstract closedOutcome(): Outcome;

  /** Settles when no call is in flight, or the connection has ended. */
  whenIdle(): Promise<void> {
    if (this.streams.size === 0 || this.#closed) return Promise.resolve();
    this.#idle ??= Promise.withResolvers();
    return this.#idle.promise;
  }

  /** Settles when all that was sent has reached the socket, or the connection has ended. */
  flushed(): Promise<void> {
    return this.output.flushed();
  }

  /** Whether the peer takes what is written. Only a unix socket can tell without sending. */
  protected async peerReads(): Promise<boolean> {
    if (this.#conn.remoteAddr?.transport !== "unix") return false;
    if (!this.output.idle) return true; // the write under way will tell
    try {
      await this.#conn.write(NO_BYTES);
      return true;
    } catch {
      return false;
    }
  }

  // The receiving side

  frame(streamId: number, type: number, flags: number, data: Uint8Array): void {
    if (this.#closed) return;
    if (type === FrameType.Request) {
      this.request(streamId, flags, data);
      return;
    }
    const stream = this.streams.get(streamId);
    if (type === FrameType.Response) {
      if (stream) this.response(stream, data);
    } else if (type === FrameType.Data) {
      if (!stream?.streamsIn || stream.remoteClosed) {
        this.strayData(streamId, stream);
        return;
      }
      const noData = (flags & FrameFlag.NoData) !== 0;
      const closes = (flags & FrameFlag.RemoteClosed) !== 0;
      if (!noData) stream.push(data);
      if (closes) this.remoteClosed(stream);
    }
  }

  queued(stream: Stream, bytes: number): void {
    this.#backlog.change(stream, bytes);
  }

  /** Whether calls suffer while the connection does not read because of these streams. */
  abstract holdsUp(idle: readonly Stream[]): boolean;

  /** Ends a stream that holds up others, and drops what waits on it. */
  abstract drop(stream: Stream): void;

  // The sending side

  async #writable(): Promise<void> {
    await new Promise<void>((resolve) => this.output.whenWritable(resolve));
  }

  whenWritable(callback: () => void): void {
    this.output.whenWritable(callback);
  }

  cancelWritable(callback: () => void): void {
    this.output.cancelWritable(callback);
  }

  forget(stream: Stream): void {
    if (!this.streams.delete(stream.id) || this.streams.size > 0) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  /** Whether a sender has to wait for {@linkcode Stream.writable} first. */
  get congested(): boolean {
    return this.output.congested;
  }

  /** Throws if a message of this length may not be sent. */
  #checkLength(length: number): void {
    if (length > this.limits.messageBytes) throw oversizedError(length, this.limits.messageBytes);
  }

  /**
   * Sends a Request.
   *
   * @throws {RpcError} With `RESOURCE_EXHAUSTED` if it is too long. Nothing is sent then.
   */
  protected sendRequest(streamId: number, flags: number, request: EncodableRequest): void {
    const length = requestLength(request);
    this.#checkLength(length);
    writeHeader(this.output.writer, streamId, FrameType.Request, flags, length);
    writeRequest(this.output.writer, request);
    this.output.send(HEADER_LENGTH + length);
  }

  /**
   * Sends a Response.
   *
   * @throws {RpcError} With `RESOURCE_EXHAUSTED` if it is too long. Nothing is sent then.
   */
  protected sendResponse(streamId: number, response: Response): void {
    const length = responseLength(response);
    this.#checkLength(length);
    this.#sendResponse(streamId, response, length);
  }

  #sendResponse(streamId: number, response: Response, length: number): void {
    writeHeader(this.output.writer, streamId, FrameType.Response, 0, length);
    writeResponse(this.output.writer, response);
    this.output.send(HEADER_LENGTH + length);
  }

  /** Sends a status, in short if it is too long. There is no limit that keeps it from being sent. */
  protected sendStatus(streamId: number, status: Status): void {
    let response: Response = { status, payload: NO_BYTES };
    if (responseLength(response) > this.limits.messageBytes) {
      const message = `${status.message.slice(0, 200)}... (shortened)`;
      response = { status: { code: status.code, message, details: [] }, payload: NO_BYTES };
    }
    this.#sendResponse(streamId, response, responseLength(response));
  }

  /**
   * Sends a message on a stream.
   *
   * @throws {RpcError} With `RESOURCE_EXHAUSTED` if it is too long. Nothing is sent then.
   */
  sendData(stream: Stream, message: Uint8Array): void {
    this.#checkLength(message.length);
    writeHeader(this.output.writer, stream.id, FrameType.Data, 0, message.length);
    this.output.writer.bytes(message);
    this.output.send(HEADER_LENGTH + message.length, true);
  }

  /** Tells the peer that no more messages come on a stream. */
  sendClose(stream: Stream): void {
    stream.localClosed = true;
    if (this.#closed) return;
    writeHeader(
      this.output.writer,
      stream.id,
      FrameType.Data,
      FrameFlag.RemoteClosed | FrameFlag.NoData,
      0,
    );
    this.output.send(HEADER_LENGTH);
  }
}
