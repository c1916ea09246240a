/**
 * A connection in the client's role.
 *
 * @module
 */

import type { ByteConnection } from "./address.ts";
import type { Call } from "./call.ts";
import { Connection } from "./connection.ts";
import { decodeResponse } from "./envelope.ts";
import { FrameFlag, FrameType, oversizedError } from "./framing.ts";
import type { Limits } from "./limits.ts";
import type { Metadata } from "./metadata.ts";
import type { Messages } from "./service.ts";
import { Code, RpcError } from "./status.ts";
import { type Outcome, outcomeOf, type Stream, SUCCESS } from "./stream.ts";

const LARGEST_ID = 2 ** 32 - 1;
const LONGEST_TIMEOUT = 2n ** 63n - 1n;

/** The connection to a server. */
export class ClientConnection extends Connection<Call> {
  #nextId: number;
  readonly #onEnd: (error: RpcError | undefined) => void;
  #error: RpcError | undefined;

  constructor(
    conn: ByteConnection,
    name: string,
    limits: Readonly<Limits>,
    onEnd: (error: RpcError | undefined) => void,
    firstId = 1,
  ) {
    super(conn, name, limits);
    this.#nextId = firstId;
    this.#onEnd = onEnd;
  }

  /** Whether it can take another call. */
  get usable(): boolean {
    return !this.closed && this.#nextId <= LARGEST_ID;
  }

  /** Sends a call's Request, as soon as there is room. What goes wrong is the call's outcome. */
  open(call: Call, metadata: Metadata | undefined, message: Uint8Array, requests: unknown): void {
    call.host = this;
    if (call.outcome || !this.congested) this.#open(call, metadata, message, requests);
    else void call.writable().then(() => this.#open(call, metadata, message, requests));
  }

  #open(call: Call, metadata: Metadata | undefined, payload: Uint8Array, requests: unknown): void {
    if (call.outcome) return;
    if (this.closed) return call.end(this.closedOutcome());
    const { method } = call;
    if (this.#nextId > LARGEST_ID) {
      return call.end(unavailable(`connection to ${this.name} has used up its stream ids`));
    }
    const flags = method.clientStreaming
      ? FrameFlag.RemoteOpen | FrameFlag.NoData
      : method.serverStreaming
      ? FrameFlag.RemoteClosed
      : 0;
    const timeoutNano = wireTimeout(call.deadline);
    try {
      const request = { method: method.encoded, payload, timeoutNano, metadata };
      this.sendRequest(this.#nextId, flags, request);
    } catch (error) {
      return call.end(outcomeOf(error));
    }
    call.id = this.#nextId;
    this.#nextId += 2;
    this.streams.set(call.id, call);
    if (method.clientStreaming) void call.sendAll(this, requests as Messages<unknown>);
    else call.localClosed = true;
  }

  protected response(call: Call, data: Uint8Array): void {
    let response;
    try {
      response = decodeResponse(data);
    } catch (cause) {
      return call.cancel(internal("the response is malformed", cause));
    }
    const { status, payload } = response;
    if (status && status.code !== Code.OK) return call.end(status);
    // A call of one response has it here, be it empty. On a stream it is a last message, or none.
    if (!call.streamsIn || payload.length > 0) call.push(payload);
    call.end(SUCCESS);
  }

  protected remoteClosed(call: Call): void {
    call.end(SUCCESS);
  }

  protected strayData(_streamId: number, call: Call | undefined): void {
    // What comes late, for a call that has ended here, is ignored.
    call?.cancel(internal(`a Data frame came for a ${call.method.kind} call`));
  }

  // The client knows all its calls, so that it need not drop one for the sake of nobody.
  holdsUp(idle: readonly Stream[]): boolean {
    if (this.congested) return true; // perhaps because the peer waits for this side to read
    for (const call of this.streams.values()) if (call.waiting && !idle.includes(call)) return true;
    return false;
  }

  drop(call: Call): void {
    call.overrun({
      code: Code.RESOURCE_EXHAUSTED,
      message: "nobody takes its messages, and it holds up other calls on the connection",
      details: [],
    });
  }

  // A server has nothing to request.
  protected request(): void {}

  oversized(streamId: number, type: number, _flags: number, length: number): void {
    if (type !== FrameType.Response && type !== FrameType.Data) return;
    const call = this.streams.get(streamId);
    call?.cancel(outcomeOf(oversizedError(length, this.limits.messageBytes)));
  }

  protected endOfInput(): Promise<void> {
    if (this.streams.size > 0) this.fail("the server closed it");
    this.#error ??= new RpcError(Code.UNAVAILABLE, `the server has closed ${this.name}`);
    return Promise.resolve();
  }

  protected ended(error: RpcError | undefined): void {
    this.#error = error ?? this.#error;
    this.#onEnd(error);
  }

  protected closedOutcome(): Outcome {
    if (this.#error) return outcomeOf(this.#error);
    return closedOutcome(this.name);
  }
}

/**
 * The outcome of calls on a connection that this side has closed.
 *
 * @param name The address.
 * @returns The outcome.
 */
export function closedOutcome(name: string): Outcome {
  return { code: Code.CANCELLED, message: `connection to ${name} is closed`, details: [] };
}

function wireTimeout(deadline: number): bigint {
  if (deadline === Infinity) return 0n;
  // Zero would mean that there is no deadline, and a negative number never to some servers.
  const nanoseconds = Math.max(1, Math.round((deadline - performance.now()) * 1e6));
  return nanoseconds < 2 ** 63 ? BigInt(nanoseconds) : LONGEST_TIMEOUT;
}

function internal(message: string, cause?: unknown): Outcome {
  return { code: Code.INTERNAL, message, details: [], cause };
}

function unavailable(message: string): Outcome {
  return { code: Code.UNAVAILABLE, message, details: [] };
}
