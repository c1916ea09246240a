/**
 * The client: connects to a server, and makes calls.
 *
 * @module
 */

import {
  type Address,
  formatAddress,
  nameOf,
  parseAddress,
  type ParsedAddress,
} from "./address.ts";
import { type ByteConnection, isByteConnection } from "./transport.ts";
import { takeDefaults, takeOptions } from "./engine/call_options.ts";
import { ClientCall, type ClientKeeper } from "./engine/client_call.ts";
import { ClientConnections } from "./engine/client_connections.ts";
import { bytesCodec } from "./codec.ts";
import { Deadlines } from "./async/deadlines.ts";
import { dial, type Dialer, isDialer, open } from "./net/dial.ts";
import type { InterceptedRequest, Interceptor } from "./interceptor.ts";
import {
  type Caller,
  type Guard,
  interceptedCaller,
  type InterceptingClient,
} from "./engine/intercepted.ts";
import { type ExtensionOptions, resolveExtension } from "./engine/keepalive.ts";
import { type Limits, resolveLimits } from "./limits.ts";
import { decodeMessage, encodeMessage, ReceivedMessages } from "./engine/messages.ts";
import { Method } from "./engine/method.ts";
import { Reconnect, type ReconnectOptions } from "./net/reconnect.ts";
import {
  type AnyService,
  type CallDefaults,
  type CallOptions,
  type Messages,
  type MessageStream,
  methodsOf,
  type ServiceClient,
} from "./service.ts";
import { type Stats, Tally } from "./stats.ts";
import { type RpcError, statusError } from "./status.ts";
import { Timers } from "./async/timer.ts";
import { NO_BYTES } from "./wire/writer.ts";

/**
 * Options of {@linkcode connect}.
 *
 * @category Client
 */
export interface ConnectOptions extends ExtensionOptions {
  /** Cancels the first attempt to connect. Later it has no effect. */
  signal?: AbortSignal | undefined;
  /**
   * How long an attempt to connect may take, in milliseconds, including attempts to reconnect; with
   * `waitForReady`, how long the client keeps trying. No limit by default. The timeout of calls is
   * `timeoutMs`, see `defaults`.
   */
  connectTimeoutMs?: number | undefined;
  /**
   * Whether to keep trying to connect while the socket is missing or refuses connections. `false`
   * by default.
   */
  waitForReady?: boolean | undefined;
  /** Options for calls that do not set them. */
  defaults?: CallDefaults | undefined;
  /** Interceptors, outermost first. */
  interceptors?: readonly Interceptor[] | undefined;
  /** Limits of each connection that differ from the defaults. */
  limits?: Partial<Limits> | undefined;
  /**
   * Whether the next call connects again after the connection was lost. `false` by default. Calls
   * in flight when the connection is lost still end with `UNAVAILABLE`, and so do calls for which
   * the client cannot connect again; with `waitForReady` these wait until it can. No call is made
   * twice, unless an interceptor does so.
   */
  reconnect?: boolean | ReconnectOptions | undefined;
  /**
   * Called when the connection has ended; with `reconnect`, each time that a connection has. The
   * error is set if the connection was lost. It is not set if this side closed the connection, or
   * the server did while no call was in flight.
   */
  onClose?: ((error?: RpcError) => void) | undefined;
}

/**
 * Connects to a ttrpc server.
 *
 * A unix socket needs `--allow-net=unix:PATH --allow-read=PATH --allow-write=PATH`, TCP needs
 * `--allow-net=HOST:PORT`.
 *
 * @category Client
 * @param address The server's address, in any form of {@linkcode Address}; or a {@linkcode Dialer},
 * for a custom way to connect; or an open connection, which the client owns and closes from then
 * on.
 * @param options How to connect, and defaults for calls.
 * @returns The client. Close or dispose of it when done.
 * @throws {TypeError | RangeError} If the address or an option is invalid.
 * @throws {RpcError} If the client cannot connect: with `UNAVAILABLE` if no server listens or the
 * connection fails, `PERMISSION_DENIED` if the system does not allow it, `DEADLINE_EXCEEDED` after
 * `connectTimeoutMs`, `CANCELLED` if `signal` is aborted, or the code of the {@linkcode Dialer}'s
 * error.
 * @throws {Deno.errors.NotCapable} If a permission of Deno is missing.
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
  address: Address | { address: Address } | Dialer | ByteConnection,
  options: ConnectOptions = {},
): Promise<Client> {
  const { reconnect, waitForReady, connectTimeoutMs, onClose } = options;
  const limits = resolveLimits(options.limits);
  const extension = resolveExtension(options);
  const timers = new Timers();
  const keeper = { deadlines: new Deadlines(), tally: new Tally(), waiting: new Set<ClientCall>() };
  const common = { limits, timers, keeper, onClose, extension };
  if (isByteConnection(address)) {
    if (reconnect) {
      throw new TypeError("Cannot reconnect to an open connection: it has no address to dial");
    }
    const connections = new ClientConnections(address, { ...common, name: nameOf(address) });
    return new Client(connections, keeper, options);
  }
  const dialer = isDialer(address) ? address : addressDialer(parseAddress(plain(address)));
  const again = new Reconnect(
    (signal) => dial(dialer, { signal, waitForReady, connectTimeoutMs }, timers),
    typeof reconnect === "object" ? reconnect : {},
    timers,
  );
  const conn = await dial(dialer, options, timers);
  const name = dialer.name ?? "a dialer";
  const reconnects = Boolean(reconnect);
  const connections = new ClientConnections(conn, { ...common, name, again, reconnects });
  return new Client(connections, keeper, options);
}

/** Takes the address out of `{ address }`, a form that `serve()` takes, too. */
function plain(address: Address | { address: Address }): Address {
  return typeof address === "object" && "address" in address ? address.address : address;
}

function addressDialer(address: ParsedAddress): Dialer {
  return { dial: (signal) => open(address, signal), name: formatAddress(address) };
}

/** The options of a call, their defaults, and the guard of an intercepted call. */
type CallParts = [
  options: CallOptions | undefined,
  defaults: CallDefaults | undefined,
  guard?: Guard,
];

/**
 * A client of a server. {@linkcode connect} makes one.
 *
 * @category Client
 */
export class Client implements AsyncDisposable {
  /**
   * Resolves when the connection has ended and all its resources are released; with `reconnect`,
   * when the client is closed. Never rejects.
   */
  readonly finished: Promise<void>;
  /** The address of the server as text, or the name of the {@linkcode Dialer}. */
  readonly address: string;
  readonly #defaults: CallDefaults | undefined;
  readonly #interceptors: readonly Interceptor[];
  readonly #keeper: ClientKeeper;
  readonly #connections: ClientConnections;
  readonly #intercepting: InterceptingClient;
  readonly #guards = new Set<Guard>();
  readonly #raw = new Map<string, Caller>();

  /** @ignore {@linkcode connect} makes one. */
  constructor(connections: ClientConnections, keeper: ClientKeeper, options: ConnectOptions) {
    this.#connections = connections;
    this.#keeper = keeper;
    this.#defaults = takeDefaults(options.defaults);
    this.#interceptors = [...options.interceptors ?? []];
    this.address = connections.name ?? "an open connection";
    this.finished = connections.ended;
    this.#intercepting = {
      address: this.address,
      deadlines: keeper.deadlines,
      guards: this.#guards,
      get closed() {
        return connections.closing;
      },
      call: (guard, method, request) =>
        method.serverStreaming
          ? this.#stream(method, request.message, request, undefined, guard)
          : this.#single(method, request.message, request, undefined, guard),
    };
  }

  /**
   * Makes a client of one service.
   *
   * @param service The service: as `protoc-gen-ttrpc-es` or `protoc-gen-es` generates it, or a
   * descriptor with custom codecs.
   * @param defaults Options for calls that do not set them. They override the client's defaults.
   * @returns An object with a function for each method. A unary or client-streaming method returns
   * a promise, which rejects with an {@linkcode RpcError} if the call fails; the others return a
   * {@linkcode MessageStream}, whose iteration rejects likewise.
   * @throws {TypeError} If it is not a service descriptor, or a default has the wrong type.
   * @throws {RangeError} If `timeoutMs` is not a number.
   */
  service<Service extends AnyService>(
    service: Service,
    defaults?: CallDefaults,
  ): ServiceClient<Service> {
    const both = takeDefaults(defaults, this.#defaults);
    const client = {};
    for (const [name, method] of methodsOf(service)) {
      const call = this.#caller(method);
      const value = (request: unknown, options?: CallOptions) => call(request, options, both);
      // To assign a method called `__proto__` would set the prototype instead.
      Object.defineProperty(client, name, { value, enumerable: true, writable: true });
    }
    return client as ServiceClient<Service>;
  }

  /**
   * Calls a method that returns one response, with encoded messages.
   *
   * @param service The full name of the service, such as `pkg.Service`.
   * @param method The name of the method, such as `SayHello`.
   * @param request The encoded request of a unary method, or an iterable of those of a
   * client-streaming method. Do not change the bytes afterwards: a call that was cancelled may
   * still be sending them.
   * @param options Options of the call.
   * @returns The encoded response.
   * @throws {RpcError} If the call fails.
   * @throws {TypeError | RangeError} If an option is invalid.
   *
   * @example Forward a call without knowing its messages
   * ```ts
   * import { connect } from "@ttrpc/ttrpc";
   *
   * async function forward(path: string, service: string, method: string, request: Uint8Array) {
   *   await using client = await connect({ path });
   *   return await client.callRaw(service, method, request, { timeoutMs: 1_000 });
   * }
   * ```
   */
  callRaw(
    service: string,
    method: string,
    request: Uint8Array | Messages<Uint8Array>,
    options?: CallOptions,
  ): Promise<Uint8Array> {
    const kind = request instanceof Uint8Array ? "unary" : "client_streaming";
    const call = this.#rawCaller(service, method, kind);
    return call(request, options, this.#defaults) as Promise<Uint8Array>;
  }

  /**
   * Calls a method that returns a stream of responses, with encoded messages.
   *
   * @param service The full name of the service, such as `pkg.Service`.
   * @param method The name of the method, such as `Watch`.
   * @param request The encoded request of a server-streaming method, or an iterable of those of a
   * bidirectional method. Do not change the bytes afterwards: a call that was cancelled may still
   * be sending them.
   * @param options Options of the call.
   * @returns The encoded responses. Iteration rejects with an {@linkcode RpcError} if the call
   * fails.
   * @throws {TypeError | RangeError} If an option is invalid.
   */
  streamRaw(
    service: string,
    method: string,
    request: Uint8Array | Messages<Uint8Array>,
    options?: CallOptions,
  ): MessageStream<Uint8Array> {
    const kind = request instanceof Uint8Array ? "server_streaming" : "bidi_streaming";
    const call = this.#rawCaller(service, method, kind);
    return call(request, options, this.#defaults) as MessageStream<Uint8Array>;
  }

  /**
   * Statistics of the client.
   *
   * @returns The numbers at this moment.
   */
  stats(): Stats {
    return this.#keeper.tally.stats(this.#connections.open, this.#connections.held.bytes);
  }

  /** Makes the connection keep the process alive, as it does by default. */
  ref(): void {
    this.#keeper.deadlines.ref();
    this.#connections.ref();
  }

  /** Lets the process exit while the connection is open, or is being made. */
  unref(): void {
    this.#keeper.deadlines.unref();
    this.#connections.unref();
  }

  /**
   * Closes the client at once. Calls in flight end with `CANCELLED`. If there are none, the
   * connection ends as soon as the server has read everything that was sent, and has closed its
   * side; {@linkcode Client.finished} tells when.
   */
  close(): void {
    this.#connections.close();
    for (const guard of this.#guards) guard.end(this.#connections.closing!);
  }

  /**
   * Closes the client, as {@linkcode Client.close} does.
   *
   * @returns Resolves when all its resources are released.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.finished;
  }

  /** Returns the function that makes the calls of a method, through the interceptors. */
  #caller(method: Method): Caller {
    if (this.#interceptors.length > 0) {
      return interceptedCaller(this.#interceptors, method, this.#intercepting);
    }
    return method.serverStreaming
      ? (request, options, defaults) => this.#stream(method, request, options, defaults)
      : (request, options, defaults) => this.#single(method, request, options, defaults);
  }

  #rawCaller(service: string, name: string, methodKind: Method["kind"]): Caller {
    const key = `${methodKind} ${service}/${name}`;
    let caller = this.#raw.get(key);
    if (!caller) {
      const codec = bytesCodec;
      caller = this.#caller(new Method(service, { name, methodKind, input: codec, output: codec }));
      // The names may come from the callers of a proxy, so their number is bounded.
      if (this.#raw.size === MOST_RAW_METHODS) this.#raw.clear();
      this.#raw.set(key, caller);
    }
    return caller;
  }

  // `async`, and the error is made here, so that its stack leads to the caller.
  async #single(method: Method, request: unknown, ...how: CallParts): Promise<unknown> {
    const call = this.#start(method, request, ...how);
    request = undefined; // is encoded, and may be large
    const response = await call.receive();
    if (response === undefined) throw statusError(call.status!, method.path);
    return decodeMessage(call, method.output, response);
  }

  #stream(method: Method, request: unknown, ...how: CallParts): MessageStream<unknown> {
    return new ReceivedMessages(this.#start(method, request, ...how), method.output);
  }

  #start(
    method: Method,
    message: unknown,
    options: CallOptions | undefined,
    defaults: CallDefaults | undefined,
    guard?: Guard,
  ): ClientCall {
    const settings = guard?.attempt(options as InterceptedRequest) ??
      takeOptions(options, defaults);
    const { metadata } = settings;
    const request = method.clientStreaming
      ? { payload: NO_BYTES, metadata, messages: message as Messages<unknown> }
      : {
        payload: encodeMessage(method.input, message, method.path),
        metadata,
        messages: undefined,
      };
    const call = new ClientCall(method, settings, request, this.#keeper);
    guard?.attempted(call);
    if (!call.status) this.#connections.start(call);
    return call;
  }
}

/** The most raw methods that are cached, which makes calls of them as cheap as typed calls. */
const MOST_RAW_METHODS = 1_024;
