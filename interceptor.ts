/**
 * Interceptors: code that runs around every call of a client or of a server.
 *
 * @module
 */

import type { Metadata } from "./metadata.ts";
import type { Method, MethodKind } from "./engine/method.ts";
import type { HandlerContext, Messages } from "./service.ts";
import type { MessageSizes } from "./engine/stream.ts";

/**
 * What an interceptor knows of a method. Of a request that a server could not read, it knows
 * nothing: service and name are empty. A method that a server does not have counts as unary.
 *
 * @category Interceptors
 */
export interface MethodInfo<Kind extends MethodKind = MethodKind> {
  /** The full name of the service, such as `pkg.Service`. */
  readonly service: string;
  /** The name of the method, such as `SayHello`. */
  readonly name: string;
  /** Both, as `pkg.Service/SayHello`. */
  readonly path: string;
  /** The kind. */
  readonly kind: Kind;
  /** Whether the proto file marks it as idempotent, or as having no side effects. */
  readonly idempotent: boolean;
}

/**
 * What all requests have. An interceptor may pass on another request than it was given.
 *
 * @category Interceptors
 */
export interface InterceptedCall {
  /** What travels beside the request. May be changed in place. */
  readonly metadata: Metadata;
  /**
   * What the call may take, in milliseconds; on a server, what is left. An interceptor can pass on
   * less, not more: the call ends at its deadline, and what is passed on after that is refused.
   */
  readonly timeoutMs: number | undefined;
  /**
   * Aborted when the call is given up: by its deadline, its caller, or because the client is
   * closed. On a server, when the call is over; its `reason` says how, if it was not answered well.
   *
   * What a listener throws goes to `onError` on a server. On a client it is dropped: the call is
   * over, and there is nobody left to tell.
   */
  readonly signal: AbortSignal | undefined;
  /** On a client, the server's address, as `client.address` has it. */
  readonly address?: string | undefined;
  /** The encoded bytes of the call's messages so far. The numbers grow with the call. */
  readonly sizes: Readonly<MessageSizes>;
  /** On a server, the context that the handler will get. */
  readonly context?: HandlerContext;
}

/**
 * The request of a method that takes one message.
 *
 * @category Interceptors
 */
export interface SingleRequest<Kind extends MethodKind> extends InterceptedCall {
  /** The method. */
  readonly method: MethodInfo<Kind>;
  /** Which kind it is. */
  readonly kind: Kind;
  /**
   * The message: as the caller gave it, or on a server as it came; `undefined` for a call that the
   * server refuses.
   */
  readonly message: unknown;
}

/**
 * The request of a method that takes many messages.
 *
 * @category Interceptors
 */
export interface StreamRequest<Kind extends MethodKind> extends InterceptedCall {
  /** The method. */
  readonly method: MethodInfo<Kind>;
  /** Which kind it is. */
  readonly kind: Kind;
  /** The messages; none for a call that the server refuses. */
  readonly message: Messages<unknown>;
}

/**
 * A request of any kind of method.
 *
 * @category Interceptors
 */
export type InterceptedRequest =
  | SingleRequest<"unary">
  | SingleRequest<"server_streaming">
  | StreamRequest<"client_streaming">
  | StreamRequest<"bidi_streaming">;

/**
 * The response of a method that gives one message.
 *
 * @category Interceptors
 */
export interface SingleResponse<Kind extends MethodKind> {
  /** Which kind the method is. */
  readonly kind: Kind;
  /** The message. */
  readonly message: unknown;
}

/**
 * The response of a method that gives many messages.
 *
 * @category Interceptors
 */
export interface StreamResponse<Kind extends MethodKind> {
  /** Which kind the method is. */
  readonly kind: Kind;
  /** The messages. An interceptor that wraps them passes on their end, early or not. */
  readonly message: Messages<unknown>;
}

/**
 * A response of any kind of method.
 *
 * @category Interceptors
 */
export type InterceptedResponse =
  | SingleResponse<"unary">
  | StreamResponse<"server_streaming">
  | SingleResponse<"client_streaming">
  | StreamResponse<"bidi_streaming">;

/**
 * Makes a call: the next interceptor, or the call itself.
 *
 * @category Interceptors
 */
export type Invoke = (request: InterceptedRequest) => Promise<InterceptedResponse>;

/**
 * Code around calls. It is called with what comes next, once for each method of a service or a
 * service client, and for each raw method; what it returns is called for each call. The first
 * interceptor of a list is the outermost: it sees requests first and responses last.
 *
 * A server's interceptors see every call, also those that the server refuses: of unknown methods,
 * that cannot be read, over a limit, or during a shutdown. For these `next()` rejects with the
 * error that will be answered. It also rejects as soon as a call is over, whatever its handler
 * does.
 *
 * @category Interceptors
 * @example Time every call
 * ```ts
 * import type { Interceptor } from "@ttrpc/ttrpc";
 *
 * const timer: Interceptor = (next) => async (request) => {
 *   const start = performance.now();
 *   try {
 *     return await next(request);
 *   } finally {
 *     console.log(request.method.path, performance.now() - start, "ms");
 *   }
 * };
 * ```
 */
export type Interceptor = (next: Invoke) => Invoke;

/**
 * Runs interceptors around a call.
 *
 * @param interceptors The outermost first.
 * @param invoke The call itself.
 * @returns What makes an intercepted call.
 */
export function intercept(interceptors: readonly Interceptor[], invoke: Invoke): Invoke {
  return interceptors.reduceRight((next, interceptor) => interceptor(next), invoke);
}

/**
 * The response that interceptors see.
 *
 * @param method The method.
 * @param message Its message or messages.
 * @returns Both.
 */
export function interceptedResponse(method: Method, message: unknown): InterceptedResponse {
  return { kind: method.kind, message } as InterceptedResponse;
}
