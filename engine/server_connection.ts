/**
 * A connection in the server's role: receives requests, runs handlers, and sends responses.
 *
 * @module
 */

import type { ByteConnection } from "../transport.ts";
import { Connection, type ConnectionOwner, type Role } from "./connection.ts";
import {
  decodeRequest,
  decodeResponse,
  type Request,
  type Response,
  responseLength,
  writeResponse,
} from "../wire/envelope.ts";
import {
  checkLength,
  FrameFlag,
  FrameType,
  HEADER_LENGTH,
  oversizedError,
  writeHeader,
} from "../framing.ts";
import { Expectation, ExpectedReplies } from "./expected_replies.ts";
import { decodeMessage, encodeMessage, ReceivedMessages, sendMessages } from "./messages.ts";
import type { Metadata } from "../metadata.ts";
import type { Method } from "./method.ts";
import { type Handler, type Router, unknownMethod } from "./router.ts";
import { type CallHost, DEADLINE_PASSED, ServerCall, type ServerKeeper } from "./server_call.ts";
import type { ConnectionInfo, Messages } from "../service.ts";
import { Code, OK, RpcError, type Status, statusError, statusOf } from "../status.ts";
import { isPromiseLike } from "../async/tell.ts";
import type { Timer } from "../async/timer.ts";
import { NO_BYTES } from "../wire/writer.ts";

/** What a connection needs of its server. */
export interface ServerHost extends ServerKeeper, ConnectionOwner {
  /** Finds handlers. */
  readonly router: Router;
  /** The number of running handlers on all connections. */
  running: number;
  /** How many interceptors work on refused calls, likewise. */
  telling: number;
  /** A connection has ended. */
  disconnected(connection: ServerConnection): void;
}

/** Bytes of memory that a pair of metadata takes in addition to its text. */
const PAIR_BYTES = 100;
/** The interval at which a half-closed client is tested for being connected, in milliseconds. */
const PROBE_MS = 1_000;
/** How long a forced shutdown waits for clients to read the last statuses, in milliseconds. */
const LAST_WORDS_MS = 250;

/** The connection of one client. */
export class ServerConnection implements Role, CallHost {
  /** The connection. */
  readonly connection: Connection<ServerCall>;
  readonly accepts = true;
  readonly info: ConnectionInfo;
  readonly server: ServerHost;
  /** Calls that are refused, and that interceptors are being told of. */
  readonly #refused = new Map<number, ServerCall>();
  #telling = 0; // how many of these interceptors work on, also when they are over
  /** Settle when these have ended. */
  readonly #refusing = new Set<Promise<void>>();
  readonly #expected: ExpectedReplies;
  readonly #replies: Expectation; // of all its unary calls
  #idle: Timer | undefined;
  #running = 0; // handlers, including those of calls that are over
  #lastId = 0;
  #cancelledId: number | undefined; // of the last Cancel frame, which a half-close may follow
  /** The statuses of calls whose Cancel frame was read ahead, until that frame is handled. */
  readonly #overtaken = new Map<number, Status>();
  #unnamed = 0; // refused calls whose id is that of another call, too
  #draining = false;

  /**
   * @param conn The open connection.
   * @param name The address of the server, if known.
   * @param server The server.
   */
  constructor(conn: ByteConnection, name: string | undefined, server: ServerHost) {
    this.connection = new Connection(conn, name, server, this);
    this.server = server;
    this.#expected = new ExpectedReplies(this.connection, server.timers);
    this.#replies = new Expectation(server.limits.messageBytes);
    this.info = { remoteAddr: conn.remoteAddr, values: new Map() };
    this.#watchIdle(server.limits.idleTimeoutMs || Infinity);
  }

  /** Fails new calls with `UNAVAILABLE`, and ends when those in flight have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    this.connection.readmit();
    const refusing = [...this.#refusing];
    await this.connection.whenIdle();
    await Promise.all(refusing);
    await this.connection.finish();
  }

  /** Ends all calls with `UNAVAILABLE`, and then the connection. */
  async force(): Promise<void> {
    this.#draining = true;
    this.connection.readmit();
    const calls = [...this.connection.streams.values(), ...this.#refused.values()];
    for (const call of calls) this.failCall(call, SHUTTING_DOWN);
    await this.connection.finish(LAST_WORDS_MS);
  }

  admits(streamId: number, type: number, data: Uint8Array, paidFor: boolean): boolean {
    if (type !== FrameType.Request || this.#draining || this.#overtaken.has(streamId)) return true;
    const { held } = this.connection;
    return paidFor ? held.hasRoom : held.mayBegin(() => data.length + this.#likely(data));
  }

  /** The likely length of the reply to a Request, in bytes. */
  #likely(data: Uint8Array): number {
    try {
      const { service, method } = decodeRequest(data);
      const route = this.server.router.find(service, method);
      if (typeof route === "string" || !route.replies.known) return 0;
      // Other clients may request longer replies than this one.
      const { known, bytes } = this.#replies;
      return known ? Math.min(bytes, route.replies.bytes) : route.replies.bytes;
    } catch {
      return 0; // it will be refused
    }
  }

  get begins(): boolean {
    return this.#expected.soon;
  }

  turned(): void {
    this.#expected.turned();
  }

  frame(streamId: number, type: number, flags: number, data: Uint8Array): void {
    if (type === FrameType.Request) this.#request(streamId, flags, data);
    else if (type === FrameType.Data) this.#data(streamId, flags, data);
    else if (type === FrameType.Cancel) {
      this.#overtaken.delete(streamId);
      this.#cancelledId = streamId;
      this.#cancel(streamId, data);
    } // A client sends no Responses.
  }

  overtaken(streamId: number, data: Uint8Array): void {
    this.#overtaken.set(streamId, this.#cancel(streamId, data));
  }

  /** The client has cancelled a call. Nothing more is sent on its stream. */
  #cancel(streamId: number, data: Uint8Array): Status {
    const status = cancelStatus(data);
    const call = this.connection.streams.get(streamId) ?? this.#refused.get(streamId);
    call?.abandon(status);
    return status;
  }

  #request(streamId: number, flags: number, data: Uint8Array): void {
    if (streamId % 2 !== 1) return this.#refuse(streamId, invalid(EVEN_ID));
    if (streamId <= this.#lastId) return this.#refuse(streamId, invalid(USED_ID));
    this.#lastId = streamId;
    let request: Request;
    try {
      request = decodeRequest(data);
    } catch (error) {
      const { code, message } = statusOf(error);
      const status = code === Code.RESOURCE_EXHAUSTED
        ? { code, message: `the request has ${message}` }
        : invalid(`unmarshal request error: ${message}`);
      return this.#refuse(streamId, status);
    }
    const route = this.server.router.find(request.service, request.method);
    const method = typeof route === "string" ? undefined : route.method;
    const overtaken = this.#overtaken.get(streamId);
    if (overtaken) return this.#refuse(streamId, overtaken, request, method);
    if (this.#draining) return this.#refuse(streamId, SHUTTING_DOWN, request, method);
    const full = this.#full();
    if (full !== undefined) return this.#refuse(streamId, full, request, method);
    if (typeof route === "string") {
      return this.#refuse(streamId, { code: Code.UNIMPLEMENTED, message: route }, request);
    }
    const { metadata, payload, timeoutNano } = request;
    const deadline = deadlineOf(request, this.connection);
    const late = this.connection.arrival !== undefined && deadline <= performance.now();
    if (timeoutNano < 0n || late) {
      return this.#refuse(streamId, DEADLINE_PASSED, request, method);
    }
    const call = new ServerCall(route.method, { metadata, deadline }, this);
    call.attach(this.connection);
    call.open(streamId);
    call.replies = route.replies;
    this.connection.streams.set(streamId, call);
    const { clientStreaming } = route.method;
    if (clientStreaming && payload.length > 0) call.push(payload);
    if (!clientStreaming || (flags & FrameFlag.RemoteClosed) !== 0) call.closeRemote();
    this.#running++;
    this.server.running++;
    void this.#run(call, route.handler, clientStreaming ? undefined : payload);
    if (!call.status) this.#hold(call, request);
  }

  /** A handler waits for something: until it settles, its request and its expected reply count. */
  #hold(call: ServerCall, { payload, metadata }: Request): void {
    const bytes = call.method.clientStreaming ? 0 : Math.max(payload.length, call.decodedBytes);
    call.heldBytes = bytes + metadataBytes(metadata);
    this.connection.held.change(call.heldBytes);
    this.#expected.begin(call);
  }

  /** The status of a further call, if as many handlers run as the limits allow. */
  #full(): Status | undefined {
    const { limits, running } = this.server;
    const connection = this.#running >= limits.concurrentCalls;
    if (!connection && running < limits.serverCalls) return undefined;
    const message = connection
      ? `the connection has ${limits.concurrentCalls} calls in flight, which is the most that ` +
        `limits.concurrentCalls allows`
      : `the server has ${limits.serverCalls} calls in flight, which is the most that ` +
        `limits.serverCalls allows`;
    return { code: Code.RESOURCE_EXHAUSTED, message };
  }

  /**
   * Runs a handler, or the interceptors of a refused call. Never rejects: an error becomes the
   * call's status.
   */
  async #run(
    call: ServerCall,
    handler: Handler | undefined,
    payload: Uint8Array | undefined,
  ): Promise<void> {
    const { method } = call;
    if (this.server.router.refusals) call.sizes = { sent: 0, received: 0 };
    try {
      const request = this.#decode(call, payload);
      payload = undefined; // may be large, and the handler may take long
      const given = call.refusal ? this.#tell(call) : handler!(request, call);
      let result = isPromiseLike(given) ? await given : given;
      if (method.serverStreaming) {
        await sendMessages(call, method.output, result as Messages<unknown>);
        if (call.status) return;
        call.halfClose();
        this.connection.owesReplies = true; // a stream without messages has not waited for room
      } else {
        if (call.status) return;
        const bytes = encodeMessage(method.output, result, method.path);
        result = undefined; // may be large, and the encoded reply may wait for long
        call.replies?.learn(bytes.length);
        this.#replies.learn(bytes.length);
        call.replies = undefined;
        this.#expected.answered(call);
        if (call.congested) await call.room(bytes.length);
        if (call.status) return;
        if (call.sizes) call.sizes.sent += bytes.length;
        this.#sendResponse(call.id, { status: undefined, payload: bytes });
      }
      call.abandon(OK);
    } catch (error) {
      if (!(error instanceof RpcError)) this.server.report(error, method.path);
      call.replies?.learn(0); // an error is a short reply
      this.failCall(call, statusOf(error));
    } finally {
      // A handler counts until it has settled, even if its call is over before that.
      const handled = handler !== undefined;
      if (call.work && call.status !== OK) this.#settleAfter(call.work, call, handled);
      else this.#settled(call, handled);
    }
  }

  #settleAfter(work: PromiseLike<unknown>, call: ServerCall, handled: boolean): void {
    const settled = () => this.#settled(call, handled);
    work.then(settled, settled);
  }

  /** A handler, or the interceptors of a refused call, have settled: they need nothing any more. */
  #settled(call: ServerCall, handled: boolean): void {
    if (handled) {
      this.#running--;
      this.server.running--;
    } else {
      this.#telling--;
      this.server.telling--;
    }
    if (call.status !== OK) call.ignore();
    if (call.heldBytes > 0) this.connection.held.change(-call.heldBytes);
    call.heldBytes = 0;
    this.#expected.answered(call);
  }

  /** Checks after this time, in milliseconds, whether the idle timeout has passed. */
  #watchIdle(ms: number): void {
    const { limits: { idleTimeoutMs }, timers } = this.server;
    this.#idle = timers.start(ms, () => {
      if (this.#draining) return;
      const { calls, receiving, idleSince } = this.connection;
      const busy = calls + this.#refused.size > 0 || receiving;
      const left = busy ? idleTimeoutMs : idleSince + idleTimeoutMs - performance.now();
      if (left > 0) this.#watchIdle(left);
      else void this.drain();
    });
  }

  /** Decodes a call's message, or returns its stream. If decoding fails, the call is refused. */
  #decode(call: ServerCall, payload: Uint8Array | undefined): unknown {
    if (call.refusal) return undefined;
    const { input } = call.method;
    if (!payload) return new ReceivedMessages(call, input);
    try {
      return decodeMessage(call, input, payload);
    } catch (error) {
      call.refusal = statusOf(error);
      return undefined;
    }
  }

  /** Runs the interceptors of a refused call, which decide how it ends. */
  #tell(call: ServerCall): unknown {
    const { refusals } = this.server.router;
    if (!refusals) throw statusError(call.refusal!, call.method.path);
    return refusals(call.method.clientStreaming ? [] : undefined, call);
  }

  /** Answers a Request for which no handler is run. */
  #refuse(streamId: number, refusal: Status, request?: Request, method?: Method): void {
    const { router, limits, tally } = this.server;
    const { concurrentCalls, serverCalls } = limits;
    const busy = this.#telling >= concurrentCalls || this.server.telling >= serverCalls;
    if (!router.refusals || busy) {
      tally.start();
      tally.end(refusal.code);
      return this.#sendStatus(streamId, refusal);
    }
    const call = new ServerCall(
      method ?? unknownMethod(request?.service ?? "", request?.method ?? ""),
      {
        metadata: request?.metadata,
        deadline: deadlineOf(request, this.connection),
        refusal,
      },
      this,
    );
    const taken = this.connection.streams.has(streamId) || this.#refused.has(streamId);
    const key = taken ? --this.#unnamed : streamId;
    const { queue, backlog, held } = this.connection;
    const over = Promise.withResolvers<void>();
    call.heldBytes = metadataBytes(request?.metadata);
    held.change(call.heldBytes);
    const forget = () => {
      this.#refused.delete(key);
      this.#refusing.delete(over.promise);
      over.resolve();
    };
    this.#refusing.add(over.promise);
    call.attach({ limits, cancels: false, queue, backlog, held, forget });
    call.open(streamId);
    this.#refused.set(key, call);
    this.#telling++;
    this.server.telling++;
    void this.#run(call, undefined, undefined);
  }

  failCall(call: ServerCall, status: Status): void {
    if (call.status) return;
    call.abandon(status);
    this.#sendStatus(call.id, status);
  }

  #data(streamId: number, flags: number, data: Uint8Array): void {
    const call = this.connection.streams.get(streamId);
    if (call?.data(flags, data)) return;
    if (!call) {
      if (this.#isOver(streamId)) return;
      this.#sendStatus(streamId, invalid(streamId % 2 === 1 ? NOT_ACTIVE : EVEN_ID));
    } else if (call.method.clientStreaming) {
      this.failCall(call, invalid("data came after the half-close"));
    } else this.#sendStatus(streamId, invalid("the method takes a single request"));
  }

  oversized(streamId: number, type: number, _flags: number, length: number): void {
    if (type !== FrameType.Request && type !== FrameType.Data) return;
    const status = statusOf(oversizedError(length, this.server.limits.messageBytes));
    if (type === FrameType.Request) return this.#refuse(streamId, status);
    const call = this.connection.streams.get(streamId);
    if (call) this.failCall(call, status);
    else if (!this.#isOver(streamId)) this.#sendStatus(streamId, status);
  }

  /** Whether a call needs no answer to what still comes for it: it has one, or its client wants none. */
  #isOver(streamId: number): boolean {
    return this.#refused.has(streamId) || this.#overtaken.has(streamId) ||
      streamId === this.#cancelledId;
  }

  /** Finishes the calls of a client that has half-closed but is still connected. */
  async endOfInput(): Promise<Status> {
    const { connection } = this;
    const idle = () => Promise.all([connection.whenIdle(), ...this.#refusing]);
    while (connection.calls + this.#refused.size > 0 && await connection.peerReads()) {
      await this.server.timers.settled(idle(), PROBE_MS);
    }
    await connection.queue.flushed();
    return ENDED;
  }

  ended(failure: Status | undefined): void {
    for (const call of [...this.#refused.values()]) call.end(failure ?? ENDED);
    this.#expected.end();
    this.#idle?.stop();
    if (failure) this.server.report(statusError(failure));
    this.server.disconnected(this);
  }

  /**
   * Sends a Response.
   *
   * @throws {RpcError} With `RESOURCE_EXHAUSTED` if it is too long. Nothing is sent then.
   */
  #sendResponse(streamId: number, response: Response): void {
    const length = responseLength(response);
    checkLength(length, this.server.limits.messageBytes);
    this.#writeResponse(streamId, response, length);
  }

  /** Sends a status, which always can be sent: one that is too long is shortened. */
  #sendStatus(streamId: number, status: Status): void {
    if (this.connection.closed || this.#overtaken.has(streamId)) return;
    let response: Response = { status, payload: NO_BYTES };
    if (responseLength(response) > this.server.limits.messageBytes) {
      const message = `${status.message.slice(0, 200)}... (shortened)`;
      response = { status: { code: status.code, message }, payload: NO_BYTES };
    }
    this.#writeResponse(streamId, response, responseLength(response));
    // These do not wait for room, so reading stops until a peer that does not read them does.
    this.connection.owesReplies = true;
  }

  #writeResponse(streamId: number, response: Response, length: number): void {
    const { queue } = this.connection;
    writeHeader(queue.writer, streamId, FrameType.Response, 0, length);
    writeResponse(queue.writer, response);
    queue.send(HEADER_LENGTH + length);
  }
}

function deadlineOf(request: Request | undefined, connection: Connection): number {
  if (!request || request.timeoutNano <= 0n) return Infinity;
  return (connection.arrival ?? performance.now()) + Number(request.timeoutNano) / 1e6;
}

/** The status of a call that its client has cancelled. */
function cancelStatus(data: Uint8Array): Status {
  try {
    const { status } = decodeResponse(data);
    if (status?.code === Code.DEADLINE_EXCEEDED) return DEADLINE_PASSED;
  } catch {
    // The reason is optional.
  }
  return GIVEN_UP;
}

/** Estimated bytes of memory that metadata takes. */
function metadataBytes(metadata: Metadata | undefined): number {
  if (!metadata) return 0;
  let bytes = 0;
  for (const [key, value] of metadata) bytes += PAIR_BYTES + 2 * (key.length + value.length);
  return bytes;
}

function invalid(message: string): Status {
  return { code: Code.INVALID_ARGUMENT, message };
}

const EVEN_ID = "StreamID must be odd for client initiated streams";
const USED_ID = "StreamID cannot be re-used and must increment";
const NOT_ACTIVE = "StreamID is no longer active";

const SHUTTING_DOWN: Status = { code: Code.UNAVAILABLE, message: "server is shutting down" };

const GIVEN_UP: Status = { code: Code.CANCELLED, message: "the client has cancelled the call" };

const ENDED: Status = { code: Code.CANCELLED, message: "the connection has ended" };
