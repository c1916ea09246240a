// A connection that is not read, because too much waits on it, still notices that its peer is gone;
// and what nobody takes is failed only if it holds up somebody.

import {
  Code,
  connect,
  type ConnectOptions,
  type Limits,
  RpcError,
  serve,
  type Server,
} from "@ttrpc/ttrpc/core";
import { equal, ok } from "node:assert/strict";
import { HEADER_LENGTH } from "../framing.ts";
import { aborted } from "./fixture.ts";
import { Bytes, pass, type Place, testEverywhere } from "./everywhere.ts";
import { RawPeer } from "./raw_peer.ts";
import { dataFrame, requestFrame } from "./controlled.ts";
import { sleep, soon, until } from "./wait.ts";

const KIB = 1 << 10;
const SIZE = 16 * KIB;
const QUEUE = 256 * KIB;
const X = new Uint8Array([120]);
/** Small bounds, so that they are reached soon. */
const limits: Partial<Limits> = { streamQueueBytes: 64 * KIB, connectionQueueBytes: QUEUE };

/** TCP cannot tell without sending. */
const TELLING = ["a unix socket", "memory"];

/** Messages without end, each with its number. */
function* numbered(): Generator<Uint8Array> {
  for (let number = 0;; number++) {
    const message = new Uint8Array(SIZE);
    new DataView(message.buffer).setUint32(0, number);
    yield message;
  }
}

function flood(place: Place): Server {
  return serve({ listener: place.listen() }, (router) =>
    router.service(Bytes, {
      one: (bytes) => bytes,
      down: numbered,
      up: () => X,
      both: numbered,
    }));
}

const VARIANTS: Record<string, ConnectOptions> = {
  "": {},
  ", with interceptors": { interceptors: [pass] },
};

for (const [variant, options] of Object.entries(VARIANTS)) {
  const name = `a client paused on streams hears that its server is gone${variant}`;
  testEverywhere(name, async (place) => {
    const server = flood(place);
    const closed: (RpcError | undefined)[] = [];
    const onClose = (error?: RpcError) => void closed.push(error);
    await using client = await connect(await place.dial(), { ...options, limits, onClose });
    const service = client.service(Bytes);
    const streams = [service.down(X), service.both([X])];
    for (const stream of streams) await soon(stream.next(), "the first message");
    await until(() => client.stats().queuedBytes >= QUEUE, "a full queue");
    server.close();
    await soon(server.finished, "the server's end");
    await soon(client.finished, "the client's end");
    equal(closed.length, 1);
    equal(closed[0]?.code, Code.UNAVAILABLE);
    const { connections, callsInFlight, bytesReceived } = client.stats();
    equal(connections + callsInFlight, 0);

    // All that had come can still be taken.
    let count = 0;
    for (const stream of streams) {
      let number = 1;
      const end = await (async () => {
        for await (const message of stream) {
          equal(message.length, SIZE);
          equal(new DataView(message.buffer, message.byteOffset).getUint32(0), number++);
        }
      })().catch((error) => error);
      ok(end instanceof RpcError, String(end));
      equal(end.code, Code.UNAVAILABLE);
      count += number;
    }
    equal(count, Math.floor(bytesReceived / (SIZE + HEADER_LENGTH)));
    equal(client.stats().queuedBytes, 0);
  }, TELLING);
}

testEverywhere(
  "a paused client that is still sending hears that its server is gone",
  async (place) => {
    const server = flood(place);
    let told = 0;
    await using client = await connect(await place.dial(), { limits, onClose: () => void told++ });
    const stream = client.service(Bytes).both(numbered());
    await soon(stream.next(), "the first message");
    await until(() => client.stats().queuedBytes >= QUEUE, "a full queue");
    server.close();
    await soon(server.finished, "the server's end");
    await soon(client.finished, "the client's end");
    equal(told, 1);
    equal((await soon(stream.next(), "a message")).done, false);
    await stream.return();
  },
);

/** A server whose handlers take nothing, and tell when they are to stop. */
function stopped(place: Place) {
  const signals: AbortSignal[] = [];
  const wait = async (_: unknown, { signal }: { signal: AbortSignal }) => {
    signals.push(signal);
    await aborted(signal);
    return X;
  };
  const server = serve(
    { listener: place.listen(), limits: { ...limits, stallTimeoutMs: 0 } },
    (router) =>
      router.service(Bytes, {
        one: (bytes) => bytes,
        down: (bytes) => [bytes],
        up: wait,
        async *both(requests, context) {
          yield await wait(requests, context);
        },
      }),
  );
  return { server, signals };
}

testEverywhere("a server that has stopped reading notices that clients are gone", async (place) => {
  const { server, signals } = stopped(place);
  const peers = [];
  const sending = [];
  const message = dataFrame(1, new Uint8Array(SIZE));
  for (const method of ["Up", "Both", "Up", "Both"] as const) {
    const peer = new RawPeer(await place.dial());
    peers.push(peer);
    await peer.sendBytes(requestFrame(1, method));
    sending.push(
      (async () => {
        for (;;) await peer.sendBytes(message);
      })().catch(() => {}),
    ); // cut off below
  }
  await until(() => server.stats().queuedBytes >= 4 * QUEUE, "full queues");
  for (const peer of peers) peer.conn.close();
  await until(() => server.stats().connections === 0, "the end of the connections");
  await Promise.all(sending);
  equal(signals.length, 4);
  for (const signal of signals) ok(signal.aborted);
  const { callsInFlight, openStreams, queuedBytes } = server.stats();
  equal(callsInFlight + openStreams + queuedBytes, 0);
  await soon(server.shutdown(), "the shutdown");
}, TELLING);

/** A server whose uploads take a message, wait for a gate, and take the rest. */
function pausing(place: Place, gate: () => Promise<void>, stallTimeoutMs: number): Server {
  return serve(
    { listener: place.listen(), limits: { ...limits, stallTimeoutMs } },
    (router) =>
      router.service(Bytes, {
        one: (bytes) => bytes,
        down: (bytes) => [bytes],
        up: async (requests) => {
          let length = (await requests.next()).value?.length ?? 0;
          await gate();
          for await (const message of requests) length += message.length;
          return new TextEncoder().encode(`${length}`);
        },
        both: (requests) => requests,
      }),
  );
}

function* some(count: number): Generator<Uint8Array> {
  for (let i = 0; i < count; i++) yield new Uint8Array(SIZE);
}

// What the upload sends in all, and for how many times the stall timeout it is paused.
for (const [queues, pause] of [[1.5, 20], [20, 2.5]] as const) {
  testEverywhere(
    `a lone upload of ${queues} queues, paused for ${pause} timeouts, is not failed`,
    async (place) => {
      const stallTimeoutMs = queues > 2 ? 100 : 20;
      let stalled = false;
      const server = pausing(place, async () => {
        await until(() => server.stats().queuedBytes >= QUEUE, "a full queue");
        stalled = true;
        await sleep(pause * stallTimeoutMs);
      }, stallTimeoutMs);
      await using client = await connect(await place.dial());
      const service = client.service(Bytes);
      const count = queues * QUEUE / SIZE;
      const length = await soon(service.up(some(count)), "the upload");
      equal(new TextDecoder().decode(length), `${count * SIZE}`);
      ok(stalled);
      await soon(server.shutdown(), "the shutdown");
      equal(Object.keys(server.stats().callsFailed).length, 0);
    },
  );
}

testEverywhere(
  "an upload that holds up another call is failed, and that call answered",
  async (place) => {
    const gate = Promise.withResolvers<void>();
    const server = pausing(place, () => gate.promise, 30);
    await using client = await connect(await place.dial());
    const service = client.service(Bytes);
    const upload = service.up(numbered()).catch((error) => error);
    await until(() => server.stats().queuedBytes >= QUEUE, "a full queue");
    equal((await soon(service.one(X), "the other call")).length, 1);
    const error = await soon(upload, "the upload");
    ok(error instanceof RpcError, String(error));
    equal(error.code, Code.RESOURCE_EXHAUSTED);
    gate.resolve();
    await soon(server.shutdown(), "the shutdown");
  },
);

testEverywhere("an upload that holds up a call right behind it is failed", async (place) => {
  const gate = Promise.withResolvers<void>();
  const server = pausing(place, () => gate.promise, 30);
  using peer = new RawPeer(await place.dial());
  await peer.sendBytes(requestFrame(1, "Up"));
  // The first message is taken; the others fill the queue, and the last waits in the socket.
  for (let i = 0; i < QUEUE / SIZE + 2; i++) {
    await peer.sendBytes(dataFrame(1, new Uint8Array(SIZE)));
  }
  await peer.sendBytes(requestFrame(3, "One", X));
  while ((await soon(peer.receive(), "the answer"))!.streamId !== 3); // those to 1 are refusals
  gate.resolve();
  peer.conn.close();
  await soon(server.shutdown(), "the shutdown");
  equal(server.stats().callsFailed["RESOURCE_EXHAUSTED"], 1);
});
