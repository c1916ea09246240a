/**
 * One call as the server sees it, and what its handler is told of it.
 *
 * @module
 */

import type { Deadlines } from "./deadline.ts";
import type { Metadata } from "./metadata.ts";
import type { CallOptions, Method } from "./service.ts";
import { Code, RpcError } from "./status.ts";
import { type Outcome, outcomeError, Stream } from "./stream.ts";

/**
 * What a handler knows of its call beside the request.
 *
 * It is valid {@linkcode CallOptions}: passed on to a call of another service, it carries the
 * deadline, the metadata and the cancellation along.
 */
export interface HandlerContext extends CallOptions {
  /**
   * Aborted when the call is over, however it ended: its deadline passed, the connection was lost,
   * the server is being closed, or the handler itself is done.
   */
  readonly signal: AbortSignal;
  /** What is left until the deadline, in milliseconds; `undefined` if there is none. */
  readonly timeoutMs: number | undefined;
  /** What came beside the request. */
  readonly metadata: Metadata;
  /** The full name of the service, such as `pkg.Service`. */
  readonly service: string;
  /** The name of the method, such as `SayHello`. */
  readonly method: string;
  /** The address of the client, as far as the connection knows. */
  readonly remoteAddr: Deno.Addr | undefined;
}

/** A call on a server. It is its own handler's context. */
export class ServerCall extends Stream implements HandlerContext {
  readonly metadata: Metadata;
  readonly remoteAddr: Deno.Addr | undefined;
  readonly #method: Method;
  readonly #deadlines: Deadlines;
  readonly #onExpire: (call: ServerCall) => void;
  #controller: AbortController | undefined;

  /**
   * @param id The stream.
   * @param method What is called.
   * @param metadata What came with it.
   * @param deadline When it ends, in milliseconds of `performance.now()`; `Infinity` for never.
   * @param deadlines Watches that.
   * @param peer Who calls.
   * @param onExpire Called when the deadline passes.
   */
  constructor(
    id: number,
    method: Method,
    metadata: Metadata,
    deadline: number,
    deadlines: Deadlines,
    peer: Deno.Addr | undefined,
    onExpire: (call: ServerCall) => void,
  ) {
    super(method.clientStreaming, method.serverStreaming, deadline);
    this.id = id;
    this.metadata = metadata;
    this.remoteAddr = peer;
    this.#method = method;
    this.#deadlines = deadlines;
    this.#onExpire = onExpire;
    if (deadline !== Infinity) deadlines.add(this);
  }

  get service(): string {
    return this.#method.service;
  }

  get method(): string {
    return this.#method.name;
  }

  /** The service and the method, as `pkg.Service/Method`. */
  get path(): string {
    return this.#method.path;
  }

  get timeoutMs(): number | undefined {
    return this.deadline === Infinity ? undefined : this.deadline - performance.now();
  }

  // Most handlers never ask for it, so that it is made when one does.
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.outcome) this.#abort(this.outcome);
    }
    return this.#controller.signal;
  }

  expire(): void {
    this.#onExpire(this);
  }

  protected ended(outcome: Outcome): void {
    if (this.deadline !== Infinity) this.#deadlines.delete(this);
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
