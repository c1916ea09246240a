/**
 * The client: a connection to a server, and the calls on it.
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
 * What {@linkcode connect} may be told.
 *
 * @category Client
 */
export interface ConnectOptions extends ExtensionOptions {
  /** Gives up the first attempt to connect when it is aborted. */
  signal?: AbortSignal | undefined;
  /**
   * How long an attempt to connect may take, in milliseconds, also when it connects again; with
   * `waitForReady`, how long it waits. Without it, as long as it takes. Calls have a `timeoutMs` of
   * their own, see `defaults`.
   */
  connectTimeoutMs?: number | undefined;
  /** Keeps trying to connect while the socket is missing or refuses. */
  waitForReady?: boolean | undefined;
  /** For calls that do not say otherwise. */
  defaults?: CallDefaults | undefined;
  /** Code around every call: interceptors, outermost first. */
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
 * @category Client
 * @param address Where it listens, in any form of {@linkcode Address}; or a {@linkcode Dialer}, a
 * way to connect of one's own; or a connection that is open already, which is the client's from now
 * on.
 * @param options How to connect, and how to call.
 * @returns The client. Dispose of it, or close it, when done.
 * @throws {TypeError | RangeError} If the address or an option makes no sense.
 * @throws {RpcError} If there is no connection: `UNAVAILABLE`, `PERMISSION_DENIED`,
 * `DEADLINE_EXCEEDED` after `connectTimeoutMs`, `CANCELLED` after an abort.
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

/** An address as `serve()` takes it, too: one of its options. */
function plain(address: Address | { address: Address }): Address {
  return typeof address === "object" && "address" in address ? address.address : address;
}

function addressDialer(address: ParsedAddress): Dialer {
  return { dial: (signal) => open(address, signal), name: formatAddress(address) };
}

/** How a call is to be made. */
type CallParts = [
  options: CallOptions | undefined,
  defaults: CallDefaults | undefined,
  guard?: Guard,
];

/**
 * A connection to a server. {@linkcode connect} makes one.
 *
 * @category Client
 */
export class Client implements AsyncDisposable {
  /**
   * Settles when the connection has ended and nothing of it is left; with `reconnect`, when the
   * client is closed. Never rejects.
   */
  readonly finished: Promise<void>;
  /** The address of the server, as text. */
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
    const both = takeDefaults(defaults, this.#defaults);
    const client = {};
    for (const [name, method] of methodsOf(service)) {
      const call = this.#caller(method);
      const value = (request: unknown, options?: CallOptions) => call(request, options, both);
      // An assignment would take a method called `__proto__` for something else.
      Object.defineProperty(client, name, { value, enumerable: true, writable: true });
    }
    return client as ServiceClient<Service>;
  }

  /**
   * Calls a method of one response with messages that are encoded already.
   *
   * @param service The full name of the service, such as `pkg.Service`.
   * @param method The name of the method, such as `SayHello`.
   * @param request The request of a unary method, or an iterable with those of a client-streaming
   * one. The bytes belong to the call from now on: they may be on their way still when it has
   * settled, if it was given up.
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
   * Calls a method of many responses with messages that are encoded already.
   *
   * @param service The full name of the service, such as `pkg.Service`.
   * @param method The name of the method, such as `Watch`.
   * @param request The request of a server-streaming method, or an iterable with those of a
   * bidirectional one. The bytes belong to the call from now on: they may be on their way still
   * when it has settled, if it was given up.
   * @param options How to call.
   * @returns The responses, encoded.
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
   * What the client has done so far.
   *
   * @returns The numbers, at this moment.
   */
  stats(): Stats {
    return this.#keeper.tally.stats(this.#connections.open, this.#connections.held.bytes);
  }

  /** Lets the connection keep the process alive, as it does at first. */
  ref(): void {
    this.#keeper.deadlines.ref();
    this.#connections.ref();
  }

  /** Lets the process end while the connection is open, or is being made. */
  unref(): void {
    this.#keeper.deadlines.unref();
    this.#connections.unref();
  }

  /**
   * Closes the client at once. Calls in flight end with `CANCELLED`. A connection without any ends
   * as soon as the server has read what was sent before; {@linkcode Client.finished} tells when.
   */
  close(): void {
    this.#connections.close();
    for (const guard of this.#guards) guard.end(this.#connections.closing!);
  }

  /** Closes the client, and waits until nothing of it is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.finished;
  }

  /** What makes the calls of a method, with the interceptors around them. */
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
      // A proxy calls what its own callers name, which can be anything.
      if (this.#raw.size === MOST_RAW_METHODS) this.#raw.clear();
      this.#raw.set(key, caller);
    }
    return caller;
  }

  // `async`, and the error made here, so that its stack leads to the caller.
  async #single(method: Method, request: unknown, ...how: CallParts): Promise<unknown> {
    const call = this.#start(method, request, ...how);
    request = undefined; // it can be large, and is encoded
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

/** Raw methods that are remembered, so that calling one again is as cheap as calling a typed one. */
const MOST_RAW_METHODS = 1_024;
