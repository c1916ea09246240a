/**
 * The client: a connection to a server, and the calls on it.
 *
 * @module
 */

import {
  type Address,
  type ByteConnection,
  formatAddress,
  isByteConnection,
  nameOf,
  parseAddress,
} from "./address.ts";
import { Call, Guard, withDefaults } from "./call.ts";
import { ClientConnection, closedOutcome } from "./client_connection.ts";
import { bytesCodec } from "./codec.ts";
import { Deadlines } from "./deadline.ts";
import { dial, type DialOptions } from "./dial.ts";
import { type Limits, resolveLimits } from "./limits.ts";
import {
  intercept,
  interceptedRequest,
  interceptedResponse,
  type Interceptor,
} from "./interceptor.ts";
import { decodeMessage, DeferredMessages, encodeMessage, ReceivedMessages } from "./messages.ts";
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
import { Reconnect, type ReconnectOptions } from "./reconnect.ts";
import { type Stats, Tally } from "./stats.ts";
import type { RpcError } from "./status.ts";
import { type CallKeeper, outcomeError, outcomeOf } from "./stream.ts";
import { tell } from "./tell.ts";
import { NO_BYTES } from "./writer.ts";

/** What {@linkcode connect} may be told. */
export interface ConnectOptions extends DialOptions {
  /** For calls that do not say otherwise. */
  defaults?: CallDefaults | undefined;
  /** What stands around every call, the outermost first. */
  interceptors?: readonly Interceptor[] | undefined;
  /** The bounds of the connection, where they differ from the defaults. */
  limits?: Partial<Limits> | undefined;
  /**
   * Whether a call on a lost connection connects again. `false` by default. Calls in flight when
   * the connection is lost end with `UNAVAILABLE` all the same, and so do calls for which it cannot
   * be made again; with `waitForReady` these wait until it can. Nothing is called twice, unless
   * an interceptor does so.
   */
  reconnect?: boolean | ReconnectOptions | undefined;
  /**
   * Called when the connection has ended, and with `reconnect` each time one has: with the error
   * if it was lost, without one if this side closed it, or the server did while no call was in
   * flight.
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
 * import { Greeter } from "./gen/greeter/v1/greeter_ttrpc.ts";
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
  if (isByteConnection(address)) {
    if (options.reconnect) {
      throw new TypeError("Cannot reconnect to an open connection: it has no address to dial");
    }
    return new Client(address, nameOf(address), limits, options);
  }
  const parsed = parseAddress(address);
  const { reconnect, waitForReady } = options;
  const again = !reconnect ? undefined : new Reconnect(
    (signal) => dial(parsed, { signal, waitForReady }),
    reconnect === true ? {} : reconnect,
  );
  const conn = await dial(parsed, options);
  return new Client(conn, formatAddress(parsed), limits, options, again);
}

/** A connection to a server. {@linkcode connect} makes one. */
export class Client implements AsyncDisposable {
  /**
   * Settles when the connection has ended and nothing of it is left; with `reconnect`, when the
   * client is closed. Never rejects.
   */
  readonly closed: Promise<void>;
  /** The address of the server, as text. */
  readonly address: string;
  readonly #options: ConnectOptions;
  readonly #limits: Readonly<Limits>;
  readonly #keeper: CallKeeper = {
    deadlines: new Deadlines(),
    tally: new Tally(),
  };
  readonly #reconnect: Reconnect | undefined;
  readonly #connections = new Set<ClientConnection>();
  readonly #guards = new Set<Guard>();
  readonly #end = Promise.withResolvers<void>();
  #connection: ClientConnection;
  #connecting: Promise<ClientConnection> | undefined;
  #closing = false;
  #unref = false;

  /** Use {@linkcode connect}. */
  constructor(
    conn: ByteConnection,
    address: string,
    limits: Readonly<Limits>,
    options: ConnectOptions,
    reconnect?: Reconnect,
  ) {
    this.address = address;
    this.closed = this.#end.promise;
    this.#limits = limits;
    this.#options = options;
    this.#reconnect = reconnect;
    this.#connection = this.#attach(conn);
  }

  /**
   * A client of one service.
   *
   * @param service The service: as `protoc-gen-ttrpc-es` or `protoc-gen-es` generates it, or with
   * codecs of its own.
   * @param defaults For calls that do not say otherwise.
   * @returns An object with a function for each method. A unary or client-streaming method
   * returns a promise, the others a {@linkcode MessageStream}.
   * @throws {TypeError} If it is no service descriptor.
   */
  service<Service extends AnyService>(
    service: Service,
    defaults?: CallDefaults,
  ): ServiceClient<Service> {
    const both = withDefaults(defaults, this.#options.defaults);
    const client: Record<string, unknown> = {};
    for (const [name, method] of methodsOf(service)) {
      const call = this.#caller(method);
      client[name] = (request: unknown, options?: CallOptions) =>
        call(request, withDefaults(options, both));
    }
    return client as ServiceClient<Service>;
  }

  /**
   * Calls a method of one response with messages that are encoded already.
   *
   * @param service The full name of the service, such as `pkg.Service`.
   * @param method The name of the method, such as `SayHello`.
   * @param request The request of a unary method, or an iterable with those of a client-streaming
   * one. The bytes belong to the call
   * from now on: they may be on their way still when it has settled, if it was given up.
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
    const call = this.#caller(rawMethod(service, method, kind));
    return call(request, withDefaults(options, this.#options.defaults)) as Promise<Uint8Array>;
  }

  /**
   * Calls a method of many responses with messages that are encoded already.
   *
   * @param service The full name of the service, such as `pkg.Service`.
   * @param method The name of the method, such as `Watch`.
   * @param request The request of a server-streaming method, or an iterable with those of a
   * bidirectional one. The bytes belong to the call
   * from now on: they may be on their way still when it has settled, if it was given up.
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
    const call = this.#caller(rawMethod(service, method, kind));
    return call(request, withDefaults(options, this.#options.defaults)) as MessageStream<
      Uint8Array
    >;
  }

  /**
   * What the client has done so far.
   *
   * @returns The numbers, at this moment.
   */
  stats(): Stats {
    return this.#keeper.tally.stats([...this.#connections]);
  }

  /** Lets the connection keep the process alive, as it does at first. */
  ref(): void {
    this.#unref = false;
    this.#keeper.deadlines.ref();
    for (const connection of this.#connections) connection.ref();
  }

  /** Lets the process end while the connection is open. */
  unref(): void {
    this.#unref = true;
    this.#keeper.deadlines.unref();
    for (const connection of this.#connections) connection.unref();
  }

  /** Closes the connection at once. Calls in flight end with `CANCELLED`. */
  close(): void {
    this.#closing = true;
    this.#reconnect?.close();
    for (const connection of [...this.#connections]) connection.close();
    for (const guard of this.#guards) guard.end(closedOutcome(this.address));
    this.#settle();
  }

  /** Closes the connection, and waits until nothing of it is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }

  /** What calls a method, with the interceptors around it. */
  #caller(method: Method): (request: unknown, options: CallOptions) => unknown {
    const { interceptors } = this.#options;
    if (!interceptors || interceptors.length === 0) {
      return method.serverStreaming
        ? (request, options) => this.#stream(method, request, options)
        : (request, options) => this.#single(method, request, options);
    }
    const invoke = intercept(interceptors, async ({ message, ...options }) =>
      interceptedResponse(
        method,
        method.serverStreaming
          ? this.#stream(method, message, options)
          : await this.#single(method, message, options),
      ));
    const call = async (request: unknown, options: CallOptions, guard: Guard) => {
      const { timeoutMs, signal } = options;
      const metadata = new Metadata(options.metadata);
      const chain = invoke(interceptedRequest(method, request, { metadata, timeoutMs, signal }));
      const outcome = guard.over.then((outcome) => ({ outcome }));
      const first = await Promise.race([chain, outcome]);
      if ("outcome" in first) throw outcomeError(first.outcome, method.path);
      return first.message;
    };
    if (method.serverStreaming) {
      return (request, options) => this.#deferred(method, request, options, call);
    }
    return async (request, options) => {
      const guard = this.#guard(options);
      try {
        return await call(request, options, guard);
      } finally {
        this.#unguard(guard);
      }
    };
  }

  #deferred(
    method: Method,
    request: unknown,
    { metadata, timeoutMs, signal }: CallOptions,
    call: (request: unknown, options: CallOptions, guard: Guard) => Promise<unknown>,
  ): MessageStream<unknown> {
    const guard = this.#guard({ timeoutMs, signal });
    const leaving = new AbortController();
    const either = signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal;
    const messages = call(request, { metadata, timeoutMs, signal: either }, guard);
    const over = guard.over.then((outcome) => {
      leaving.abort();
      throw outcomeError(outcome, method.path);
    });
    return new DeferredMessages(messages as Promise<Messages<unknown>>, over, () => {
      this.#unguard(guard);
      leaving.abort();
    });
  }

  #guard(options: CallOptions): Guard {
    const guard = new Guard(options, this.#keeper.deadlines);
    this.#guards.add(guard);
    if (this.#closing) guard.end(closedOutcome(this.address));
    return guard;
  }

  #unguard(guard: Guard): void {
    guard.release();
    this.#guards.delete(guard);
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
    return new ReceivedMessages(call, method.output);
  }

  #start(method: Method, request: unknown, options: CallOptions): Call {
    const message = method.clientStreaming
      ? NO_BYTES
      : encodeMessage(method.input, request, method.path);
    const metadata = options.metadata && asMetadata(options.metadata);
    const call = new Call(method, options, this.#keeper);
    const connection = this.#connection;
    if (this.#closing) call.end(closedOutcome(this.address));
    else if (connection.usable || !this.#reconnect) {
      connection.open(call, metadata, message, request);
    } else void this.#startLater(call, metadata, message, request);
    return call;
  }

  /** Starts a call on a new connection. Never rejects: what goes wrong is the call's outcome. */
  async #startLater(
    call: Call,
    metadata: Metadata | undefined,
    message: Uint8Array,
    request: unknown,
  ): Promise<void> {
    try {
      const connection = await (this.#connecting ??= this.#connectAgain(this.#reconnect!));
      connection.open(call, metadata, message, request);
    } catch (error) {
      call.end(outcomeOf(error));
    }
  }

  async #connectAgain(reconnect: Reconnect): Promise<ClientConnection> {
    try {
      const conn = await reconnect.attempt();
      this.#connection = this.#attach(conn);
      if (this.#closing) this.#connection.close();
      return this.#connection;
    } finally {
      this.#connecting = undefined;
      this.#settle();
    }
  }

  #attach(conn: ByteConnection): ClientConnection {
    const connection = new ClientConnection(conn, this.address, this.#limits, (error) => {
      this.#connections.delete(connection);
      this.#keeper.tally.disconnect(connection);
      tell(this.#options.onClose, error);
    });
    this.#connections.add(connection);
    this.#reconnect?.connected();
    if (this.#unref) connection.unref();
    void connection.run().then(() => this.#settle());
    return connection;
  }

  /** Finds out whether this was the end. */
  #settle(): void {
    if (!this.#connection.over || this.#connections.size > 0 || this.#connecting) return;
    if (this.#reconnect && !this.#closing) return;
    this.#keeper.deadlines.close();
    this.#end.resolve();
  }
}

function asMetadata(init: MetadataInit): Metadata {
  return init instanceof Metadata ? init : new Metadata(init);
}

function rawMethod(service: string, name: string, methodKind: Method["kind"]): Method {
  return new Method(service, { name, methodKind, input: bytesCodec, output: bytesCodec });
}
