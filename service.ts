/**
 * Services and their methods: descriptors, call options, and the types of clients and handlers.
 *
 * @module
 */

import {
  type Codec,
  type DescMessage,
  type DescService,
  type MessageInitShape,
  type MessageShape,
  schemaCodec,
} from "./codec.ts";
import type { Metadata, MetadataInit } from "./metadata.ts";
import { Method, type MethodDescriptor, type MethodKind } from "./engine/method.ts";

/**
 * The descriptor of a service with custom codecs, for programs without protobuf-es.
 *
 * @category Services and calls
 */
export interface ServiceDescriptor {
  /** The full name, such as `pkg.Service`. */
  readonly typeName: string;
  /** The methods, by their names in TypeScript. */
  readonly method: Readonly<Record<string, MethodDescriptor>>;
}

/**
 * The descriptor of a service: protobuf-es's, or one with custom codecs.
 *
 * @category Services and calls
 */
export type AnyService = DescService | ServiceDescriptor;

/**
 * Options of a call. A handler's context is valid call options, too.
 *
 * @category Services and calls
 */
export interface CallOptions {
  /**
   * Cancels the call, which then ends at once with `CANCELLED`, or with `DEADLINE_EXCEEDED` if the
   * signal is that of `AbortSignal.timeout()`.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * How long the call may take, in milliseconds; after that it ends with `DEADLINE_EXCEEDED`, on
   * the client and on the server. At zero or less, the deadline has passed already. Without a
   * timeout, there is no deadline.
   */
  readonly timeoutMs?: number | undefined;
  /** The metadata to send with the request. */
  readonly metadata?: MetadataInit | undefined;
}

/**
 * The context of a call, which its handler gets together with the request.
 *
 * It is valid {@linkcode CallOptions}: passed to a call of another service, it passes on the
 * deadline, the metadata and the cancellation.
 *
 * @category Services and calls
 */
export interface HandlerContext extends CallOptions {
  /**
   * Aborted when the call is over, however it ended: its deadline passed, the connection was lost,
   * the server is being closed, or the handler itself is done.
   *
   * An error that a listener throws goes to the server's `onError`, and the other listeners are
   * still called. The promise of an async listener is ignored, so it must not reject.
   */
  readonly signal: AbortSignal;
  /** The time until the deadline, in milliseconds; `undefined` if there is none. */
  readonly timeoutMs: number | undefined;
  /** The metadata of the request. */
  readonly metadata: Metadata;
  /** The full name of the service, such as `pkg.Service`. */
  readonly service: string;
  /** The name of the method, such as `SayHello`. */
  readonly method: string;
  /** The connection on which the call came. */
  readonly connection: ConnectionInfo;
}

/**
 * A client's connection, as handlers and interceptors see it.
 *
 * @category Services and calls
 */
export interface ConnectionInfo {
  /** The address of the client, if known. */
  readonly remoteAddr: Deno.Addr | undefined;
  /**
   * Values that interceptors and handlers keep for later calls on the same connection. They are
   * dropped when it ends.
   */
  readonly values: Map<unknown, unknown>;
}

/**
 * Call options that can be set for all calls of a client, or of a service client.
 *
 * @category Services and calls
 */
export type CallDefaults = Pick<CallOptions, "timeoutMs" | "metadata">;

/**
 * Messages to send one by one: any iterable, such as an array, a generator or a `ReadableStream`.
 *
 * @category Services and calls
 */
export type Messages<T> = AsyncIterable<T> | Iterable<T>;

/**
 * Received messages, one by one. To leave a `for await` loop early, `return()` and disposal stop
 * the stream: a client then cancels the call, a server drops the messages that are left.
 *
 * @category Services and calls
 */
export interface MessageStream<T> extends AsyncIterableIterator<T>, AsyncDisposable {
  /**
   * Stops the stream.
   *
   * @returns A result without a message.
   */
  return(): Promise<IteratorResult<T>>;
  /**
   * Stops the stream.
   *
   * @param error The error.
   * @returns A promise that rejects with the error.
   */
  throw(error?: unknown): Promise<IteratorResult<T>>;
  /**
   * Makes the stream iterable.
   *
   * @returns The stream itself.
   */
  [Symbol.asyncIterator](): MessageStream<T>;
}

/**
 * A method as a client calls it. `Init` is what a request can be created from.
 *
 * @category Generated code
 */
export type ClientMethod<Kind extends MethodKind, Init, Response> = {
  unary: (request: Init, options?: CallOptions) => Promise<Response>;
  server_streaming: (request: Init, options?: CallOptions) => MessageStream<Response>;
  client_streaming: (requests: Messages<Init>, options?: CallOptions) => Promise<Response>;
  bidi_streaming: (requests: Messages<Init>, options?: CallOptions) => MessageStream<Response>;
}[Kind];

/**
 * A method as a server implements it. `Init` is what a response can be created from. A client's
 * method is one as well.
 *
 * @category Generated code
 */
export type HandlerMethod<Kind extends MethodKind, Request, Init> = {
  unary: (request: Request, context: HandlerContext) => Init | Promise<Init>;
  server_streaming: (request: Request, context: HandlerContext) => Messages<Init>;
  client_streaming: (
    requests: MessageStream<Request>,
    context: HandlerContext,
  ) => Init | Promise<Init>;
  bidi_streaming: (requests: MessageStream<Request>, context: HandlerContext) => Messages<Init>;
}[Kind];

/**
 * A received message of a schema or a codec.
 *
 * @category Generated code
 */
export type MessageOf<Type> = Type extends DescMessage ? MessageShape<Type>
  : Type extends Codec<infer Message, infer _> ? Message
  : never;

/**
 * What a message of a schema or a codec can be created from.
 *
 * @category Generated code
 */
export type MessageInitOf<Type> = Type extends DescMessage ? MessageInitShape<Type>
  : Type extends Codec<infer _, infer Init> ? Init
  : never;

/**
 * The descriptors of a service's methods, by their names on clients and handler objects. A method
 * `then` is called `then$` there: an object with a method `then` is a thenable, which `await`
 * calls.
 *
 * @category Generated code
 */
export type NamedMethods<Service extends AnyService> = string extends keyof Service["method"]
  ? Service["method"]
  : "then" extends keyof Service["method"]
    ? Omit<Service["method"], "then"> & { then$: Service["method"]["then"] }
  : Service["method"];

/**
 * A service of protobuf-es with generated types of its client and handlers, as
 * `protoc-gen-ttrpc-es` generates it. At run time it is protobuf-es's descriptor.
 *
 * @category Generated code
 * @typeParam Client The type of its clients.
 * @typeParam Handlers The type of its handlers.
 */
export type TypedService<Client, Handlers> = DescService & {
  /** Carries the types. It does not exist at run time. */
  readonly "~types"?: { readonly client: Client; readonly handlers: Handlers };
};

/**
 * A client of a service: an object with a function for each method.
 *
 * @category Services and calls
 */
export type ServiceClient<Service extends AnyService> = "~types" extends keyof Service
  ? NonNullable<Service["~types"]> extends { readonly client: infer Client } ? Client : never
  : DerivedClient<Service>;

/**
 * The handlers of a service: an object with a function for each method.
 *
 * @category Services and calls
 */
export type ServiceHandlers<Service extends AnyService> = "~types" extends keyof Service
  ? NonNullable<Service["~types"]> extends { readonly handlers: infer Handlers } ? Handlers : never
  : DerivedHandlers<Service>;

/**
 * A {@linkcode ServiceClient} whose types are derived from the descriptor.
 *
 * @category Generated code
 */
export type DerivedClient<Service extends AnyService> = {
  [Name in keyof NamedMethods<Service>]: ClientMethod<
    NamedMethods<Service>[Name]["methodKind"],
    MessageInitOf<NamedMethods<Service>[Name]["input"]>,
    MessageOf<NamedMethods<Service>[Name]["output"]>
  >;
};

/**
 * {@linkcode ServiceHandlers} whose types are derived from the descriptor.
 *
 * @category Generated code
 */
export type DerivedHandlers<Service extends AnyService> = {
  [Name in keyof NamedMethods<Service>]: HandlerMethod<
    NamedMethods<Service>[Name]["methodKind"],
    MessageOf<NamedMethods<Service>[Name]["input"]>,
    MessageInitOf<NamedMethods<Service>[Name]["output"]>
  >;
};

const known = new WeakMap<AnyService, ReadonlyMap<string, Method>>();

/**
 * The methods of a service.
 *
 * @param service The descriptor.
 * @returns The methods, by their names on clients and handler objects.
 * @throws {TypeError} If it is not a descriptor, or is protobuf-es's and only the core is imported.
 */
export function methodsOf(service: AnyService): ReadonlyMap<string, Method> {
  if (typeof service?.typeName !== "string" || typeof service.method !== "object") {
    throw new TypeError(`Cannot use ${service} as a service: it is not a service descriptor`);
  }
  let methods = known.get(service);
  if (!methods) {
    methods = new Map(
      Object.entries(service.method).map(([name, descriptor]) => [
        name === "then" ? "then$" : name,
        new Method(service.typeName, withCodecs(descriptor)),
      ]),
    );
    known.set(service, methods);
  }
  return methods;
}

function withCodecs(
  descriptor: MethodDescriptor | DescService["method"][string],
): MethodDescriptor {
  if (!("kind" in descriptor)) return descriptor;
  const { name, methodKind, idempotency, input, output } = descriptor;
  return {
    name,
    methodKind,
    idempotency,
    input: schemaCodec(input),
    output: schemaCodec(output),
  };
}
