/**
 * Methods: two names, a kind and two codecs, which is all that the engine knows about them.
 *
 * @module
 */

import type { Codec } from "../codec.ts";
import { encodeMethod } from "../wire/envelope.ts";

/**
 * The kinds of method, as protobuf-es names them.
 *
 * @category Services and calls
 */
export type MethodKind = "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";

/**
 * The idempotency levels of methods, with protobuf's numbers: whether a method may be called more
 * than once.
 *
 * @category Services and calls
 */
export const Idempotency = {
  /** Not known. */
  Unknown: 0,
  /** The method has no side effects. */
  NoSideEffects: 1,
  /** To call the method repeatedly has the same effect as to call it once. */
  Idempotent: 2,
} as const;

/**
 * The descriptor of a method with custom codecs.
 *
 * @category Services and calls
 * @typeParam Kind The kind of the method.
 * @typeParam Request The codec of its requests.
 * @typeParam Response The codec of its responses.
 */
export interface MethodDescriptor<
  Kind extends MethodKind = MethodKind,
  // deno-lint-ignore no-explicit-any -- so that methods of any messages extend this
  Request extends Codec<any, any> = Codec<any, any>,
  // deno-lint-ignore no-explicit-any -- the same
  Response extends Codec<any, any> = Codec<any, any>,
> {
  /** The name on the wire, such as `SayHello`. */
  readonly name: string;
  /** The kind of the method. */
  readonly methodKind: Kind;
  /** The codec of the requests. */
  readonly input: Request;
  /** The codec of the responses. */
  readonly output: Response;
  /** One of {@linkcode Idempotency}. `Idempotency.Unknown` by default. */
  readonly idempotency?: 0 | 1 | 2;
}

/** A method, as the engine uses it. */
export class Method {
  /** The full name of the service. */
  readonly service: string;
  /** The name on the wire. */
  readonly name: string;
  /** The service and the method, as `pkg.Service/Method`. */
  readonly path: string;
  /** The kind. */
  readonly kind: MethodKind;
  /** Whether it takes more than one request. */
  readonly clientStreaming: boolean;
  /** Whether it returns more than one response. */
  readonly serverStreaming: boolean;
  /** The codec of the requests. */
  readonly input: Codec<unknown>;
  /** The codec of the responses. */
  readonly output: Codec<unknown>;
  /** Whether it may be called again when it is not known whether a call has reached the server. */
  readonly idempotent: boolean;
  #encoded: Uint8Array | undefined;

  /**
   * @param service The full name of the service.
   * @param descriptor The name, kind and codecs.
   */
  constructor(service: string, descriptor: MethodDescriptor) {
    this.service = service;
    this.name = descriptor.name;
    this.path = `${service}/${descriptor.name}`;
    this.kind = descriptor.methodKind;
    this.clientStreaming = this.kind === "client_streaming" || this.kind === "bidi_streaming";
    this.serverStreaming = this.kind === "server_streaming" || this.kind === "bidi_streaming";
    this.input = descriptor.input;
    this.output = descriptor.output;
    this.idempotent = (descriptor.idempotency ?? Idempotency.Unknown) !== Idempotency.Unknown;
  }

  /** The part of a Request that is the same for every call. */
  get encoded(): Uint8Array {
    return this.#encoded ??= encodeMethod(this.service, this.name);
  }
}
