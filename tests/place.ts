/** Places where servers of the test service come and go, over whatever connection. */

import {
  type ByteConnection,
  type ByteListener,
  type Client,
  connect,
  type ConnectOptions,
  createConnectionPair,
  serve,
  type ServeOptions,
  type Server,
} from "@ttrpc/ttrpc";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder, type TestHandlers, testHandlers } from "./fixture.ts";
import { until } from "./wait.ts";

/** What connections are made of. */
export const TRANSPORTS = ["unix", "tcp", "memory"] as const;

export type Transport = typeof TRANSPORTS[number];

/** A place where servers of the test service come and go, and its clients. */
export class Place implements AsyncDisposable {
  /** What the servers' `onError` heard. */
  readonly errors: unknown[] = [];
  readonly #transport: Transport;
  readonly #socket = new SocketFolder();
  readonly #clients: Client[] = [];
  #port = 0;
  #memory: MemoryListener | undefined;
  #server: Server | undefined;

  constructor(transport: Transport = "unix") {
    this.#transport = transport;
  }

  /** The socket's path, for a place of the transport "unix". */
  get path(): string {
    return this.#socket.path;
  }

  /** The server. */
  get server(): Server {
    return this.#server!;
  }

  /** Starts a server, and waits until it listens. */
  async serve(
    handlers: Partial<TestHandlers> = {},
    settings: ServeOptions = {},
  ): Promise<Server> {
    const options = { onError: (error: unknown) => void this.errors.push(error), ...settings };
    this.#server = serve(
      { ...options, ...this.#where() },
      (router) => router.service(TestService, { ...testHandlers, ...handlers }),
    );
    await this.#server.listening;
    const { addr } = this.#server;
    if (addr?.transport === "tcp") this.#port = addr.port;
    return this.#server;
  }

  #where(): { path: string } | { port: number } | { listener: ByteListener } {
    if (this.#transport === "unix") return { path: this.path };
    if (this.#transport === "tcp") return { port: this.#port };
    return { listener: this.#memory = new MemoryListener() };
  }

  /** Opens a connection to the server. */
  async open(): Promise<ByteConnection> {
    const { path } = this;
    if (this.#transport === "unix") return await Deno.connect({ transport: "unix", path });
    if (this.#transport === "tcp") return await Deno.connect({ port: this.#port });
    return await this.#memory!.dial();
  }

  /** Connects a client. */
  async connect(options: ConnectOptions = {}): Promise<Client> {
    const address = this.#transport === "unix"
      ? { path: this.path }
      : this.#transport === "tcp"
      ? { port: this.#port }
      : { dial: () => this.open() };
    return this.adopt(await connect(address, options));
  }

  /** Closes a client at the end. */
  adopt(client: Client): Client {
    this.#clients.push(client);
    return client;
  }

  /** Ends the server, and waits until its clients know. */
  async stop(): Promise<void> {
    await this.server.shutdown({ timeoutMs: 0 });
    await until(() => this.#clients.every((client) => client.stats().connections === 0));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
    this.#server?.close();
    await this.#server?.finished;
    this.#socket[Symbol.dispose]();
  }
}

/** Takes connections within the process. */
class MemoryListener implements ByteListener {
  readonly #waiting: ByteConnection[] = [];
  #wake = () => {};
  #closed = false;

  dial(): Promise<ByteConnection> {
    if (this.#closed) return Promise.reject(new Deno.errors.ConnectionRefused("nobody there"));
    const [near, far] = createConnectionPair();
    this.#waiting.push(far);
    this.#wake();
    return Promise.resolve(near);
  }

  close(): void {
    this.#closed = true;
    for (const conn of this.#waiting.splice(0)) conn.close(); // nobody accepts them any more
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<ByteConnection> {
    while (!this.#closed) {
      while (this.#waiting.length > 0) yield this.#waiting.shift()!;
      if (!this.#closed) await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }
}

/** A connection that writes nothing while it is held. */
export class Held implements ByteConnection {
  readonly closeWrite?: () => Promise<void>;
  readonly #conn: ByteConnection;
  #held: PromiseWithResolvers<void> | undefined;

  constructor(conn: ByteConnection) {
    this.#conn = conn;
    if (conn.closeWrite) this.closeWrite = () => conn.closeWrite!();
  }

  hold(): void {
    this.#held = Promise.withResolvers();
  }

  release(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  read(buffer: Uint8Array): Promise<number | null> {
    return this.#conn.read(buffer);
  }

  async write(bytes: Uint8Array): Promise<number> {
    await this.#held?.promise;
    return await this.#conn.write(bytes);
  }

  close(): void {
    this.release();
    this.#conn.close();
  }
}
