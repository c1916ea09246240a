/**
 * A call in the server's role, and the context that its handler gets.
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
  /** Reports an error that no caller gets. */
  report(error: unknown, method?: string): void;
}

/** What a call needs of its connection. */
export interface CallHost {
  /** The connection, as handlers see it. */
  readonly info: ConnectionInfo;
  /** The server. */
  readonly server: ServerKeeper;
  /** Ends a call with an error, and sends it to the caller. */
  failCall(call: ServerCall, status: Status): void;
}

/** What a call is started with, from its Request. */
export interface CallStart {
  /** The metadata, if there was any. */
  readonly metadata: Metadata | undefined;
  /** When the call ends, in milliseconds of `performance.now()`; `Infinity` for never. */
  readonly deadline: number;
  /** Why the call is refused, if it is: its handler is not run. */
  readonly refusal?: Status;
}

/** The key under which a request, and any copy that an interceptor makes, has its call. */
const CALL = Symbol("call");

type OfferedRequest = InterceptedRequest & { readonly [CALL]?: ServerCall };

interface OfferedCall extends Omit<InterceptedRequest, "address"> {
  readonly [CALL]: ServerCall;
}

/** A call on a server. */
export class ServerCall extends Stream {
  /** Why the call is refused, if it is. */
  refusal: Status | undefined;
  /** Bytes of memory that its request holds, once its handler waits for something. */
  heldBytes = 0;
  /** The turn of its connection in which it began, until it is answered; else zero. */
  turn = 0;
  /** Bytes of memory that its reply is expected to hold, until the reply is made. */
  expectedBytes = 0;
  readonly #host: CallHost;
  #metadata: Metadata | undefined;
  #context: HandlerContext | undefined;
  #controller: AbortController | undefined;
  #waits: Set<() => void> | undefined;

  /**
   * @param method The method.
   * @param start The rest of its Request.
   * @param host The connection on which it came.
   */
  constructor(method: Method, start: CallStart, host: CallHost) {
    super("server", method, start.deadline);
    this.#metadata = start.metadata;
    this.refusal = start.refusal;
    this.#host = host;
    host.server.tally.start();
    host.server.deadlines.add(this);
  }

  /** The context that the handler gets. */
  get context(): HandlerContext {
    return this.#context ??= new Proxy(this, CONTEXT) as unknown as HandlerContext;
  }

  /** The connection, as the handler sees it. */
  get connection(): ConnectionInfo {
    return this.#host.info;
  }

  /** The metadata of the request. */
  get metadata(): Metadata {
    return this.#metadata ??= new Metadata();
  }

  /** The time until the deadline, in milliseconds; `undefined` if there is none. */
  get timeoutMs(): number | undefined {
    return this.deadline === Infinity ? undefined : this.deadline - performance.now();
  }

  /** Aborted when the call is over. */
  // Most handlers do not use it, so it is created when one does.
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
   * The call of a request that interceptors have passed on.
   *
   * @throws {TypeError} If it is not a request that was offered, or a copy with its context.
   */
  static of(request: InterceptedRequest): ServerCall {
    const call = (request as OfferedRequest)[CALL];
    if (call && request.context === call.context) return call;
    throw new TypeError(
      `Cannot serve ${request.method.path}: an interceptor has to pass on its request, ` +
        `or a copy with the same context`,
    );
  }

  /**
   * Takes over what interceptors have changed in their request, except for its signal.
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
   * Settles in the same way as a handler's promise, or rejects as soon as the call is over, with
   * its status.
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
        // After the end of the call, its caller no longer gets the error.
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

/** The status of a call that is over, for code that still works on it: an error in any case. */
function over(status: Status): Status {
  return status === OK ? COMPLETE : status;
}

// To create an object of these for each call takes a fifth of a small call's time, and most
// handlers use none of them. A proxy of the call has them, and only them, and reads each when it is
// used.
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

/** The status of a call on a server whose deadline has passed. */
export const DEADLINE_PASSED: Status = {
  code: Code.DEADLINE_EXCEEDED,
  message: "the deadline has passed",
};

const OVERRUN: Status = {
  code: Code.RESOURCE_EXHAUSTED,
  message: "the handler does not take its messages, which holds up the connection: " +
    "take them faster, or raise limits.connectionQueueBytes",
};
