// Connections without calls.

import { connect, serve } from "@ttrpc/ttrpc/core";
import { equal, ok } from "node:assert/strict";
import { Bytes, type Place, testEverywhere } from "./everywhere.ts";
import { RawPeer } from "./raw_peer.ts";
import { sleep, soon, until } from "./wait.ts";

const X = new Uint8Array(1);

function serveGated(place: Place, idleTimeoutMs: number, gate: Promise<void>) {
  return serve(
    { listener: place.listen(), limits: { idleTimeoutMs } },
    (router) =>
      router.service(Bytes, {
        one: async (bytes) => {
          await gate;
          return bytes;
        },
        up: () => X,
        down: () => [],
        both: () => [],
      }),
  );
}

testEverywhere(
  "a connection that has no call for idleTimeoutMs is ended, without an error",
  async (place) => {
    const server = serveGated(place, 20, Promise.resolve());
    for (const calls of [0, 3]) {
      const ends: unknown[] = [];
      const start = performance.now();
      const client = await connect(await place.dial(), {
        onClose: (error) => void ends.push(error),
      });
      for (let i = 0; i < calls; i++) await client.service(Bytes).one(X);
      await soon(client.finished, "the end of the connection");
      ok(performance.now() - start >= 19);
      equal(ends.length, 1);
      equal(ends[0], undefined);
    }
    await until(() => server.stats().connections === 0, "the end at the server");
    await server.shutdown();
  },
);

testEverywhere("a call in flight is no idleness, however long it takes", async (place) => {
  const gate = Promise.withResolvers<void>();
  const server = serveGated(place, 20, gate.promise);
  const client = await connect(await place.dial());
  const call = client.service(Bytes).one(X);
  await sleep(100); // several times the limit
  equal(server.stats().connections, 1);
  gate.resolve();
  equal((await call).length, 1);
  await soon(client.finished, "the end of the connection");
  await server.shutdown();
});

testEverywhere("a frame under way is no idleness, until it has taken too long", async (place) => {
  const server = serveGated(place, 20, Promise.resolve());
  using peer = new RawPeer(await place.dial());
  await peer.sendBytes(new Uint8Array(5));
  await sleep(100); // several times the limit
  equal(server.stats().connections, 1);
  peer[Symbol.dispose]();
  await until(() => server.stats().connections === 0, "the end of the connection");
  await server.shutdown();
});

testEverywhere("calls that come again and again keep a connection", async (place) => {
  const server = serveGated(place, 200, Promise.resolve());
  const client = await connect(await place.dial());
  const service = client.service(Bytes);
  for (const end = performance.now() + 600; performance.now() < end;) {
    await service.one(X);
    await sleep(5);
  }
  equal(server.stats().connections, 1);
  await client[Symbol.asyncDispose]();
  await server.shutdown();
});

testEverywhere("a server with an idle time shuts down at once", async (place) => {
  const server = serveGated(place, 60_000, Promise.resolve());
  const client = await connect(await place.dial());
  await client.service(Bytes).one(X);
  await soon(server.shutdown(), "the shutdown");
  await client.finished;
});
