/**
 * A connection in the server's role.
 *
 * @module
 */

import type { ByteConnection } from "./address.ts";
import { Connection } from "./connection.ts";
import { ServerCall } from "./context.ts";
import { decodeRequest, type Request } from "./envelope.ts";
import { FrameFlag, FrameType, oversizedError } from "./framing.ts";
import type { Limits } from "./limits.ts";
import {
  decodeMessage,
  encodeMessage,
  isPromiseLike,
  ReceivedMessages,
  sendMessages,
} from "./messages.ts";
import type { Route, Router } from "./router.ts";
import type { ConnectionInfo, Messages } from "./service.ts";
import { Code, RpcError, type Status } from "./status.ts";
import { type CallKeeper, type Outcome, outcomeOf, SUCCESS } from "./stream.ts";
import { settled } from "./timer.ts";

/** What a connection needs of its server. */
export interface ServerHost extends CallKeeper {
  /** Finds handlers. */
  readonly router: Router;
  /** The bounds. */
  readonly limits: Readonly<Limits>;
  /** An error that no caller hears of. */
  report(error: unknown, method?: string): void;
  /** A connection has ended. */
  disconnected(connection: ServerConnection): void;
}

/** How often a client that has half-closed is asked whether it is still there, in milliseconds. */
const PROBE_MS = 1_000;
/** How long a forced shutdown waits for clients to take their last status, in milliseconds. */
const LAST_WORDS_MS = 250;

/** One client of a server. */
export class ServerConnection extends Connection<ServerCall> {
  readonly #server: ServerHost;
  readonly #info: ConnectionInfo;
  #lastId = 0;
  #draining = false;

  /**
   * @param conn The open connection.
   * @param name The address of the server.
   * @param server What it belongs to.
   */
  constructor(conn: ByteConnection, name: string, server: ServerHost) {
    super(conn, name, server.limits);
    this.#server = server;
    this.#info = { remoteAddr: conn.remoteAddr, values: new Map() };
  }

  /** Answers new calls `UNAVAILABLE`, and ends when those in flight have. */
  async drain(): Promise<void> {
    this.#draining = true;
    await this.whenIdle();
    await this.flushed();
    this.close();
  }

  /** Ends all calls with `UNAVAILABLE`, and then the connection. */
  async force(): Promise<void> {
    this.#draining = true;
    for (const call of [...this.streams.values()]) this.#fail(call, SHUTTING_DOWN);
    await settled(this.flushed(), LAST_WORDS_MS);
    this.close();
  }

  protected request(streamId: number, flags: number, data: Uint8Array): void {
    if (streamId % 2 !== 1) return this.#refuse(streamId, Code.INVALID_ARGUMENT, EVEN_ID);
    if (streamId <= this.#lastId) return this.#refuse(streamId, Code.INVALID_ARGUMENT, USED_ID);
    this.#lastId = streamId;
    let request: Request;
    try {
      request = decodeRequest(data);
    } catch (error) {
      const why = `unmarshal request error: ${outcomeOf(error).message}`;
      return this.#refuse(streamId, Code.INVALID_ARGUMENT, why);
    }
    if (this.#draining) return this.#refuse(streamId, SHUTTING_DOWN.code, SHUTTING_DOWN.message);
    const { concurrentCalls } = this.limits;
    if (this.streams.size >= concurrentCalls) {
      const why = `the connection has ${concurrentCalls} calls in flight, which is the most`;
      return this.#refuse(streamId, Code.RESOURCE_EXHAUSTED, why);
    }
    const route = this.#server.router.find(request.service, request.method);
    if (typeof route === "string") return this.#refuse(streamId, Code.UNIMPLEMENTED, route);
    this.#start(streamId, flags, route, request);
  }

  #start(streamId: number, flags: number, route: Route, request: Request): void {
    const { metadata, payload, timeoutNano } = request;
    const deadline = timeoutNano === 0n ? Infinity : performance.now() + Number(timeoutNano) / 1e6;
    const call = new ServerCall(
      streamId,
      route.method,
      metadata,
      deadline,
      this.#server,
      this.#info,
      this.#expire,
    );
    call.host = this;
    this.streams.set(streamId, call);
    if (timeoutNano < 0n) this.#expire(call);
    else {
      if (call.streamsIn && payload.length > 0) call.push(payload);
      if (!call.streamsIn || (flags & FrameFlag.RemoteClosed) !== 0) call.closeRemote();
      void this.#run(call, route, call.streamsIn ? undefined : payload);
    }
  }

  readonly #expire = (call: ServerCall): void => this.#fail(call, DEADLINE_PASSED);

  /** Runs a handler. Never rejects: what goes wrong is the call's status. */
  async #run(
    call: ServerCall,
    { method, handler }: Route,
    payload: Uint8Array | undefined,
  ): Promise<void> {
    try {
      const request = payload
        ? decodeMessage(method.input, payload, method.path)
        : new ReceivedMessages(call, method.input);
      payload = undefined; // it can be large, and the handler may take long
      const given = handler(request, call);
      const result = isPromiseLike(given) ? await given : given;
      if (method.serverStreaming) {
        await sendMessages(call, this, method.output, result as Messages<unknown>);
        if (!call.outcome) {
          this.sendClose(call);
          this.owesReplies = true; // for a stream without messages has not waited for the socket
        }
      } else {
        if (call.outcome) return;
        const bytes = encodeMessage(method.output, result, method.path);
        if (this.congested) await call.writable();
        if (!call.outcome) this.sendResponse(call.id, { status: undefined, payload: bytes });
      }
      call.abandon(SUCCESS);
    } catch (error) {
      if (!(error instanceof RpcError)) this.#server.report(error, method.path);
      this.#fail(call, outcomeOf(error));
    }
  }

  /** Ends a call badly, and tells its caller, unless it has ended already. */
  #fail(call: ServerCall, status: Status): void {
    if (call.outcome) return;
    call.abandon(status);
    this.#sendStatus(call.id, status);
  }

  /** Answers a Request that leads to no call. */
  #refuse(streamId: number, code: Code, message: string): void {
    this.#server.tally.start();
    this.#server.tally.end(code);
    this.#reject(streamId, code, message);
  }

  /** Answers a frame that belongs to no call. */
  #reject(streamId: number, code: Code, message: string): void {
    this.#sendStatus(streamId, { code, message, details: [] });
  }

  #sendStatus(streamId: number, status: Status): void {
    if (this.closed) return;
    this.sendStatus(streamId, status);
    // Nobody waits for these to be sent, so a peer that does not read them is not read, either.
    this.owesReplies = true;
  }

  // Other calls wait for the server to read, if not now then soon.
  holdsUp(): boolean {
    return true;
  }

  drop(call: ServerCall): void {
    if (call.outcome) call.ignoreRemote();
    else this.#fail(call, STALLED);
  }

  protected strayData(streamId: number, call: ServerCall | undefined): void {
    if (!call) {
      const why = streamId % 2 === 1 ? "StreamID is no longer active" : EVEN_ID;
      this.#reject(streamId, Code.INVALID_ARGUMENT, why);
    } else if (call.streamsIn) {
      const message = "data came after the half-close";
      this.#fail(call, { code: Code.INVALID_ARGUMENT, message, details: [] });
    } else this.#reject(streamId, Code.INVALID_ARGUMENT, "the method takes a single request");
  }

  oversized(streamId: number, type: number, _flags: number, length: number): void {
    if (type !== FrameType.Request && type !== FrameType.Data) return;
    const status = outcomeOf(oversizedError(length, this.limits.messageBytes));
    const call = type === FrameType.Data ? this.streams.get(streamId) : undefined;
    if (call) this.#fail(call, status);
    else if (type === FrameType.Request) this.#refuse(streamId, status.code, status.message);
    else this.#reject(streamId, status.code, status.message);
  }

  // A client has nothing to answer.
  protected response(): void {}

  protected remoteClosed(call: ServerCall): void {
    call.closeRemote();
  }

  /** Finishes the calls of a client that has half-closed but is still there to read. */
  protected async endOfInput(): Promise<void> {
    while (this.calls > 0 && await this.peerReads()) {
      await settled(this.whenIdle(), PROBE_MS);
    }
    await this.flushed();
  }

  protected ended(error: RpcError | undefined): void {
    if (error) this.#server.report(error);
    this.#server.disconnected(this);
  }

  protected closedOutcome(): Outcome {
    return { code: Code.CANCELLED, message: "the connection has ended", details: [] };
  }
}

const EVEN_ID = "StreamID must be odd for client initiated streams";
const USED_ID = "StreamID cannot be re-used and must increment";

const SHUTTING_DOWN: Status = {
  code: Code.UNAVAILABLE,
  message: "server is shutting down",
  details: [],
};

const STALLED: Status = {
  code: Code.RESOURCE_EXHAUSTED,
  message: "the handler does not take its messages, and holds up the connection",
  details: [],
};

const DEADLINE_PASSED: Status = {
  code: Code.DEADLINE_EXCEEDED,
  message: "the deadline has passed",
  details: [],
};
