/**
 * The client: a connection to a server, and the calls on it.
 *
 * @module
 */

import {
  type Address,
  type ByteConnection,
  dial,
  type DialOptions,
  formatAddress,
  isByteConnection,
  nameOf,
  parseAddress,
} from "./address.ts";
import { Call, withDefaults } from "./call.ts";
import { bytesCodec } from "./codec.ts";
import { Connection } from "./connection.ts";
import { Deadlines } from "./deadline.ts";
import { decodeResponse } from "./envelope.ts";
import { FrameFlag, FrameType, oversizedError } from "./framing.ts";
import { type Limits, resolveLimits } from "./limits.ts";
import { decodeMessage, encodeMessage, ReceivedMessages } from "./messages.ts";
import { Metadata, type MetadataInit } from "./metadata.ts";
import {
  type AnyService,
  type CallDefaults,
  type CallOptions,
  type Messages,
  type MessageStream,
  Method,
  methodsOf,
  type ServiceClient,
} from "./service.ts";
import { Code, RpcError } from "./status.ts";
import { type Outcome, outcomeError, outcomeOf, SUCCESS } from "./stream.ts";

/** What {@linkcode connect} may be told. */
export interface ConnectOptions extends DialOptions {
  /** For calls that do not say otherwise. */
  defaults?: CallDefaults | undefined;
  /** The bounds of the connection, where they differ from the defaults. */
  limits?: Partial<Limits> | undefined;
  /**
   * Called once, when the connection has ended: with the error if it was lost, without one if
   * this side closed it, or the server did while no call was in flight.
   */
  onClose?: ((error?: RpcError) => void) | undefined;
}

/**
 * Connects to a ttrpc server.
 *
 * Over a unix socket it needs `--allow-net=unix:PATH --allow-read=PATH --allow-write=PATH`, over
 * TCP `--allow-net=HOST:PORT`.
 *
 * @param address Where it listens, in any form of {@linkcode Address}; or a connection that is
 * open already, which is the client's from now on.
 * @param options How to connect, and how to call.
 * @returns The client. Dispose of it, or close it, when done.
 * @throws {TypeError | RangeError} If the address or an option makes no sense.
 * @throws {RpcError} If there is no connection: `UNAVAILABLE`, `PERMISSION_DENIED`,
 * `DEADLINE_EXCEEDED` after `timeoutMs`, `CANCELLED` after an abort.
 *
 * @example Call a method
 * ```ts
 * import { connect, serve } from "@ttrpc/ttrpc";
 * import { Greeter } from "./gen/greeter/v1/greeter_pb.ts";
 * import { equal } from "node:assert/strict";
 *
 * const path = await Deno.makeTempDir() + "/greeter.sock";
 * await using server = serve({ path }, (router) =>
 *   router.service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) }));
 *
 * await using client = await connect({ path });
 * const greeter = client.service(Greeter, { timeoutMs: 5_000 });
 * const { message } = await greeter.sayHello({ name: "Deno" });
 * equal(message, "Hello Deno");
 * ```
 */
export async function connect(
  address: Address | ByteConnection,
  options: ConnectOptions = {},
): Promise<Client> {
  const limits = resolveLimits(options.limits);
  if (isByteConnection(address)) return new Client(address, nameOf(address), limits, options);
  const parsed = parseAddress(address);
  return new Client(await dial(parsed, options), formatAddress(parsed), limits, options);
}

/** A connection to a server. {@linkcode connect} makes one. */
export class Client implements AsyncDisposable {
  /** Settles when the connection has ended and nothing of it is left. Never rejects. */
  readonly closed: Promise<void>;
  readonly #deadlines = new Deadlines();
  readonly #connection: ClientConnection;
  readonly #defaults: CallDefaults | undefined;

  /** Use {@linkcode connect}. */
  constructor(
    conn: ByteConnection,
    name: string,
    limits: Readonly<Limits>,
    options: ConnectOptions,
  ) {
    this.#defaults = options.defaults;
    const { onClose } = options;
    this.#connection = new ClientConnection(conn, name, limits, (error) => {
      this.#deadlines.close();
      try {
        onClose?.(error);
      } catch {
        // There is nobody left to tell.
      }
    });
    this.closed = this.#connection.run();
  }

  /** The address of the server, as text. */
  get address(): string {
    return this.#connection.name;
  }

  /**
   * A client of one service.
   *
   * @param service The service: a `GenService` of protobuf-es, or a descriptor with codecs.
   * @param defaults For calls that do not say otherwise.
   * @returns An object with a function for each method. A unary or client-streaming method
   * returns a promise, the others a {@linkcode MessageStream}.
   * @throws {TypeError} If it is no service descriptor.
   */
  service<Service extends AnyService>(
    service: Service,
    defaults?: CallDefaults,
  ): ServiceClient<Service> {
    const both = withDefaults(defaults, this.#defaults);
    const client: Record<string, unknown> = {};
    for (const [name, method] of methodsOf(service)) {
      client[name] = (request: unknown, options?: CallOptions) =>
        this.#call(method, request, withDefaults(options, both));
    }
    return client as ServiceClient<Service>;
  }

  /**
   * Calls a method of one response with messages that are encoded already.
   *
   * @param service The full name of the service, such as `pkg.Service`.
   * @param method The name of the method, such as `SayHello`.
   * @param request The request of a unary method, or an iterable with those of a client-streaming
   * one. Leave the bytes unchanged until the call settles.
   * @param options How to call.
   * @returns The response, encoded.
   * @throws {RpcError} If the call does not succeed.
   *
   * @example Forward a call without knowing its messages
   * ```ts
   * import { connect } from "@ttrpc/ttrpc";
   *
   * async function forward(path: string, service: string, method: string, request: Uint8Array) {
   *   await using client = await connect({ path });
   *   return await client.call(service, method, request, { timeoutMs: 1_000 });
   * }
   * ```
   */
  call(
    service: string,
    method: string,
    request: Uint8Array | Messages<Uint8Array>,
    options?: CallOptions,
  ): Promise<Uint8Array> {
    const kind = request instanceof Uint8Array ? "unary" : "client_streaming";
    return this.#single(
      rawMethod(service, method, kind),
      request,
      withDefaults(options, this.#defaults),
    ) as Promise<Uint8Array>;
  }

  /**
   * Calls a method of many responses with messages that are encoded already.
   *
   * @param service The full name of the service, such as `pkg.Service`.
   * @param method The name of the method, such as `Watch`.
   * @param request The request of a server-streaming method, or an iterable with those of a
   * bidirectional one. Leave the bytes unchanged until the call settles.
   * @param options How to call.
   * @returns The responses, encoded.
   */
  stream(
    service: string,
    method: string,
    request: Uint8Array | Messages<Uint8Array>,
    options?: CallOptions,
  ): MessageStream<Uint8Array> {
    const kind = request instanceof Uint8Array ? "server_streaming" : "bidi_streaming";
    return this.#stream(
      rawMethod(service, method, kind),
      request,
      withDefaults(options, this.#defaults),
    ) as MessageStream<Uint8Array>;
  }

  /** Lets the connection keep the process alive, as it does at first. */
  ref(): void {
    this.#connection.ref();
  }

  /** Lets the process end while the connection is open. */
  unref(): void {
    this.#connection.unref();
  }

  /** Closes the connection at once. Calls in flight end with `CANCELLED`. */
  close(): void {
    this.#connection.close();
  }

  /** Closes the connection, and waits until nothing of it is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }

  #call(method: Method, request: unknown, options: CallOptions): unknown {
    return method.serverStreaming
      ? this.#stream(method, request, options)
      : this.#single(method, request, options);
  }

  // `async`, and the error made here, so that its stack leads to the caller.
  async #single(method: Method, request: unknown, options: CallOptions): Promise<unknown> {
    const call = this.#start(method, request, options);
    const response = await call.receive();
    if (response === undefined) throw outcomeError(call.outcome!, method.path);
    return decodeMessage(method.output, response, method.path);
  }

  #stream(method: Method, request: unknown, options: CallOptions): MessageStream<unknown> {
    const call = this.#start(method, request, options);
    return new ReceivedMessages(call, method.output, method.path, () => call.release());
  }

  #start(method: Method, request: unknown, options: CallOptions): Call {
    const message = method.clientStreaming
      ? undefined
      : encodeMessage(method.input, request, method.path);
    const metadata = options.metadata && asMetadata(options.metadata);
    const call = new Call(method, options, this.#deadlines);
    this.#connection.open(call, metadata, message ?? NO_BYTES, request);
    return call;
  }
}

const NO_BYTES = new Uint8Array(0);

function asMetadata(init: MetadataInit): Metadata {
  return init instanceof Metadata ? init : new Metadata(init);
}

function rawMethod(service: string, name: string, methodKind: Method["kind"]): Method {
  return new Method(service, { name, methodKind, input: bytesCodec, output: bytesCodec });
}

const LARGEST_ID = 2 ** 32 - 1;
const LONGEST_TIMEOUT = 2n ** 63n - 1n;

/** A connection in the client's role. */
class ClientConnection extends Connection<Call> {
  #nextId = 1;
  readonly #onEnd: (error: RpcError | undefined) => void;
  #error: RpcError | undefined;

  constructor(
    conn: ByteConnection,
    name: string,
    limits: Readonly<Limits>,
    onEnd: (error: RpcError | undefined) => void,
  ) {
    super(conn, name, limits);
    this.#onEnd = onEnd;
  }

  /** Sends a call's Request, as soon as there is room. What goes wrong is the call's outcome. */
  open(call: Call, metadata: Metadata | undefined, message: Uint8Array, requests: unknown): void {
    call.host = this;
    if (call.outcome || !this.congested) this.#open(call, metadata, message, requests);
    else void call.writable().then(() => this.#open(call, metadata, message, requests));
  }

  #open(call: Call, metadata: Metadata | undefined, payload: Uint8Array, requests: unknown): void {
    if (call.outcome) return;
    if (this.closed) return call.end(this.closedOutcome());
    const { method } = call;
    if (this.#nextId > LARGEST_ID) {
      return call.end(unavailable(`connection to ${this.name} has used up its stream ids`));
    }
    const flags = method.clientStreaming
      ? FrameFlag.RemoteOpen | FrameFlag.NoData
      : method.serverStreaming
      ? FrameFlag.RemoteClosed
      : 0;
    const timeoutNano = wireTimeout(call.deadline);
    try {
      const request = { method: method.encoded, payload, timeoutNano, metadata };
      this.sendRequest(this.#nextId, flags, request);
    } catch (error) {
      return call.end(outcomeOf(error));
    }
    call.id = this.#nextId;
    this.#nextId += 2;
    this.streams.set(call.id, call);
    if (method.clientStreaming) void call.sendAll(this, requests as Messages<unknown>);
    else call.localClosed = true;
  }

  protected response(call: Call, data: Uint8Array): void {
    let response;
    try {
      response = decodeResponse(data);
    } catch (cause) {
      return call.cancel(internal("the response is malformed", cause));
    }
    const { status, payload } = response;
    if (status && status.code !== Code.OK) return call.end(status);
    // A call of one response has it here, be it empty. On a stream it is a last message, or none.
    if (!call.streamsIn || payload.length > 0) call.push(payload);
    call.end(SUCCESS);
  }

  protected remoteClosed(call: Call): void {
    call.end(SUCCESS);
  }

  protected strayData(_streamId: number, call: Call | undefined): void {
    // What comes late, for a call that has ended here, is ignored.
    call?.cancel(internal(`a Data frame came for a ${call.method.kind} call`));
  }

  // A server has nothing to request.
  protected request(): void {}

  oversized(streamId: number, type: number, _flags: number, length: number): void {
    if (type !== FrameType.Response && type !== FrameType.Data) return;
    const call = this.streams.get(streamId);
    call?.cancel(outcomeOf(oversizedError(length, this.limits.messageBytes)));
  }

  protected endOfInput(): Promise<void> {
    if (this.streams.size > 0) this.fail("the server closed it");
    this.#error ??= new RpcError(Code.UNAVAILABLE, `the server has closed ${this.name}`);
    return Promise.resolve();
  }

  protected ended(error: RpcError | undefined): void {
    this.#error = error ?? this.#error;
    this.#onEnd(error);
  }

  protected closedOutcome(): Outcome {
    if (this.#error) return outcomeOf(this.#error);
    return { code: Code.CANCELLED, message: `connection to ${this.name} is closed`, details: [] };
  }
}

function wireTimeout(deadline: number): bigint {
  if (deadline === Infinity) return 0n;
  // Zero would mean that there is no deadline, and a negative number never to some servers.
  const nanoseconds = Math.max(1, Math.round((deadline - performance.now()) * 1e6));
  return nanoseconds < 2 ** 63 ? BigInt(nanoseconds) : LONGEST_TIMEOUT;
}

function internal(message: string, cause?: unknown): Outcome {
  return { code: Code.INTERNAL, message, details: [], cause };
}

function unavailable(message: string): Outcome {
  return { code: Code.UNAVAILABLE, message, details: [] };
}
