/**
 * Services and their methods: what a descriptor says, and the types that follow from it.
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
 * A service with codecs of one's own: what a program uses that does without protobuf-es.
 *
 * @category Services and calls
 */
export interface ServiceDescriptor {
  /** The full name, such as `pkg.Service`. */
  readonly typeName: string;
  /** The methods, by the name that they have in TypeScript. */
  readonly method: Readonly<Record<string, MethodDescriptor>>;
}

/**
 * What describes a service: protobuf-es's descriptor, or one with codecs of one's own.
 *
 * @category Services and calls
 */
export type AnyService = DescService | ServiceDescriptor;

/**
 * How a call is to be made. What a handler gets as its context is such options, too.
 *
 * @category Services and calls
 */
export interface CallOptions {
  /**
   * Aborts the call, which then ends at once with `CANCELLED`, or with `DEADLINE_EXCEEDED` if the
   * signal is that of `AbortSignal.timeout()`.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * How long the call may take, in milliseconds: it ends with `DEADLINE_EXCEEDED` then. The server
   * is told. Zero and less mean that the deadline has passed; without it the call may last for ever.
   */
  readonly timeoutMs?: number | undefined;
  /** What travels beside the request. */
  readonly metadata?: MetadataInit | undefined;
}

/**
 * What a handler knows of its call beside the request.
 *
 * It is valid {@linkcode CallOptions}: passed on to a call of another service, it carries the
 * deadline, the metadata and the cancellation along.
 *
 * @category Services and calls
 */
export interface HandlerContext extends CallOptions {
  /**
   * Aborted when the call is over, however it ended: its deadline passed, the connection was lost,
   * the server is being closed, or the handler itself is done.
   *
   * What a listener throws goes to the server's `onError`; the other listeners are called all the
   * same. What an async listener rejects with is a promise of its own, which nobody catches.
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
  /** Who calls. */
  readonly connection: ConnectionInfo;
}

/**
 * What a handler knows of the connection that its call came on.
 *
 * @category Services and calls
 */
export interface ConnectionInfo {
  /** The address of the client, as far as the connection knows. */
  readonly remoteAddr: Deno.Addr | undefined;
  /**
   * Values of this connection, which an interceptor or a handler sets and later calls on the same
   * connection read. They go when it ends.
   */
  readonly values: Map<unknown, unknown>;
}

/**
 * The options that may be set for all calls of a client or of a service.
 *
 * @category Services and calls
 */
export type CallDefaults = Pick<CallOptions, "timeoutMs" | "metadata">;

/**
 * The messages that a peer takes or sends one by one.
 *
 * @category Services and calls
 */
export type Messages<T> = AsyncIterable<T> | Iterable<T>;

/**
 * The messages that are received one by one. Leaving a `for await` loop early, `return()` and
 * disposal release the call.
 *
 * @category Services and calls
 */
export interface MessageStream<T> extends AsyncIterableIterator<T>, AsyncDisposable {
  /** Gives up the rest. */
  return(): Promise<IteratorResult<T>>;
  /** Gives up the rest, and rejects with the error. */
  throw(error?: unknown): Promise<IteratorResult<T>>;
  /** The stream itself. */
  [Symbol.asyncIterator](): MessageStream<T>;
}

/**
 * A method as a client calls it. `Init` is what a request can be made of.
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
 * A method as a server implements it. `Init` is what a response can be made of. A client's method
 * is one as well.
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
 * A message of a schema or a codec, as it is received.
 *
 * @category Generated code
 */
export type MessageOf<Type> = Type extends DescMessage ? MessageShape<Type>
  : Type extends Codec<infer Message, infer _> ? Message
  : never;

/**
 * What a message of a schema or a codec can be made of.
 *
 * @category Generated code
 */
export type MessageInitOf<Type> = Type extends DescMessage ? MessageInitShape<Type>
  : Type extends Codec<infer _, infer Init> ? Init
  : never;

/**
 * The descriptors of a service's methods, by the names that these have on clients and on handler
 * objects. A method called `then` would make the object a thenable, which `await` calls, so it
 * gets a dollar sign.
 *
 * @category Generated code
 */
export type NamedMethods<Service extends AnyService> = string extends keyof Service["method"]
  ? Service["method"]
  : "then" extends keyof Service["method"]
    ? Omit<Service["method"], "then"> & { then$: Service["method"]["then"] }
  : Service["method"];

/**
 * A service of protobuf-es whose methods have types of their own: what `protoc-gen-ttrpc-es`
 * generates. At run time it is protobuf-es's descriptor.
 *
 * @category Generated code
 * @typeParam Client What a client of it looks like.
 * @typeParam Handlers What implements it.
 */
export type TypedService<Client, Handlers> = DescService & {
  /** There is no such property: it carries the types. */
  readonly "~types"?: { readonly client: Client; readonly handlers: Handlers };
};

/**
 * The methods of a service as a client calls them.
 *
 * @category Services and calls
 */
export type ServiceClient<Service extends AnyService> = "~types" extends keyof Service
  ? NonNullable<Service["~types"]> extends { readonly client: infer Client } ? Client : never
  : DerivedClient<Service>;

/**
 * The methods of a service as a server implements them.
 *
 * @category Services and calls
 */
export type ServiceHandlers<Service extends AnyService> = "~types" extends keyof Service
  ? NonNullable<Service["~types"]> extends { readonly handlers: infer Handlers } ? Handlers : never
  : DerivedHandlers<Service>;

/**
 * A {@linkcode ServiceClient} whose types follow from the descriptor.
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
 * {@linkcode ServiceHandlers} whose types follow from the descriptor.
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
 * The methods that a descriptor describes.
 *
 * @param service The descriptor.
 * @returns The methods, by the names they have on clients and handlers.
 * @throws {TypeError} If it is no descriptor, or one of protobuf-es and only the core is imported.
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
