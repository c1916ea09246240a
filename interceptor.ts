/**
 * Interceptors: what stands around every call of a client or of a server.
 *
 * @module
 */

import type { Metadata } from "./metadata.ts";
import type { HandlerContext, Messages, Method, MethodKind } from "./service.ts";

/** What an interceptor knows of a method. */
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

/** What all requests have. An interceptor may pass on another request than it was given. */
export interface InterceptedCall {
  /** What travels beside the request. May be changed in place. */
  readonly metadata: Metadata;
  /** What the call may take, in milliseconds; on a server, what is left. */
  readonly timeoutMs: number | undefined;
  /** Aborted when the call is given up. On a server, always there. */
  readonly signal: AbortSignal | undefined;
  /** On a server, the context that the handler will get. */
  readonly context?: HandlerContext;
}

/** The request of a method that takes one message. */
export interface SingleRequest<Kind extends MethodKind> extends InterceptedCall {
  /** The method. */
  readonly method: MethodInfo<Kind>;
  /** Which kind it is. */
  readonly kind: Kind;
  /** The message: as the caller gave it, or on a server as it came. */
  readonly message: unknown;
}

/** The request of a method that takes many messages. */
export interface StreamRequest<Kind extends MethodKind> extends InterceptedCall {
  /** The method. */
  readonly method: MethodInfo<Kind>;
  /** Which kind it is. */
  readonly kind: Kind;
  /** The messages. */
  readonly message: Messages<unknown>;
}

/** A request of any kind of method. */
export type InterceptedRequest =
  | SingleRequest<"unary">
  | SingleRequest<"server_streaming">
  | StreamRequest<"client_streaming">
  | StreamRequest<"bidi_streaming">;

/** The response of a method that gives one message. */
export interface SingleResponse<Kind extends MethodKind> {
  /** Which kind the method is. */
  readonly kind: Kind;
  /** The message. */
  readonly message: unknown;
}

/** The response of a method that gives many messages. */
export interface StreamResponse<Kind extends MethodKind> {
  /** Which kind the method is. */
  readonly kind: Kind;
  /** The messages. An interceptor that wraps them passes on their end, early or not. */
  readonly message: Messages<unknown>;
}

/** A response of any kind of method. */
export type InterceptedResponse =
  | SingleResponse<"unary">
  | StreamResponse<"server_streaming">
  | SingleResponse<"client_streaming">
  | StreamResponse<"bidi_streaming">;

/** Makes a call: the next interceptor, or the call itself. */
export type Invoke = (request: InterceptedRequest) => Promise<InterceptedResponse>;

/**
 * Stands around calls. It is called with what comes next, once for each method of a service or a
 * service client, and for each raw call; what it returns is called for each call. The first interceptor of a list is the outermost: it sees requests first
 * and responses last.
 *
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
 * @param interceptors The outermost first.
 * @param invoke The call itself.
 * @returns What makes an intercepted call.
 */
export function intercept(interceptors: readonly Interceptor[], invoke: Invoke): Invoke {
  return interceptors.reduceRight((next, interceptor) => interceptor(next), invoke);
}

/**
 * The request that interceptors see.
 *
 * @param method The method.
 * @param message Its message or messages.
 * @param call The rest.
 * @returns Both.
 */
export function interceptedRequest(
  method: Method,
  message: unknown,
  call: InterceptedCall,
): InterceptedRequest {
  return { ...call, method, kind: method.kind, message } as InterceptedRequest;
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
