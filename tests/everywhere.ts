/** Where a client and a server can meet: on a unix socket, over TCP, and in memory. */

import {
  type ByteConnection,
  type ByteListener,
  bytesCodec,
  createConnectionPair,
  type Interceptor,
} from "@ttrpc/ttrpc/core";
import { SocketFolder } from "./fixture.ts";

/** A listener whose connections a test can also take itself. */
export interface PlaceListener extends ByteListener {
  accept(): Promise<ByteConnection>;
  close(): void;
}

/** A place of one test. */
export interface Place extends Disposable {
  /** What the client's end is called in errors. */
  title(): string;
  listen(): PlaceListener;
  dial(): Promise<ByteConnection>;
}

/** Connections in memory that come in as from a socket. */
class MemoryListener implements PlaceListener {
  readonly #waiting: ByteConnection[] = [];
  #wake = Promise.withResolvers<void>();
  #closed = false;

  dial(): ByteConnection {
    if (this.#closed) throw new Deno.errors.ConnectionRefused("nobody listens");
    const [near, far] = createConnectionPair();
    this.#waiting.push(far);
    this.#wake.resolve();
    return near;
  }

  async accept(): Promise<ByteConnection> {
    while (this.#waiting.length === 0 && !this.#closed) {
      this.#wake = Promise.withResolvers();
      await this.#wake.promise;
    }
    if (this.#closed) throw new Deno.errors.BadResource("the listener is closed");
    return this.#waiting.shift()!;
  }

  close(): void {
    this.#closed = true;
    this.#wake.resolve();
    for (const conn of this.#waiting) conn.close();
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<ByteConnection> {
    while (!this.#closed) yield await this.accept();
  }
}

function unix(): Place {
  const socket = new SocketFolder();
  const { path } = socket;
  return {
    title: () => `connection to unix:${path}`,
    listen: () => Deno.listen({ transport: "unix", path }) as unknown as Deno.Listener,
    dial: () => Deno.connect({ transport: "unix", path }),
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

function tcp(): Place {
  let port = 0;
  return {
    title: () => `connection to tcp://127.0.0.1:${port}`,
    listen: () => {
      const listener = Deno.listen({ hostname: "127.0.0.1", port });
      port = listener.addr.port;
      return listener;
    },
    dial: async () => {
      const conn = await Deno.connect({ hostname: "127.0.0.1", port });
      conn.setNoDelay(true);
      return conn;
    },
    [Symbol.dispose]: () => {},
  };
}

function memory(): Place {
  let listener: MemoryListener | undefined;
  return {
    title: () => "connection",
    listen: () => listener = new MemoryListener(),
    dial: () => Promise.try(() => listener!.dial()),
    [Symbol.dispose]: () => {},
  };
}

/** All places, by what tests call them. */
const PLACES: Readonly<Record<string, () => Place>> = {
  "a unix socket": unix,
  "TCP": tcp,
  "memory": memory,
};

/** Registers a test for each place, or for some. */
export function testEverywhere(
  name: string,
  test: (place: Place) => Promise<void>,
  places: readonly string[] = Object.keys(PLACES),
): void {
  for (const where of places) {
    Deno.test(`${name}, over ${where}`, async () => {
      using place = PLACES[where]!();
      await test(place);
    });
  }
}

/** A service of all four kinds whose messages are bytes. */
export const Bytes = {
  typeName: "test.Bytes",
  method: {
    one: { name: "One", methodKind: "unary", input: bytesCodec, output: bytesCodec },
    down: { name: "Down", methodKind: "server_streaming", input: bytesCodec, output: bytesCodec },
    up: { name: "Up", methodKind: "client_streaming", input: bytesCodec, output: bytesCodec },
    both: { name: "Both", methodKind: "bidi_streaming", input: bytesCodec, output: bytesCodec },
  },
} as const;

/** An interceptor that waits, and passes everything on. */
export const pass: Interceptor = (next) => async (request) => {
  await undefined;
  return await next(request);
};

/** What a call fails with, for calls that are all awaited before any is looked at. */
export function errorOf(call: PromiseLike<unknown>): Promise<unknown> {
  return Promise.resolve(call).then(() => "no error", (error) => error);
}
