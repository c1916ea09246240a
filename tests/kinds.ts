/** For tests of what holds for all kinds of call, and over whatever connection they go. */

import {
  type ByteConnection,
  type ByteListener,
  type CallOptions,
  type Client,
  connect,
  type ConnectOptions,
  createConnectionPair,
  type HandlerContext,
  type Interceptor,
  type MethodKind,
  serve,
  type Server,
  type ServeSettings,
  type ServiceClient,
} from "@ttrpc/ttrpc";
import { create, toBinary } from "@bufbuild/protobuf";
import { EchoRequestSchema, TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder, type TestHandlers, testHandlers } from "./fixture.ts";

/** The kinds of call. */
export const KINDS = [
  "unary",
  "server_streaming",
  "client_streaming",
  "bidi_streaming",
] as const satisfies MethodKind[];

/** The method of the test service that is called for each kind. */
export const METHODS = {
  unary: "Echo",
  server_streaming: "Count",
  client_streaming: "Sum",
  bidi_streaming: "Chat",
} as const;

export type TestClient = ServiceClient<typeof TestService>;

/** Makes a call of a kind, and takes all of its answer. */
export function callOf(
  kind: MethodKind,
  service: TestClient,
  options?: CallOptions,
): Promise<unknown> {
  if (kind === "unary") return service.echo({ text: "x" }, options);
  if (kind === "client_streaming") return service.sum([{ value: 1n }], options);
  if (kind === "server_streaming") return all(service.count({ count: 1 }, options));
  return all(service.chat([{ text: "x" }], options));
}

/** Makes a call of a kind with messages that are encoded already, and takes all of its answer. */
export function rawCallOf(
  kind: MethodKind,
  client: Client,
  options?: CallOptions,
): Promise<unknown> {
  const method = METHODS[kind];
  const none = new Uint8Array(0);
  const request = kind === "unary" || kind === "server_streaming" ? none : [none];
  return kind === "unary" || kind === "client_streaming"
    ? client.call(TestService.typeName, method, request, options)
    : all(client.stream(TestService.typeName, method, request, options));
}

/** Takes all messages, and does not say that no more are wanted when one fails. */
async function all<T>(messages: AsyncIterator<T>): Promise<T[]> {
  const taken: T[] = [];
  for (;;) {
    const { done, value } = await messages.next();
    if (done) return taken;
    taken.push(value);
  }
}

/** Handlers of each kind that do the same before they answer. */
export function handlersThat(
  run: (context: HandlerContext, kind: MethodKind) => unknown,
): Partial<TestHandlers> {
  return {
    echo: async ({ text }, context) => {
      await run(context, "unary");
      return { text };
    },
    async *count(_request, context) {
      await run(context, "server_streaming");
      yield { value: 1n };
    },
    sum: async (requests, context) => {
      await run(context, "client_streaming");
      for await (const _ of requests);
      return { value: 1n };
    },
    async *chat(requests, context) {
      await run(context, "bidi_streaming");
      for await (const { text } of requests) yield { text };
    },
  };
}

/** The interceptors that a test of all calls is run with: none, one that adds nothing, and a slow one. */
export const INTERCEPTORS: Readonly<Record<string, readonly Interceptor[]>> = {
  "without interceptors": [],
  "with an interceptor": [(next) => (request) => next(request)],
  "with a slow interceptor": [(next) => async (request) => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return await next(request);
  }],
};

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
    settings: ServeSettings = {},
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
    while (this.#clients.some((client) => client.stats().connections > 0)) await soon();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
    this.#server?.close();
    await this.#server?.finished;
    this.#socket[Symbol.dispose]();
  }
}

/** A moment, for tests that look again and again for what happens elsewhere. */
export function soon(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

/** Waits until something is so. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await soon();
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

/** Asks for nothing, with so many bytes that the calls after it have to wait for the socket. */
export const LONG_REQUEST: Uint8Array = toBinary(
  EchoRequestSchema,
  create(EchoRequestSchema, { payload: new Uint8Array(300_000) }),
);
