/**
 * One call as the server sees it, and what its handler is told of it.
 *
 * @module
 */

import type { InterceptedCall } from "./interceptor.ts";
import { Metadata } from "./metadata.ts";
import type { ConnectionInfo, HandlerContext, Method } from "./service.ts";
import { Code, RpcError } from "./status.ts";
import { type CallKeeper, type Outcome, outcomeError, Stream } from "./stream.ts";

/** A call on a server. */
export class ServerCall extends Stream implements HandlerContext {
  readonly connection: ConnectionInfo;
  readonly #method: Method;
  readonly #server: CallKeeper;
  readonly #onExpire: (call: ServerCall) => void;
  #metadata: Metadata | undefined;
  #context: HandlerContext | undefined;
  #controller: AbortController | undefined;
  #offeredTimeoutMs: number | undefined;

  /**
   * @param id The stream.
   * @param method What is called.
   * @param metadata What came with it.
   * @param deadline When it ends, in milliseconds of `performance.now()`; `Infinity` for never.
   * @param server Watches that, and counts the call.
   * @param connection Who calls.
   * @param onExpire Called when the deadline passes.
   */
  constructor(
    id: number,
    method: Method,
    metadata: Metadata | undefined,
    deadline: number,
    server: CallKeeper,
    connection: ConnectionInfo,
    onExpire: (call: ServerCall) => void,
  ) {
    super(method.clientStreaming, method.serverStreaming, deadline);
    this.id = id;
    this.#metadata = metadata;
    this.connection = connection;
    this.#method = method;
    this.#server = server;
    this.#onExpire = onExpire;
    server.tally.start();
    if (deadline !== Infinity) server.deadlines.add(this);
  }

  get path(): string {
    return this.#method.path;
  }

  get service(): string {
    return this.#method.service;
  }

  get method(): string {
    return this.#method.name;
  }

  /** What a handler is told: an object of its own, so that `{ ...context }` has all of it. */
  get context(): HandlerContext {
    return this.#context ??= contextOf(this);
  }

  /** What came beside the request. */
  get metadata(): Metadata {
    return this.#metadata ??= new Metadata();
  }

  /** What is left until the deadline, in milliseconds. */
  get timeoutMs(): number | undefined {
    return this.deadline === Infinity ? undefined : this.deadline - performance.now();
  }

  /** Aborted when the call is over. */
  // Most handlers never ask for it, so that it is made when one does.
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.outcome) this.#abort(this.outcome);
    }
    return this.#controller.signal;
  }

  release(): void {
    this.ignoreRemote();
  }

  /** What interceptors see of the call. */
  offer(): InterceptedCall {
    const { metadata, timeoutMs, signal } = this;
    this.#offeredTimeoutMs = timeoutMs;
    return { metadata, timeoutMs, signal, context: this.context };
  }

  /** What interceptors have made of what they were offered. The signal stays the call's own. */
  change(metadata: Metadata, timeoutMs: number | undefined): void {
    this.#metadata = metadata;
    if (this.outcome || timeoutMs === this.#offeredTimeoutMs) return;
    const { deadlines } = this.#server;
    deadlines.delete(this);
    this.deadline = timeoutMs === undefined ? Infinity : performance.now() + timeoutMs;
    if (this.deadline !== Infinity) deadlines.add(this);
  }

  expire(): void {
    this.#onExpire(this);
  }

  protected ended(outcome: Outcome): void {
    this.#server.tally.end(outcome.code);
    if (this.deadline !== Infinity) this.#server.deadlines.delete(this);
    if (this.#controller) this.#abort(outcome);
  }

  #abort(outcome: Outcome): void {
    const reason = outcome.code === Code.DEADLINE_EXCEEDED
      ? new DOMException(outcome.message, "TimeoutError")
      : outcome.code === Code.OK
      ? new RpcError(Code.CANCELLED, "the call is complete", { method: this.path })
      : outcomeError(outcome, this.path);
    this.#controller!.abort(reason);
  }
}

function contextOf(call: ServerCall): HandlerContext {
  const { service, method, connection } = call;
  return {
    service,
    method,
    connection,
    get signal() {
      return call.signal;
    },
    get timeoutMs() {
      return call.timeoutMs;
    },
    get metadata() {
      return call.metadata;
    },
  };
}
