/**
 * One call as the server sees it, and what its handler is told of it.
 *
 * @module
 */

import { deadlineAfter } from "./call_options.ts";
import type { InterceptedRequest } from "../interceptor.ts";
import { Metadata } from "../metadata.ts";
import type { Method } from "./method.ts";
import type { ConnectionInfo, HandlerContext } from "../service.ts";
import { abort } from "../async/signals.ts";
import { Code, OK, RpcError, type Status, statusError } from "../status.ts";
import { type CallKeeper, Stream } from "./stream.ts";

/** What a call needs of its server. */
export interface ServerKeeper extends CallKeeper {
  /** An error that no caller hears of. */
  report(error: unknown, method?: string): void;
}

/** What a call needs of its connection. */
export interface CallHost {
  /** The client. */
  readonly info: ConnectionInfo;
  /** The server. */
  readonly server: ServerKeeper;
  /** Ends a call badly, and tells its caller. */
  failCall(call: ServerCall, status: Status): void;
}

/** What came with a call's Request. */
export interface CallStart {
  /** The metadata, if there was any. */
  readonly metadata: Metadata | undefined;
  /** When the call ends, in milliseconds of `performance.now()`; `Infinity` for never. */
  readonly deadline: number;
  /** Why the call is refused, if it is: no handler runs. */
  readonly refusal?: Status;
}

/** Under this key a request carries its call, also where an interceptor has copied it. */
const CALL = Symbol("call");

type OfferedRequest = InterceptedRequest & { readonly [CALL]?: ServerCall };

interface OfferedCall extends Omit<InterceptedRequest, "address"> {
  readonly [CALL]: ServerCall;
}

/** A call on a server. */
export class ServerCall extends Stream {
  /** Why the call is refused, if it is. */
  refusal: Status | undefined;
  /** The bytes that its request holds, once its handler waits for something. */
  heldBytes = 0;
  /** The turn of its connection in which it has begun and was not answered yet; else zero. */
  turn = 0;
  /** The bytes that its reply is expected to hold, until it is made. */
  expectedBytes = 0;
  readonly #host: CallHost;
  #metadata: Metadata | undefined;
  #context: HandlerContext | undefined;
  #controller: AbortController | undefined;
  #waits: Set<() => void> | undefined;

  /**
   * @param method What is called.
   * @param start What came with it.
   * @param host The connection that it came on.
   */
  constructor(method: Method, start: CallStart, host: CallHost) {
    super("server", method, start.deadline);
    this.#metadata = start.metadata;
    this.refusal = start.refusal;
    this.#host = host;
    host.server.tally.start();
    host.server.deadlines.add(this);
  }

  /** What a handler is told. */
  get context(): HandlerContext {
    return this.#context ??= new Proxy(this, CONTEXT) as unknown as HandlerContext;
  }

  /** The client. */
  get connection(): ConnectionInfo {
    return this.#host.info;
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
      if (this.status) this.#abort(this.status);
    }
    return this.#controller.signal;
  }

  release(): void {
    this.ignore();
  }

  expire(): void {
    this.#host.failCall(this, DEADLINE_PASSED);
  }

  overrun(): void {
    if (this.status) this.ignore();
    else this.#host.failCall(this, OVERRUN);
  }

  /** The request that interceptors see. */
  offer(message: unknown): InterceptedRequest {
    const { method, metadata, timeoutMs, context } = this;
    const request: OfferedCall = {
      method,
      kind: method.kind,
      message,
      metadata,
      timeoutMs,
      context,
      sizes: this.sizes!,
      get signal() {
        return this[CALL].signal;
      },
      [CALL]: this,
    };
    return request as InterceptedRequest;
  }

  /**
   * The call whose request interceptors have passed on.
   *
   * @throws {TypeError} If it is not one that was offered.
   */
  static of(request: InterceptedRequest): ServerCall {
    const call = (request as OfferedRequest)[CALL];
    if (call && request.context === call.context) return call;
    throw new TypeError(
      `An interceptor of ${request.method.path} has left out the request's context`,
    );
  }

  /**
   * What interceptors have made of what they were offered. The signal stays the call's own.
   *
   * @throws {RpcError} If the call is over or refused.
   * @throws {RangeError} If the request's `timeoutMs` is not a number.
   */
  accept({ metadata, timeoutMs }: InterceptedRequest): void {
    if (metadata !== this.#metadata) this.#metadata = new Metadata(metadata);
    if (timeoutMs !== undefined) this.#shorten(timeoutMs);
    if (this.deadline !== Infinity && this.deadline <= performance.now()) this.expire();
    const status = this.status ?? this.refusal;
    if (status) throw statusError(over(status), this.method.path);
  }

  #shorten(timeoutMs: number): void {
    const deadline = deadlineAfter(timeoutMs);
    if (deadline >= this.deadline || this.status) return;
    const { deadlines } = this.#host.server;
    deadlines.delete(this);
    this.deadline = deadline;
    deadlines.add(this);
  }

  /**
   * Settles as what a handler has returned does; or rejects as soon as the call is over, with how it
   * ended.
   */
  whileRunning<T>(result: PromiseLike<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { path } = this.method;
      const waits = this.#waits ??= new Set();
      const fail = () => reject(statusError(over(this.status!), path));
      if (this.status) fail();
      else waits.add(fail);
      result.then((value) => {
        waits.delete(fail);
        resolve(value);
      }, (error) => {
        waits.delete(fail);
        // After the end nobody waits for it any more.
        if (this.status && !(error instanceof RpcError)) this.#host.server.report(error, path);
        reject(error);
      });
    });
  }

  protected ended(status: Status): void {
    const { tally, deadlines } = this.#host.server;
    tally.end(status.code);
    if (this.deadline !== Infinity) deadlines.delete(this);
    if (this.#controller) this.#abort(status);
    this.#waits?.forEach((fail) => fail());
  }

  #abort(status: Status): void {
    const reason = status.code === Code.DEADLINE_EXCEEDED
      ? new DOMException(status.message, "TimeoutError")
      : statusError(over(status), this.method.path);
    const { path } = this.method;
    abort(this.#controller!, reason, (error) => this.#host.server.report(error, path));
  }

  /** What `console.log(context)` shows. */
  [Symbol.for("Deno.customInspect")](inspect: (value: unknown) => string): string {
    return `HandlerContext ${inspect({ ...this.context })}`;
  }
}

/** How a call that is over looks to those who still work on it: not even a success is one to them. */
function over(status: Status): Status {
  return status === OK ? COMPLETE : status;
}

// To make an object of these for each call takes a fifth of a small call's time, and most handlers
// look at none of them. A proxy of the call shows them, and only them, when one does.
const FIELDS: ReadonlyMap<PropertyKey, (call: ServerCall) => unknown> = new Map<
  PropertyKey,
  (call: ServerCall) => unknown
>([
  ["service", (call) => call.method.service],
  ["method", (call) => call.method.name],
  ["connection", (call) => call.connection],
  ["signal", (call) => call.signal],
  ["timeoutMs", (call) => call.timeoutMs],
  ["metadata", (call) => call.metadata],
]);

const NAMES = [...FIELDS.keys()] as string[];

const CONTEXT: ProxyHandler<ServerCall> = {
  get: (call, name) => {
    const field = FIELDS.get(name);
    return field ? field(call) : Reflect.get(Object.prototype, name);
  },
  has: (_call, name) => FIELDS.has(name) || name in Object.prototype,
  ownKeys: () => NAMES,
  getOwnPropertyDescriptor: (call, name) => {
    const field = FIELDS.get(name);
    return field && { value: field(call), enumerable: true, configurable: true, writable: false };
  },
  getPrototypeOf: () => Object.prototype,
  set: () => false,
  defineProperty: () => false,
  deleteProperty: () => false,
};

const COMPLETE: Status = { code: Code.CANCELLED, message: "the call is complete" };

/** How a call ends on a server when its deadline passes. */
export const DEADLINE_PASSED: Status = {
  code: Code.DEADLINE_EXCEEDED,
  message: "the deadline has passed",
};

const OVERRUN: Status = {
  code: Code.RESOURCE_EXHAUSTED,
  message: "the handler does not take its messages, and holds up the connection",
};
