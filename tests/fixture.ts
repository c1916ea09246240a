/** What many tests need: a place for a socket, and a server of the test service. */

import {
  type Client,
  connect,
  type ConnectOptions,
  type Router,
  RpcError,
  serve,
  type ServeAddress,
  type ServeOptions,
  type Server,
  type ServiceClient,
  type ServiceHandlers,
} from "@ttrpc/ttrpc";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { sleep } from "./wait.ts";

/** A folder of its own for a socket, removed at the end. */
export class SocketFolder implements Disposable {
  readonly folder: string = Deno.makeTempDirSync({ prefix: "ttrpc-" });
  readonly path: string = `${this.folder}/test.sock`;

  /** Leaves a socket that nobody listens on, as a server does that was killed. */
  leaveStale(): void {
    // Deno removes the socket of a listener that it closes, but not under another name.
    const listener = Deno.listen({ transport: "unix", path: `${this.path}.other` });
    Deno.renameSync(`${this.path}.other`, this.path);
    listener.close();
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

export type TestHandlers = ServiceHandlers<typeof TestService>;

/** The test service as its proto file describes it. */
export const testHandlers: TestHandlers = {
  echo: ({ payload, text }, { metadata }) => ({
    payload,
    text,
    metadata: Array.from(metadata, ([key, value]) => ({ key, value })),
  }),
  fail: ({ code, message, details }) => {
    throw new RpcError(code, message, { details });
  },
  sleep: async ({ milliseconds }, { signal, timeoutMs = 0 }) => {
    await sleep(Number(milliseconds), signal);
    return { deadlineMilliseconds: BigInt(Math.round(timeoutMs)) };
  },
  nothing: () => ({}),
  produce: ({ length }) => ({ payload: new Uint8Array(length) }),
  async *count({ count }) {
    for (let value = 0; value < count; value++) yield { value: BigInt(value) };
  },
  sum: async (requests) => {
    let value = 0n;
    for await (const request of requests) value += request.value;
    return { value };
  },
  async *chat(requests) {
    for await (const { payload, text } of requests) yield { payload, text };
  },
};

/** Settles when a signal is aborted. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) return Promise.resolve(signal.reason);
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve(signal.reason), { once: true })
  );
}

/** A server of the test service on a socket of its own, and a client of it. */
export class TestBed implements AsyncDisposable {
  readonly server: Server;
  readonly path: string;
  readonly #socket = new SocketFolder();
  readonly #clients: Client[] = [];
  /** What the server's `onError` heard. */
  readonly errors: unknown[] = [];

  constructor(handlers: Partial<TestHandlers> = {}, settings: ServeOptions = {}) {
    this.path = this.#socket.path;
    this.server = serve(
      { onError: (error) => void this.errors.push(error), ...settings, path: this.path },
      (router) => router.service(TestService, { ...testHandlers, ...handlers }),
    );
  }

  async connect(options?: ConnectOptions): Promise<Client> {
    const client = await connect({ path: this.path }, options);
    this.#clients.push(client);
    return client;
  }

  async service(options?: ConnectOptions): Promise<ServiceClient<typeof TestService>> {
    return (await this.connect(options)).service(TestService);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
    this.server.close();
    await this.server.finished;
    this.#socket[Symbol.dispose]();
  }
}

/** A server of other routes on a socket of its own. */
export function serveOn(
  socket: SocketFolder,
  routes: (router: Router) => unknown,
  settings: ServeOptions = {},
): Server {
  const options: ServeOptions & ServeAddress = { ...settings, path: socket.path };
  return serve(options, routes);
}
