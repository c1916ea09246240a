/**
 * Calls of clients with interceptors. An interceptor may wait, call `next()` more than once, or not
 * at all; in any case, the call ends at its deadline, by its signal, and with its client.
 *
 * @module
 */

import { type CallSettings, deadlineAfter, takeOptions } from "./call_options.ts";
import { type ClientCall, deadlineStatus } from "./client_call.ts";
import type { Deadlines, Expirable } from "../async/deadlines.ts";
import {
  intercept,
  type InterceptedRequest,
  interceptedResponse,
  type Interceptor,
  type Invoke,
} from "../interceptor.ts";
import { DONE, iterate, MessageIterator } from "./messages.ts";
import { Metadata } from "../metadata.ts";
import type { Method } from "./method.ts";
import type { CallDefaults, CallOptions, Messages } from "../service.ts";
import { abort, type Abortable, unwatchSignal, watchSignal } from "../async/signals.ts";
import { abortStatus, Code, describe, RpcError, type Status, statusError } from "../status.ts";
import type { MessageSizes } from "./stream.ts";

/** What intercepted calls need of their client. */
export interface InterceptingClient {
  /** The address of the server, as text. */
  readonly address: string;
  /** Watches the deadlines of calls. */
  readonly deadlines: Deadlines;
  /** The guards that the client ends when it is closed. */
  readonly guards: Set<Guard>;
  /** The status of further calls, if the client is closed. */
  readonly closed: Status | undefined;
  /** Makes one attempt at a call. Returns a promise of a message, or an iterable of messages. */
  call(guard: Guard, method: Method, request: InterceptedRequest): unknown;
}

/** Makes the calls of a method. */
export type Caller = (
  request: unknown,
  options: CallOptions | undefined,
  defaults: CallDefaults | undefined,
) => unknown;

/** The key under which a request, and any copy that an interceptor makes, has its guard. */
const GUARD = Symbol("guard");

type GuardedRequest = InterceptedRequest & { readonly [GUARD]?: Guard };

/** Takes the place of a response if the call is over. */
const OVER = Symbol("over");

/** Ends an intercepted call and its attempts, whatever the interceptors do. */
export class Guard implements Abortable, Expirable {
  readonly deadline: number;
  /** The bytes of all messages, over all attempts. */
  readonly sizes: MessageSizes = { sent: 0, received: 0 };
  readonly #settings: CallSettings;
  readonly #client: InterceptingClient;
  readonly #controller = new AbortController();
  readonly #waiting = new Set<() => void>();
  readonly #attempts = new Set<ClientCall>();
  #holds = 0;
  #over: Status | undefined;

  /**
   * @param settings The options of the call.
   * @param client The client.
   */
  constructor(settings: CallSettings, client: InterceptingClient) {
    this.deadline = settings.deadline;
    this.#settings = settings;
    this.#client = client;
  }

  /** Why the call was ended before it had a response, if it was. */
  get over(): Status | undefined {
    return this.#over;
  }

  /** The request that interceptors see. */
  request(method: Method, message: unknown): InterceptedRequest {
    const { metadata, timeoutMs } = this.#settings;
    return {
      method,
      kind: method.kind,
      message,
      metadata: metadata ?? new Metadata(),
      timeoutMs,
      signal: this.#controller.signal,
      address: this.#client.address,
      sizes: this.sizes,
      [GUARD]: this,
    } as InterceptedRequest;
  }

  /**
   * The options of an attempt. Its deadline is that of the call, or an earlier one.
   *
   * @throws {RpcError} If the call is over.
   * @throws {RangeError | TypeError} If the request is invalid.
   */
  attempt(request: InterceptedRequest): CallSettings {
    if (this.deadline !== Infinity && this.deadline <= performance.now()) this.expire();
    if (this.#over) throw statusError(this.#over, request.method.path);
    const { timeoutMs, signal } = request;
    const metadata = request.metadata.size === 0 ? undefined : new Metadata(request.metadata);
    const own = signal === this.#controller.signal ? undefined : signal;
    if (timeoutMs !== undefined && timeoutMs !== this.#settings.timeoutMs) {
      const deadline = deadlineAfter(timeoutMs);
      if (deadline < this.deadline) return { metadata, timeoutMs, deadline, signal: own };
    }
    const { timeoutMs: given, deadline } = this.#settings;
    return { metadata, timeoutMs: given, deadline, signal: own };
  }

  /** An attempt was made. */
  attempted(call: ClientCall): void {
    call.sizes = this.sizes;
    if (call.status) return;
    call.guard = this;
    this.#attempts.add(call);
    this.hold();
  }

  /** An attempt has ended. */
  attemptEnded(call: ClientCall): void {
    if (this.#attempts.delete(call)) this.drop();
  }

  /** Watches the call until `drop()` was called as often: nothing waits for it then. */
  hold(): void {
    if (this.#holds++ > 0 || this.#over) return;
    const { signal } = this.#settings;
    const { closed, deadlines, guards } = this.#client;
    if (closed) this.end(closed);
    else if (signal?.aborted) this.aborted();
    else {
      guards.add(this);
      if (signal) watchSignal(signal, this);
      deadlines.add(this);
    }
  }

  /** See {@linkcode Guard.hold}. */
  drop(): void {
    if (--this.#holds === 0) this.#unwatch();
  }

  /** Settles in the same way as a promise, or with {@linkcode OVER} as soon as the call is over. */
  first<T>(promise: PromiseLike<T>): Promise<T | typeof OVER> {
    return new Promise((resolve, reject) => {
      const tell = () => resolve(OVER);
      if (this.#over) tell();
      else this.#waiting.add(tell);
      promise.then((value) => {
        this.#waiting.delete(tell);
        resolve(value);
      }, (error) => {
        this.#waiting.delete(tell);
        reject(error);
      });
    });
  }

  /** The caller has its response. Attempts that are still running are cancelled. */
  finish(): void {
    this.#over ??= GIVEN_UP;
    for (const call of [...this.#attempts]) call.cancel(GIVEN_UP);
  }

  /** Ends the call, its attempts, and any wait for it. */
  end(status: Status): void {
    if (this.#over) return;
    this.#over = status;
    this.#unwatch();
    for (const call of [...this.#attempts]) call.cancel(status);
    for (const tell of this.#waiting) tell();
    abort(this.#controller, reasonOf(status));
  }

  aborted(): void {
    this.end(abortStatus(this.#settings.signal!));
  }

  expire(): void {
    this.end(deadlineStatus(this.#settings.timeoutMs));
  }

  #unwatch(): void {
    const { signal } = this.#settings;
    this.#client.guards.delete(this);
    this.#client.deadlines.delete(this);
    if (signal) unwatchSignal(signal, this);
  }
}

const GIVEN_UP: Status = { code: Code.CANCELLED, message: "the caller gave up" };

/** The reason for aborting `request.signal`: the caller's, if there is one. */
function reasonOf({ code, message, cause }: Status): unknown {
  if (cause !== undefined) return cause;
  if (code === Code.DEADLINE_EXCEEDED) return new DOMException(message, "TimeoutError");
  return new DOMException(message, "AbortError");
}

/**
 * Returns the function that makes the calls of a method, through the interceptors.
 *
 * @param interceptors The interceptors, outermost first.
 * @param method The method.
 * @param client The client.
 * @returns Makes a call.
 */
export function interceptedCaller(
  interceptors: readonly Interceptor[],
  method: Method,
  client: InterceptingClient,
): Caller {
  const invoke = intercept(interceptors, async (request) => {
    const guard = (request as GuardedRequest)[GUARD];
    if (!guard) {
      throw new TypeError(
        `Cannot call ${method.path}: an interceptor has to pass on its request, or a copy`,
      );
    }
    return interceptedResponse(method, await client.call(guard, method, request));
  });
  if (method.serverStreaming) {
    return (message, options, defaults) => {
      const guard = new Guard(takeOptions(options, defaults), client);
      return new InterceptedMessages(guard, invoke, method, message);
    };
  }
  return async (message, options, defaults) => {
    const guard = new Guard(takeOptions(options, defaults), client);
    guard.hold();
    try {
      const response = await guard.first(invoke(guard.request(method, message)));
      if (response === OVER) throw statusError(guard.over!, method.path);
      return response.message;
    } catch (error) {
      throw asRpcError(error, method.path);
    } finally {
      guard.finish();
      guard.drop();
    }
  };
}

/** The messages of a call that interceptors may not have started yet. */
class InterceptedMessages extends MessageIterator<unknown> {
  readonly #guard: Guard;
  readonly #path: string;
  readonly #iterator: Promise<AsyncIterator<unknown> | Iterator<unknown>>;
  #done = false;

  constructor(guard: Guard, invoke: Invoke, method: Method, message: unknown) {
    super();
    this.#guard = guard;
    this.#path = method.path;
    guard.hold();
    this.#iterator = (async () => {
      try {
        return iterate((await invoke(guard.request(method, message))).message as Messages<unknown>);
      } finally {
        guard.drop();
      }
    })();
    this.#iterator.catch(() => {}); // `next()` rejects with the error
  }

  async next(): Promise<IteratorResult<unknown>> {
    if (this.#done) return DONE;
    const guard = this.#guard;
    guard.hold();
    try {
      const next = this.#iterator.then((iterator) => iterator.next());
      const result = await guard.first(next);
      if (this.#done) return DONE;
      if (result === OVER) throw statusError(guard.over!, this.#path);
      if (result.done) this.#finish();
      return result;
    } catch (error) {
      if (this.#done) return DONE;
      this.#finish();
      throw asRpcError(error, this.#path);
    } finally {
      guard.drop();
    }
  }

  protected stop(): void {
    if (this.#done) return;
    this.#done = true;
    this.#guard.end(GIVEN_UP);
    // What interceptors do after that has no effect on the caller.
    this.#iterator.then((iterator) => iterator.return?.()).catch(() => {});
  }

  #finish(): void {
    this.#done = true;
    this.#guard.finish();
  }
}

/** Converts what an interceptor has thrown into the error that the caller gets. */
function asRpcError(error: unknown, method: string): RpcError {
  if (error instanceof RpcError) return error;
  return new RpcError(Code.UNKNOWN, describe(error), { method, cause: error });
}
