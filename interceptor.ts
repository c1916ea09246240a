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
 * The method of an intercepted call. If a server could not decode the request, service and name are
 * empty. A method that a server does not have counts as unary.
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
  /** The kind of the method. */
  readonly kind: Kind;
  /** Whether the proto file marks the method as idempotent, or as having no side effects. */
  readonly idempotent: boolean;
}

/**
 * What all intercepted requests have. An interceptor may pass on a changed copy of its request.
 *
 * @category Interceptors
 */
export interface InterceptedCall {
  /** The metadata of the request. May be changed in place. */
  readonly metadata: Metadata;
  /**
   * The timeout of the call, in milliseconds; on a server, the time until its deadline. `undefined`
   * if there is no deadline. An interceptor can pass on less, not more: the call ends at its
   * deadline, and `next()` rejects after that.
   */
  readonly timeoutMs: number | undefined;
  /**
   * On a client, aborted when the call is cancelled, its deadline passes, or the client is closed.
   * On a server, aborted when the call is over; its `reason` tells how the call ended.
   *
   * An error that a listener throws goes to `onError` on a server. On a client it is dropped,
   * because the call is over already.
   */
  readonly signal: AbortSignal | undefined;
  /** On a client, the server's address, the same as `client.address`. */
  readonly address?: string | undefined;
  /** The encoded bytes of the call's messages so far. The numbers grow during the call. */
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
  /** The kind of the method. */
  readonly kind: Kind;
  /**
   * The message: on a client, as the caller passed it; on a server, decoded, or `undefined` for a
   * call that the server refuses.
   */
  readonly message: unknown;
}

/**
 * The request of a method that takes a stream of messages.
 *
 * @category Interceptors
 */
export interface StreamRequest<Kind extends MethodKind> extends InterceptedCall {
  /** The method. */
  readonly method: MethodInfo<Kind>;
  /** The kind of the method. */
  readonly kind: Kind;
  /** The messages; none for a call that the server refuses. */
  readonly message: Messages<unknown>;
}

/**
 * The request of a method of any kind.
 *
 * @category Interceptors
 */
export type InterceptedRequest =
  | SingleRequest<"unary">
  | SingleRequest<"server_streaming">
  | StreamRequest<"client_streaming">
  | StreamRequest<"bidi_streaming">;

/**
 * The response of a method that returns one message.
 *
 * @category Interceptors
 */
export interface SingleResponse<Kind extends MethodKind> {
  /** The kind of the method. */
  readonly kind: Kind;
  /** The message. */
  readonly message: unknown;
}

/**
 * The response of a method that returns a stream of messages.
 *
 * @category Interceptors
 */
export interface StreamResponse<Kind extends MethodKind> {
  /** The kind of the method. */
  readonly kind: Kind;
  /** The messages. An interceptor that wraps them has to pass on their end, and `return()`. */
  readonly message: Messages<unknown>;
}

/**
 * The response of a method of any kind.
 *
 * @category Interceptors
 */
export type InterceptedResponse =
  | SingleResponse<"unary">
  | StreamResponse<"server_streaming">
  | SingleResponse<"client_streaming">
  | StreamResponse<"bidi_streaming">;

/**
 * Makes a call: through the next interceptor or, in the innermost one, directly.
 *
 * @category Interceptors
 */
export type Invoke = (request: InterceptedRequest) => Promise<InterceptedResponse>;

/**
 * Code that runs around every call. An interceptor is called with `next` once for each method of a
 * service or service client, and for each raw method; the function that it returns is called for
 * each call. The first interceptor of a list is the outermost: it sees requests first and responses
 * last.
 *
 * A server's interceptors see every call, including those that the server refuses: calls of unknown
 * methods, calls over a limit or during a shutdown, and requests that cannot be decoded. For these,
 * `next()` rejects with the error that the client gets. It also rejects as soon as a call is over,
 * even if its handler is still running.
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
 * Puts interceptors around a call.
 *
 * @param interceptors The interceptors, outermost first.
 * @param invoke Makes the call.
 * @returns Makes the call through the interceptors.
 */
export function intercept(interceptors: readonly Interceptor[], invoke: Invoke): Invoke {
  return interceptors.reduceRight((next, interceptor) => interceptor(next), invoke);
}

/**
 * Makes the response that interceptors see.
 *
 * @param method The method.
 * @param message The message, or an iterable of messages.
 * @returns The response.
 */
export function interceptedResponse(method: Method, message: unknown): InterceptedResponse {
  return { kind: method.kind, message } as InterceptedResponse;
}
