/**
 * The server: listens, accepts connections, runs handlers, and shuts down.
 *
 * @module
 */

import {
  type Address,
  formatAddress,
  nameOf,
  parseAddress,
  type ParsedAddress,
  type TcpAddress,
  type UnixAddress,
  type VsockAddress,
} from "./address.ts";
import { type ByteConnection, isByteConnection } from "./transport.ts";
import { Deadlines } from "./async/deadlines.ts";
import { HeldBytes } from "./engine/held_bytes.ts";
import type { Interceptor } from "./interceptor.ts";
import { type ExtensionOptions, resolveExtension } from "./engine/keepalive.ts";
import { type Limits, resolveLimits } from "./limits.ts";
import { accepted, listen, listenLater } from "./net/listen.ts";
import type { ByteListener } from "./transport.ts";
import { Pressure } from "./engine/pressure.ts";
import { Router } from "./engine/router.ts";
import { runningCall } from "./engine/running.ts";
import { ServerConnection, type ServerHost } from "./engine/server_connection.ts";
import { checkSignal } from "./async/signals.ts";
import { type Stats, Tally } from "./stats.ts";
import type { Stream } from "./engine/stream.ts";
import { isPromiseLike, tell } from "./async/tell.ts";
import { checkTime, Timers } from "./async/timer.ts";
import type { SocketMode } from "./net/unix_listener.ts";

/**
 * Options of {@linkcode serve}, in addition to a {@linkcode ServeAddress}.
 *
 * @category Server
 */
export interface ServeOptions extends ExtensionOptions {
  /** Shuts the server down gracefully when it is aborted. */
  signal?: AbortSignal | undefined;
  /** Interceptors, outermost first. */
  interceptors?: readonly Interceptor[] | undefined;
  /** Limits that differ from the defaults. */
  limits?: Partial<Limits> | undefined;
  /**
   * The permission bits of a unix socket, in effect from its creation on. 0o600 by default: only
   * the server's user may connect. `"umask"` leaves them to the umask of the process. Abstract
   * sockets have none: every process on the machine may connect.
   */
  mode?: SocketMode | undefined;
  /**
   * Called with errors that no caller gets: lost connections, failures to listen or to accept a
   * connection; and, with the method, errors that a handler throws and that are not `RpcError`s,
   * and errors that a listener of `context.signal` throws.
   */
  onError?: ((error: unknown, method?: string) => void) | undefined;
  /** Called when the server listens, with its address. */
  onListen?: ((addr: Deno.Addr) => void) | undefined;
}

/**
 * Where to serve: at an address, on the connections of a listener, or on one open connection.
 *
 * @category Server
 */
export type ServeAddress =
  | UnixAddress
  | TcpAddress
  | VsockAddress
  | {
    /** The address to listen on, in any form. */
    address: Address;
  }
  | {
    /** A listener, which the server owns and closes from then on. */
    listener: ByteListener;
  }
  | {
    /** An open connection, which the server owns. The server is finished when it ends. */
    connection: ByteConnection;
  };

/**
 * Options of {@linkcode Server.shutdown}. Without any, it waits for all calls.
 *
 * @category Server
 */
export interface ShutdownOptions {
  /** Forces the shutdown after this time, in milliseconds. */
  timeoutMs?: number | undefined;
  /** Forces the shutdown when it is aborted. */
  signal?: AbortSignal | undefined;
}

/**
 * Starts a ttrpc server.
 *
 * A unix socket is created at `PATH.new/s` and then moved to PATH. It needs
 * `--allow-net=unix:PATH,unix:PATH.new/s`, and `--allow-read=FOLDER --allow-write=FOLDER` for the
 * folder of PATH. TCP needs `--allow-net=HOST:PORT`.
 *
 * A stale socket, on which no server listens, is replaced. Where a socket exists, the server tests
 * it first, and listens only after this function has returned: await {@linkcode Server.listening}.
 *
 * @category Server
 * @param options Where and how to serve.
 * @param routes Registers services with the router, synchronously.
 * @returns The running server.
 * @throws {TypeError | RangeError} If the address, an option or the routes are invalid.
 * @throws {Deno.errors.AddrInUse} If an ordinary file has the path of the socket, or the port is in
 * use.
 * @throws {Deno.errors.NotCapable} If a permission of Deno is missing.
 *
 * @example Serve until interrupted
 * ```ts
 * import { serve } from "@ttrpc/ttrpc";
 * import { Greeter } from "./gen/greeter/v1/greeter_ttrpc.ts";
 *
 * const path = await Deno.makeTempDir() + "/greeter.sock";
 * const server = serve({ path }, (router) =>
 *   router.service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) }));
 *
 * Deno.addSignalListener("SIGINT", interrupted);
 * setTimeout(interrupted, 10); // so that this example ends
 * await server.finished;
 *
 * function interrupted() {
 *   Deno.removeSignalListener("SIGINT", interrupted);
 *   server.shutdown({ timeoutMs: 5_000 });
 * }
 * ```
 */
export function serve(
  options: ServeOptions & ServeAddress,
  routes: (router: Router) => unknown,
): Server {
  return new Server(options, routes);
}

/**
 * A running server. {@linkcode serve} starts one.
 *
 * @category Server
 */
export class Server implements AsyncDisposable {
  /**
   * Resolves when the server listens: at once for a listener and for a single connection. Rejects
   * if the server finds out after {@linkcode serve} has returned that it cannot listen.
   */
  readonly listening: Promise<void>;
  /**
   * Resolves when the server is closed and all its resources are released. Rejects if the server
   * found out after {@linkcode serve} had returned that it cannot listen, because another server is
   * alive on its path.
   */
  readonly finished: Promise<void>;
  readonly #host: ServerHost;
  readonly #timers = new Timers();
  readonly #settings: ServeOptions;
  readonly #tally = new Tally();
  readonly #connections = new Set<ServerConnection>();
  readonly #running = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  readonly #selfEnding = new Set<Stream>(); // calls whose handlers shut the server down
  readonly #started = Promise.withResolvers<void>();
  #listener: ByteListener | undefined;
  #draining: Promise<void> | undefined;
  #closed = false;
  #unref = false;

  /** @ignore {@linkcode serve} makes one. */
  constructor(options: ServeOptions & ServeAddress, routes: (router: Router) => unknown) {
    const { signal } = options;
    checkSignal(signal);
    const limits = resolveLimits(options.limits);
    const router = new Router(options.interceptors, limits.messageBytes);
    if (isPromiseLike(routes(router))) {
      throw new TypeError(
        "Cannot serve: routes must be registered synchronously; the callback returned a promise",
      );
    }
    const deadlines = new Deadlines();
    const held = new HeldBytes(limits.serverHeldBytes);
    this.#settings = { ...options };
    this.#host = {
      router,
      deadlines,
      tally: this.#tally,
      limits,
      timers: this.#timers,
      held,
      extension: resolveExtension(options),
      running: 0,
      telling: 0,
      report: (error, method) => this.#report(error, method),
      disconnected: (connection) => {
        this.#connections.delete(connection);
        this.#tally.disconnect(connection.connection);
      },
    };
    const pressure = new Pressure(
      held,
      this.#timers,
      limits.frameTimeoutMs,
      () => [...this.#connections].map(({ connection }) => connection),
    );
    const shutdown = () => void this.shutdown();
    this.listening = this.#started.promise;
    this.listening.catch(() => {}); // `finished` rejects with the same error
    this.finished = this.#start(options).finally(() => {
      signal?.removeEventListener("abort", shutdown);
      deadlines.close();
      pressure.stop();
    });
    // `onError` gets the error. Without it, the unhandled rejection keeps it from being lost.
    if (options.onError) this.finished.catch(() => {});
    signal?.addEventListener("abort", shutdown);
    if (signal?.aborted) shutdown();
  }

  /** The address the server listens on; `undefined` before it does, and for a single connection. */
  get addr(): Deno.Addr | undefined {
    return this.#listener?.addr;
  }

  /**
   * Shuts down gracefully: stops listening, fails new calls with `UNAVAILABLE`, lets calls in
   * flight finish, and closes the connections. When the shutdown is forced, calls still in flight
   * end: `context.signal` is aborted, and callers get `UNAVAILABLE`.
   *
   * A handler may shut its own server down. If it does so before it first awaits something, the
   * promise does not wait for the handler's own call, which still gets its response. If it does so
   * later, the promise waits for that call, so the handler must not await it.
   *
   * @param options When to force the shutdown.
   * @returns Resolves when the server is closed. Unless it is forced, that takes until all calls in
   * flight have ended and their clients have read the responses.
   * @throws {RangeError | TypeError} If an option is invalid.
   */
  async shutdown(options: ShutdownOptions = {}): Promise<void> {
    const own = runningCall();
    const { signal } = options;
    const timeoutMs = checkTime("timeoutMs", options.timeoutMs);
    checkSignal(signal);
    this.#stopListening();
    this.#draining ??= this.#each((connection) => connection.drain());
    const over = new AbortController();
    const either = signal ? AbortSignal.any([signal, over.signal]) : over.signal;
    const drained = this.#drained(own);
    const forced = this.#timers.pause(timeoutMs, either).then(() => true);
    const first = await Promise.race([drained, forced]);
    over.abort();
    if (first === "but for some") {
      void this.#draining.then(() => this.close());
      return;
    }
    await this.#each((connection) => connection.force());
    this.close();
    // A failure to listen is reported by `finished`, not to this caller.
    await this.finished.catch(() => {});
  }

  /** Settles when all calls have ended, except for those that shut the server down themselves. */
  async #drained(own: Stream | undefined): Promise<"but for some" | undefined> {
    const connections = [...this.#connections].map(({ connection }) => connection);
    if (!own || connections.every(({ streams }) => streams.get(own.id) !== own)) {
      await this.#draining;
      return;
    }
    this.#selfEnding.add(own);
    for (const connection of connections) connection.look();
    await Promise.all(connections.map((connection) => connection.whenIdle(this.#selfEnding)));
    return "but for some";
  }

  /** Closes the server at once. Callers of calls in flight get `UNAVAILABLE`. */
  close(): void {
    this.#closed = true;
    this.#stopListening();
    for (const { connection } of [...this.#connections]) connection.close();
  }

  /**
   * Shuts down gracefully, as {@linkcode Server.shutdown} does without options.
   *
   * @returns Resolves when the server is closed.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /**
   * Statistics of the server.
   *
   * @returns The numbers at this moment.
   */
  stats(): Stats {
    const connections = [...this.#connections].map(({ connection }) => connection);
    return this.#tally.stats(connections, this.#host.held.bytes);
  }

  /** Makes the server keep the process alive, as it does by default. */
  ref(): void {
    this.#unref = false;
    this.#host.deadlines.ref();
    this.#timers.ref();
    this.#listener?.ref?.();
    for (const { connection } of this.#connections) connection.ref();
  }

  /** Lets the process exit while the server is running. */
  unref(): void {
    this.#unref = true;
    this.#host.deadlines.unref();
    this.#timers.unref();
    this.#listener?.unref?.();
    for (const { connection } of this.#connections) connection.unref();
  }

  /** Starts to serve, at once if possible. The promise settles when the server has ended. */
  #start(options: ServeOptions & ServeAddress): Promise<void> {
    if ("connection" in options) {
      const { connection } = options;
      if (!isByteConnection(connection)) {
        throw new TypeError("Cannot serve: `connection` is not an open connection");
      }
      this.#started.resolve();
      return this.#serve(connection, nameOf(connection));
    }
    if ("listener" in options) {
      const { listener } = options;
      if (listener === undefined) throw new TypeError("Cannot serve: `listener` is undefined");
      return this.#accept(listener);
    }
    const address = parseAddress("address" in options ? options.address : options);
    const mode = options.mode ?? 0o600;
    const listener = listen(address, mode);
    return listener
      ? this.#accept(listener, address)
      : this.#acceptLater(address as Required<UnixAddress>, mode);
  }

  /** Listens on a path that has a socket already, if that is stale. */
  async #acceptLater(address: Required<UnixAddress>, mode: SocketMode): Promise<void> {
    const { signal } = this.#stopping;
    let listener: ByteListener;
    try {
      listener = await listenLater(address, mode, signal);
    } catch (error) {
      if (signal.aborted) return this.#started.resolve();
      this.#report(error);
      this.#started.reject(error);
      throw error;
    }
    await this.#accept(listener, address);
  }

  async #accept(listener: ByteListener, address?: ParsedAddress): Promise<void> {
    this.#listener = listener;
    const name = address ? formatAddress(address) : "a listener";
    if (this.#unref) listener.unref?.();
    this.#started.resolve();
    await undefined; // `onListen` may use what `serve()` returns
    try {
      if (listener.addr) this.#settings.onListen?.(listener.addr);
    } catch (error) {
      this.#report(error);
    }
    try {
      const { signal } = this.#stopping;
      const report = (error: unknown) => this.#report(error);
      for await (const conn of accepted(listener, signal, report)) {
        void this.#serve(conn, name);
      }
    } catch (error) {
      this.#report(error);
    }
    this.#stopListening();
    await this.#over();
  }

  /** Serves one connection until it ends. Never rejects. */
  async #serve(conn: ByteConnection, name: string | undefined): Promise<void> {
    if (this.#closed || this.#draining) return tell(() => conn.close());
    const { connections } = this.#host.limits;
    if (this.#connections.size >= connections) {
      this.#report(
        new Error(
          `Cannot accept another connection: there are ${connections}, ` +
            `which is the most that limits.connections allows`,
        ),
      );
      return tell(() => conn.close());
    }
    const connection = new ServerConnection(conn, name, this.#host);
    this.#connections.add(connection);
    if (this.#unref) connection.connection.unref();
    const running = connection.connection.run();
    this.#running.add(running);
    await running;
    this.#running.delete(running);
  }

  async #over(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async #each(action: (connection: ServerConnection) => Promise<void>): Promise<void> {
    await Promise.all([...this.#connections].map(action));
  }

  #stopListening(): void {
    this.#stopping.abort();
    const listener = this.#listener;
    tell(() => listener?.close?.()); // it may be closed already
  }

  #report(error: unknown, method?: string): void {
    tell(this.#settings.onError, error, method);
  }
}
