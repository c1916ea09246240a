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
import { takeDefaults, takeOptions } from "./call_options.ts";
import { ClientCall, type ClientKeeper } from "./client_call.ts";
import { ClientConnection, closedStatus } from "./client_connection.ts";
import { bytesCodec } from "./codec.ts";
import { Deadlines } from "./deadlines.ts";
import { dial, type Dialler, type DialOptions, isDialler, open } from "./dial.ts";
import type { InterceptedRequest, Interceptor } from "./interceptor.ts";
import {
  type Caller,
  type Guard,
  interceptedCaller,
  type InterceptingClient,
} from "./intercepted.ts";
import { type Limits, resolveLimits } from "./limits.ts";
import { decodeMessage, encodeMessage, ReceivedMessages } from "./messages.ts";
import { Method } from "./method.ts";
import { Reconnect, type ReconnectOptions } from "./reconnect.ts";
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
import { type RpcError, type Status, statusError, statusOf } from "./status.ts";
import { tell } from "./tell.ts";
import { Timers } from "./timer.ts";
import { NO_BYTES } from "./writer.ts";

/** What {@linkcode connect} may be told. */
export interface ConnectOptions extends DialOptions {
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
 * @param address Where it listens, in any form of {@linkcode Address}; or a {@linkcode Dialler}, a
 * way to connect of one's own; or a connection that is open already, which is the client's from now
 * on.
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
  address: Address | Dialler | ByteConnection,
  options: ConnectOptions = {},
): Promise<Client> {
  const limits = resolveLimits(options.limits);
  const timers = new Timers();
  if (isByteConnection(address)) {
    if (options.reconnect) {
      throw new TypeError("Cannot reconnect to an open connection: it has no address to dial");
    }
    return new Client(address, { name: nameOf(address), limits, timers, options });
  }
  const dialler = isDialler(address) ? address : addressDialler(parseAddress(address));
  const { reconnect, waitForReady } = options;
  const again = new Reconnect(
    (signal) => dial(dialler, { signal, waitForReady }, timers),
    typeof reconnect === "object" ? reconnect : {},
    timers,
  );
  const conn = await dial(dialler, options, timers);
  const name = dialler.name ?? UNNAMED_DIALLER;
  return new Client(conn, { name, limits, timers, options, again });
}

/** What a client is made of beside its connection. */
interface ClientParts {
  /** The server's address, if there is one. */
  readonly name: string | undefined;
  readonly limits: Readonly<Limits>;
  readonly timers: Timers;
  readonly options: ConnectOptions;
  /** Makes another connection, if that is possible. */
  readonly again?: Reconnect;
}

/** How a call is to be made. */
type CallParts = [
  options: CallOptions | undefined,
  defaults: CallDefaults | undefined,
  guard?: Guard,
];

/** A connection to a server. {@linkcode connect} makes one. */
export class Client implements AsyncDisposable {
  /**
   * Settles when the connection has ended and nothing of it is left; with `reconnect`, when the
   * client is closed. Never rejects.
   */
  readonly closed: Promise<void>;
  /** The address of the server, as text. */
  readonly address: string;
  readonly #name: string | undefined;
  readonly #limits: Readonly<Limits>;
  readonly #timers: Timers;
  readonly #again: Reconnect | undefined;
  readonly #reconnects: boolean;
  readonly #defaults: CallDefaults | undefined;
  readonly #interceptors: readonly Interceptor[];
  readonly #onClose: ConnectOptions["onClose"];
  readonly #keeper: ClientKeeper = {
    deadlines: new Deadlines(),
    tally: new Tally(),
    waiting: new Set(),
  };
  readonly #intercepting: InterceptingClient;
  readonly #guards = new Set<Guard>();
  readonly #raw = new Map<string, Caller>();
  readonly #connections = new Set<ClientConnection>();
  readonly #running = new Set<ClientConnection>();
  readonly #end = Promise.withResolvers<void>();
  #current: ClientConnection;
  #connecting = false;
  #closing: Status | undefined; // how calls end once the client is closed
  #unref = false;

  /** Use {@linkcode connect}. */
  constructor(conn: ByteConnection, parts: ClientParts) {
    const { name, limits, timers, options, again } = parts;
    this.address = name ?? "an open connection";
    this.closed = this.#end.promise;
    this.#name = name;
    this.#limits = limits;
    this.#timers = timers;
    this.#again = again;
    this.#reconnects = Boolean(options.reconnect);
    this.#defaults = takeDefaults(options.defaults);
    this.#interceptors = [...options.interceptors ?? []];
    this.#onClose = options.onClose;
    const closing = () => this.#closing;
    this.#intercepting = {
      address: this.address,
      deadlines: this.#keeper.deadlines,
      guards: this.#guards,
      get closed() {
        return closing();
      },
      call: (guard, method, request) =>
        method.serverStreaming
          ? this.#stream(method, request.message, request, undefined, guard)
          : this.#single(method, request.message, request, undefined, guard),
    };
    this.#current = this.#attach(conn);
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
  stream(
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
    const open = [...this.#connections].map(({ connection }) => connection);
    return this.#keeper.tally.stats(open);
  }

  /** Lets the connection keep the process alive, as it does at first. */
  ref(): void {
    this.#unref = false;
    this.#keeper.deadlines.ref();
    this.#timers.ref();
    for (const { connection } of this.#connections) connection.ref();
  }

  /** Lets the process end while the connection is open, or is being made. */
  unref(): void {
    this.#unref = true;
    this.#keeper.deadlines.unref();
    this.#timers.unref();
    for (const { connection } of this.#connections) connection.unref();
  }

  /**
   * Closes the client at once. Calls in flight end with `CANCELLED`. A connection without any ends
   * as soon as the server has read what was sent before; {@linkcode Client.closed} tells when.
   */
  close(): void {
    this.#closing ??= closedStatus(this.#name);
    this.#again?.close();
    for (const connection of [...this.#connections]) connection.close();
    for (const call of this.#keeper.waiting) call.end(this.#closing);
    for (const guard of this.#guards) guard.end(this.#closing);
    this.#settle();
  }

  /** Closes the client, and waits until nothing of it is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
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
    if (call.status) return call;
    const current = this.#current;
    if (this.#closing) call.end(this.#closing);
    else if (current.usable || !this.#mayConnect) current.open(call);
    else this.#wait(call);
    return call;
  }

  /** Whether there can be another connection than the present one. */
  get #mayConnect(): boolean {
    return this.#again !== undefined && (this.#reconnects || this.#current.exhausted);
  }

  /** Keeps a call until there is a connection. */
  #wait(call: ClientCall): void {
    this.#keeper.waiting.add(call);
    if (!this.#connecting) void this.#connect(this.#again!);
  }

  /** Makes another connection for the calls that wait. If that fails, they fail. Never rejects. */
  async #connect(again: Reconnect): Promise<void> {
    const { waiting } = this.#keeper;
    this.#connecting = true;
    try {
      const old = this.#current;
      this.#current = this.#attach(await again.attempt());
      if (this.#closing) this.#current.close();
      else void old.retire();
      for (const call of takeAll(waiting)) this.#current.open(call);
    } catch (error) {
      const status = statusOf(error);
      for (const call of takeAll(waiting)) call.end(status);
    }
    this.#connecting = false;
    this.#settle();
  }

  #attach(conn: ByteConnection): ClientConnection {
    const connection = new ClientConnection({
      conn,
      name: this.#name,
      limits: this.#limits,
      timers: this.#timers,
      onExhausted: (call) => {
        if (this.#mayConnect && !this.#closing) this.#wait(call);
        else call.end(this.#closing ?? connection.exhaustedStatus);
      },
      onEnd: (failure) => {
        this.#connections.delete(connection);
        this.#keeper.tally.disconnect(connection.connection);
        tell(this.#onClose, failure && statusError(failure));
      },
    });
    this.#connections.add(connection);
    this.#running.add(connection);
    this.#again?.connected();
    if (this.#unref) connection.connection.unref();
    void connection.connection.run().then(() => {
      this.#running.delete(connection);
      this.#settle();
    });
    return connection;
  }

  /** Finds out whether this was the end. */
  #settle(): void {
    if (this.#running.size > 0 || this.#connecting) return;
    if (this.#mayConnect && !this.#closing) return;
    this.#keeper.deadlines.close();
    this.#end.resolve();
  }
}

/** Raw methods that are remembered, so that calling one again is as cheap as calling a typed one. */
const MOST_RAW_METHODS = 1_024;

function takeAll<T>(set: Set<T>): T[] {
  const all = [...set];
  set.clear();
  return all;
}

function addressDialler(address: ReturnType<typeof parseAddress>): Dialler {
  return { dial: (signal) => open(address, signal), name: formatAddress(address) };
}

const UNNAMED_DIALLER = "a dialler";
