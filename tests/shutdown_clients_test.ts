// A shutdown answers what it can and ends in bounded time, whatever clients do: those that are idle,
// never read, never close, have half-closed, or write on.

import {
  type ByteConnection,
  connect,
  createConnectionPair,
  serve,
  type Server,
} from "@ttrpc/ttrpc/core";
import { deepEqual, equal } from "node:assert/strict";
import { decodeResponse } from "../wire/envelope.ts";
import { Bytes, type Place, testEverywhere } from "./everywhere.ts";
import { RawPeer, responseOf } from "./raw_peer.ts";
import { Held, requestFrame } from "./controlled.ts";
import { soon, turn, until } from "./wait.ts";

const X = new Uint8Array([120]);
/** Longer than any peer is waited for. */
const BOUNDED_MS = 5_000;

/** Where a server's connections come from: a listener, or one connection. */
type Source = Parameters<typeof serve>[0];

/** A server whose unary calls wait for a gate, or answer with many bytes. */
function gated(source: Source) {
  const gate = Promise.withResolvers<void>();
  const counts = { calls: 0 };
  const server = serve(source, (router) =>
    router.service(Bytes, {
      one: async (bytes) => {
        counts.calls++;
        await gate.promise;
        return bytes.length === 4
          ? new Uint8Array(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0))
          : bytes;
      },
      down: (bytes) => [bytes],
      up: () => X,
      both: (requests) => requests,
    }));
  return { server, counts, open: () => gate.resolve() };
}

/** A request for so many bytes. */
function sizeOf(length: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, length);
  return bytes;
}

/** The next Response: the id of the call, the code it ended with, and the length of the answer. */
async function answer(peer: RawPeer<ByteConnection>): Promise<[number, number, number]> {
  const { streamId, status, payload } = await soon(responseOf(peer), "a Response");
  return [streamId, status?.code ?? 0, payload.length];
}

/** Checks how long a shutdown takes. */
async function shutdown(server: Server, options = {}): Promise<void> {
  await soon(server.shutdown(options), "the shutdown", BOUNDED_MS);
  await soon(server.finished, "the server's end");
  equal(server.stats().connections, 0);
}

testEverywhere("shutdown() tells idle clients at once, and they see no error", async (place) => {
  const { server, open } = gated({ listener: place.listen() });
  open();
  const closed: unknown[] = [];
  const clients = [];
  for (let i = 0; i < 5; i++) {
    const client = await connect(await place.dial(), { onClose: (error) => closed.push(error) });
    await client.service(Bytes).one(X);
    clients.push(client);
  }
  const [near, far] = createConnectionPair(); // whose client never closes
  const slow = serve({ connection: far }, () => {}).shutdown().then(() => "the other");
  equal(await Promise.race([slow, shutdown(server).then(() => "this one")]), "this one");
  for (const client of clients) await soon(client.finished, "closed");
  deepEqual(closed, clients.map(() => undefined));
  near.close();
  await slow;
});

testEverywhere(
  "shutdown() waits about a second in all for clients that never close",
  async (place) => {
    const { server, counts, open } = gated({ listener: place.listen() });
    const peers = [];
    for (let i = 0; i < 10; i++) {
      const peer = new RawPeer(await place.dial());
      peers.push(peer);
      await peer.sendBytes(requestFrame(1, "One", X));
    }
    await until(() => counts.calls === peers.length, "the calls");
    const down = shutdown(server);
    open();
    await down; // and nobody has read anything
    for (const peer of peers) {
      deepEqual(await answer(peer), [1, 0, 1]);
      equal(await soon(peer.receive(), "the end"), undefined);
      peer.conn.close();
    }
  },
);

testEverywhere("shutdown() with a timeout leaves clients that never read", async (place) => {
  const { server, counts, open } = gated({ listener: place.listen() });
  using peer = new RawPeer(await place.dial());
  for (let i = 0; i < 4; i++) {
    await peer.sendBytes(requestFrame(2 * i + 1, "One", sizeOf(4_000_000)));
  }
  await until(() => counts.calls === 4, "the calls");
  open();
  await turn();
  await shutdown(server, { timeoutMs: 50 });
});

testEverywhere("shutdown() ends although a client writes on and reads nothing", async (place) => {
  const { server, counts } = gated({ listener: place.listen() });
  using peer = new RawPeer(await place.dial());
  await peer.sendBytes(requestFrame(1, "One", X));
  await until(() => counts.calls === 1, "the call");
  const sending = (async () => {
    for (let id = 3;; id += 2) await peer.sendBytes(requestFrame(id, "One", new Uint8Array(1_000)));
  })().catch(() => {}); // it is cut off
  await shutdown(server, { timeoutMs: 50 });
  peer.conn.close();
  await sending;
});

testEverywhere("shutdown() ends although a client writes on and never closes", async (place) => {
  const { server, counts, open } = gated({ listener: place.listen() });
  using peer = new RawPeer(await place.dial());
  await peer.sendBytes(requestFrame(1, "One", X));
  await until(() => counts.calls === 1, "the call");
  const down = shutdown(server);
  const sending = (async () => {
    for (let id = 3;; id += 2) {
      await peer.sendBytes(requestFrame(id, "One", new Uint8Array(1_000)));
      await turn();
    }
  })().catch(() => {}); // it is cut off
  open();
  let answered = 0;
  for (let frame; (frame = await soon(peer.receive(), "an answer or the end")) !== undefined;) {
    if (frame.streamId === 1 && decodeResponse(frame.data).payload.length === 1) answered++;
  }
  equal(answered, 1);
  await down;
  peer.conn.close();
  await sending;
});

// TCP cannot tell a client that has half-closed from one that is gone.
testEverywhere("shutdown() answers clients that have half-closed", async (place) => {
  const { server, counts, open } = gated({ listener: place.listen() });
  using peer = new RawPeer(await place.dial());
  await peer.sendBytes(requestFrame(1, "One", sizeOf(1_000_000)));
  await until(() => counts.calls === 1, "the call");
  await peer.conn.closeWrite!();
  const down = shutdown(server);
  await turn();
  open();
  deepEqual(await answer(peer), [1, 0, 1_000_000]);
  equal(await soon(peer.receive(), "the end"), undefined);
  await down;
}, ["a unix socket", "memory"]);

/** Reads once, and then not before it was half-closed. */
class ReadOnce implements ByteConnection {
  readonly #conn: ByteConnection;
  readonly #ending = Promise.withResolvers<void>();
  #reads = 0;

  constructor(conn: ByteConnection) {
    this.#conn = conn;
  }

  /** Settles when this side sends no more. */
  get ending(): Promise<void> {
    return this.#ending.promise;
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    if (this.#reads++ > 0) await this.#ending.promise;
    return await this.#conn.read(buffer);
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#conn.write(bytes);
  }

  async closeWrite(): Promise<void> {
    await this.#conn.closeWrite!();
    this.#ending.resolve();
  }

  close(): void {
    this.#conn.close();
    this.#ending.resolve();
  }
}

async function unread(place: Place, length: number): Promise<void> {
  const listener = place.listen();
  const held = new Held(await place.dial());
  const connection = new ReadOnce(await listener.accept());
  listener.close();
  const { server, open } = gated({ connection });
  open();
  await using client = await connect(held);
  const service = client.service(Bytes);
  const one = service.one(sizeOf(length));
  await until(() => server.stats().callsStarted === 1 && server.stats().callsInFlight === 0, "one");
  const { written } = held;
  const late = service.one(X).catch((error) => error);
  await until(() => held.written > written, "a request that the server does not read");
  const down = shutdown(server);
  await soon(connection.ending, "the end of what the server sends");
  held.release();
  equal((await soon(one, "the answer")).length, length);
  equal((await soon(late, "the late call")).code, 14);
  await down;
}

// As many bytes as the system takes for a client that does not read: Linux takes more than others.
const [UNIX, TCP] = Deno.build.os === "linux" ? [100_000, 300_000] : [4_000, 100_000];
for (
  const [where, length] of [["a unix socket", UNIX], ["TCP", TCP], ["memory", 60_000]] as const
) {
  testEverywhere(
    "an answer that its client has not read yet outlasts the shutdown",
    (place) => unread(place, length),
    [where],
  );
}
