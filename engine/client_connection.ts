/**
 * A connection in the client's role: sends requests, and receives responses.
 *
 * @module
 */

import type { ByteConnection } from "../transport.ts";
import type { ClientCall } from "./client_call.ts";
import { Connection, type ConnectionOwner, type Role } from "./connection.ts";
import { decodeResponse, requestLength, writeRequest } from "../wire/envelope.ts";
import {
  checkLength,
  FrameFlag,
  FrameType,
  HEADER_LENGTH,
  oversizedError,
  writeHeader,
} from "../framing.ts";
import { Code, describe, OK, type Status, statusOf } from "../status.ts";

const LARGEST_ID = 2 ** 32 - 1;
/** How long a closed client waits for the server to close the connection, too, in milliseconds. */
const LINGER_MS = 100;
const LONGEST_TIMEOUT = 2n ** 63n - 1n;

/** What a connection needs of its client. */
export interface ClientConnectionOptions extends ConnectionOwner {
  /** The open connection. */
  readonly conn: ByteConnection;
  /** The server's address, if known. */
  readonly name: string | undefined;
  /** Takes a call for which there is no stream id left. */
  readonly onExhausted: (call: ClientCall) => void;
  /** Called when the connection has ended, with the reason if it was lost. */
  readonly onEnd: (failure: Status | undefined) => void;
  /** The first stream id: odd, 1 by default. */
  readonly firstId?: number | undefined;
}

/** The connection to a server. */
export class ClientConnection implements Role {
  /** The connection. */
  readonly connection: Connection<ClientCall>;
  readonly accepts = false;
  readonly begins = false;
  readonly #options: ClientConnectionOptions;
  #nextId: number;
  #closing = false;
  readonly #waiting = new Set<ClientCall>(); // for room in the write queue
  #over: Status | undefined; // the status of calls once the connection is over

  /** @param options The open connection, and what it needs of its client. */
  constructor(options: ClientConnectionOptions) {
    const { conn, name, firstId = 1 } = options;
    this.#options = options;
    this.#nextId = firstId;
    this.connection = new Connection(conn, name, options, this);
  }

  /** Whether it has no stream ids left. */
  get exhausted(): boolean {
    return this.#nextId > LARGEST_ID;
  }

  /** Whether it can take another call. */
  get usable(): boolean {
    const { closed, writeError } = this.connection;
    return !closed && writeError === undefined && !this.exhausted && !this.#closing;
  }

  /** Sends a call's Request, as soon as there is room. An error becomes the call's status. */
  open(call: ClientCall): void {
    call.attach(this.connection);
    if (call.congested && this.usable) void this.#openLater(call);
    else this.#open(call);
  }

  async #openLater(call: ClientCall): Promise<void> {
    this.#waiting.add(call);
    await call.writable();
    this.#waiting.delete(call);
    this.#open(call);
  }

  #open(call: ClientCall): void {
    if (call.status) return;
    if (this.exhausted) return this.#options.onExhausted(call);
    if (!this.usable) return call.end(this.#unusable());
    const { payload, metadata, messages } = call.request!;
    const { method } = call;
    const { queue, limits } = this.connection;
    const timeoutNano = wireTimeout(call.deadline);
    const request = { method: method.encoded, payload, timeoutNano, metadata };
    const length = requestLength(request);
    try {
      checkLength(length, limits.messageBytes);
    } catch (error) {
      return call.end(statusOf(error));
    }
    const flags = method.clientStreaming
      ? FrameFlag.RemoteOpen | FrameFlag.NoData
      : method.serverStreaming
      ? FrameFlag.RemoteClosed
      : 0;
    writeHeader(queue.writer, this.#nextId, FrameType.Request, flags, length);
    writeRequest(queue.writer, request);
    queue.send(HEADER_LENGTH + length);
    call.request = undefined;
    call.open(this.#nextId);
    this.#nextId += 2;
    this.connection.streams.set(call.id, call);
    if (call.sizes) call.sizes.sent += payload.length;
    if (messages) void call.sendAll(messages);
  }

  /** The status of a call that cannot be sent. */
  #unusable(): Status {
    const { title, name, closed, writeError } = this.connection;
    if (closed || !writeError) return this.#over ?? closedStatus(name);
    const { cause } = writeError;
    return { code: Code.UNAVAILABLE, message: `${title} lost: ${describe(cause)}`, cause };
  }

  /** The status of a call for which there is no stream id left, and no other connection. */
  get exhaustedStatus(): Status {
    const { title } = this.connection;
    const message = `${title} has used up its stream ids: connect again`;
    return { code: Code.UNAVAILABLE, message };
  }

  /** Closes it: at once if a call is in flight, so that the server stops working on it. */
  close(): void {
    const { connection } = this;
    const over = this.#over = closedStatus(connection.name);
    this.#closing = true;
    for (const call of this.#waiting) call.end(over);
    if (connection.calls > 0) connection.close(over);
    else void connection.finish(LINGER_MS, LINGER_MS);
  }

  /** Closes it when its last call has ended. */
  async retire(): Promise<void> {
    await this.connection.whenIdle();
    this.close();
  }

  admits(): boolean {
    return true; // a server starts no calls
  }

  turned(): void {}

  overtaken(): void {}

  frame(streamId: number, type: number, flags: number, data: Uint8Array): void {
    // Frames of calls that have ended on this side are ignored, and so are Requests.
    const call = this.connection.streams.get(streamId);
    if (!call) return;
    if (type === FrameType.Response) this.#response(call, data);
    else if (type === FrameType.Data) {
      if (!call.data(flags, data)) {
        call.cancel(internal(`a Data frame came for a ${call.method.kind} call`));
      } else if ((flags & FrameFlag.RemoteClosed) !== 0) call.end(OK);
    }
  }

  #response(call: ClientCall, data: Uint8Array): void {
    let response;
    try {
      response = decodeResponse(data);
    } catch (cause) {
      const { code, message } = statusOf(cause);
      if (code !== Code.RESOURCE_EXHAUSTED) {
        return call.abandon(internal("the response is malformed", cause));
      }
      return call.abandon({ code, message: `the response has ${message}`, cause });
    }
    const { status, payload } = response;
    if (status && status.code !== Code.OK) return call.end(status);
    // A call with one response has it here, even if it is empty. On a stream, a payload is the last
    // message, and an empty one is none.
    if (!call.method.serverStreaming || payload.length > 0) call.push(payload);
    call.end(OK);
  }

  oversized(streamId: number, type: number, _flags: number, length: number): void {
    if (type !== FrameType.Response && type !== FrameType.Data) return;
    const call = this.connection.streams.get(streamId);
    const status = statusOf(oversizedError(length, this.connection.limits.messageBytes));
    if (type === FrameType.Response) call?.abandon(status);
    else call?.cancel(status);
  }

  endOfInput(): Promise<Status> {
    const { connection } = this;
    if (connection.calls > 0) connection.fail("the server closed it");
    this.#closing = true; // so that a call which begins before the end cannot use it
    const name = connection.name ?? "the connection";
    this.#over ??= { code: Code.UNAVAILABLE, message: `the server has closed ${name}` };
    return Promise.resolve(this.#over);
  }

  ended(failure: Status | undefined): void {
    this.#over = failure ?? this.#over;
    this.#options.onEnd(failure);
  }
}

/**
 * The status of calls on a connection that this side has closed.
 *
 * @param name The address, if known.
 * @returns The status.
 */
export function closedStatus(name: string | undefined): Status {
  const title = name === undefined ? "the connection" : `connection to ${name}`;
  return { code: Code.CANCELLED, message: `${title} is closed` };
}

function wireTimeout(deadline: number): bigint {
  if (deadline === Infinity) return 0n;
  // Zero means no deadline, and to some servers so does a negative number.
  const nanoseconds = Math.max(1, Math.round((deadline - performance.now()) * 1e6));
  return nanoseconds < 2 ** 63 ? BigInt(nanoseconds) : LONGEST_TIMEOUT;
}

function internal(message: string, cause?: unknown): Status {
  return { code: Code.INTERNAL, message, cause };
}
