/**
 * Turns the frames between a client and a server into events of calls, for `tap` and `replay`.
 *
 * @module
 */

import { decodeRequest, decodeResponse } from "../wire/envelope.ts";
import { FrameFlag, FrameType } from "../framing.ts";
import { Code } from "../status.ts";
import type { Pair } from "./options.ts";

/** The sender of a frame. */
export type Side = "client" | "server";

/** An event of a call. */
export type CallEvent =
  & {
    /** The number of the connection, from 1. */
    readonly connection: number;
    /** The id of the stream. */
    readonly stream: number;
    /** The method as `pkg.Service/Method`; `undefined` if its Request was not seen. */
    readonly method: string | undefined;
  }
  & (
    | {
      readonly event: "request";
      /** The metadata. */
      readonly metadata: readonly Pair[];
      /** The timeout in milliseconds; 0 for none. */
      readonly timeoutMs: number;
      /** The request message; `undefined` if a stream of messages follows. */
      readonly payload: Uint8Array | undefined;
    }
    | { readonly event: "message"; readonly from: Side; readonly payload: Uint8Array }
    | { readonly event: "half-close"; readonly from: Side }
    | {
      readonly event: "end";
      /** The server, or the client if it cancelled the call. */
      readonly from: Side;
      readonly code: number;
      readonly message: string;
      readonly details: readonly { typeUrl: string; value: Uint8Array }[];
      /** The response message, if there is one. */
      readonly payload: Uint8Array | undefined;
      /** The time since the request, in milliseconds. */
      readonly ms: number | undefined;
    }
    | { readonly event: "strange"; readonly from: Side; readonly message: string }
  );

/** How many cancelled calls are remembered, to ignore what their servers may still send. */
const MOST_CANCELLED = 1_000;

interface Open {
  readonly method: string;
  readonly start: number;
}

/** Follows the calls of one connection. */
export class Calls {
  readonly #connection: number;
  readonly #tell: (event: CallEvent) => void;
  readonly #open = new Map<number, Open>();
  readonly #cancelled = new Set<number>();

  /**
   * @param connection The number of the connection, from 1.
   * @param tell Called with each event.
   */
  constructor(connection: number, tell: (event: CallEvent) => void) {
    this.#connection = connection;
    this.#tell = tell;
  }

  /** The number of calls that have not ended. */
  get open(): number {
    return this.#open.size;
  }

  /** Processes the next frame of one side; `at` is the `performance.now()` of its arrival. */
  frame(
    from: Side,
    stream: number,
    type: number,
    flags: number,
    data: Uint8Array,
    at: number = performance.now(),
  ): void {
    if (type === FrameType.Ping || type === FrameType.Pong) return; // no call's
    if (type === FrameType.Request) this.#cancelled.delete(stream);
    if (this.#cancelled.has(stream)) return;
    const { method } = this.#open.get(stream) ?? {};
    const about = { connection: this.#connection, stream, method };
    try {
      if (type === FrameType.Request && from === "client") this.#request(stream, flags, data, at);
      else if (type === FrameType.Response && from === "server") this.#response(stream, data, at);
      else if (type === FrameType.Data) this.#data(from, stream, flags, data, at);
      else if (type === FrameType.Cancel && from === "client") this.#cancel(stream, data, at);
      else {
        const message = `a frame of type ${type} from the ${from}`;
        this.#tell({ ...about, event: "strange", from, message });
      }
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#tell({ ...about, event: "strange", from, message });
    }
  }

  #request(stream: number, flags: number, data: Uint8Array, at: number): void {
    const { service, method, payload, timeoutNano, metadata } = decodeRequest(data);
    const path = `${service}/${method}`;
    this.#open.set(stream, { method: path, start: at });
    const streams = (flags & (FrameFlag.RemoteOpen | FrameFlag.NoData)) !== 0;
    this.#tell({
      ...{ connection: this.#connection, stream, method: path },
      event: "request",
      metadata: metadata ? [...metadata] : [],
      timeoutMs: Number(timeoutNano) / 1e6,
      payload: streams && payload.length === 0 ? undefined : payload,
    });
  }

  #data(from: Side, stream: number, flags: number, payload: Uint8Array, at: number): void {
    const about = this.#about(stream);
    const none = (flags & FrameFlag.NoData) !== 0;
    if (!none) this.#tell({ ...about, event: "message", from, payload });
    if ((flags & FrameFlag.RemoteClosed) === 0) return;
    if (from === "client") this.#tell({ ...about, event: "half-close", from });
    else this.#end(from, stream, { code: 0, message: "", details: [] }, undefined, at);
  }

  #response(stream: number, data: Uint8Array, at: number): void {
    const { status, payload } = decodeResponse(data);
    const { code, message, details } = status ?? { code: 0, message: "", details: [] };
    this.#end("server", stream, { code, message, details }, code === 0 ? payload : undefined, at);
  }

  /** The client cancels the call. What the server still sends for it is ignored. */
  #cancel(stream: number, data: Uint8Array, at: number): void {
    let code = Code.CANCELLED;
    try {
      const why = decodeResponse(data).status?.code;
      if (why === Code.DEADLINE_EXCEEDED) code = why;
    } catch {
      // It may be anything.
    }
    const status = { code, message: "given up by the client", details: [] };
    if (this.#open.has(stream)) this.#end("client", stream, status, undefined, at);
    this.#cancelled.add(stream);
    if (this.#cancelled.size <= MOST_CANCELLED) return;
    const [first] = this.#cancelled;
    this.#cancelled.delete(first!);
  }

  #end(
    from: Side,
    stream: number,
    status: Pick<CallEvent & { event: "end" }, "code" | "message" | "details">,
    payload: Uint8Array | undefined,
    at: number,
  ): void {
    const about = this.#about(stream);
    const start = this.#open.get(stream)?.start;
    const ms = start === undefined ? undefined : at - start;
    this.#open.delete(stream);
    this.#tell({ ...about, event: "end", from, ...status, payload, ms });
  }

  #about(stream: number): Pick<CallEvent, "connection" | "stream" | "method"> {
    const { method } = this.#open.get(stream) ?? {};
    return { connection: this.#connection, stream, method };
  }
}
