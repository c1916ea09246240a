// Frames that are begun and not finished.

import { connect, serve, type ServiceHandlers } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { FrameTimeout } from "../engine/frame_timeout.ts";
import { encodeFrame, FrameDecoder, FrameType } from "../framing.ts";
import { Code, RpcError } from "../status.ts";
import { Bytes, testEverywhere } from "./everywhere.ts";
import { RawPeer } from "./raw_peer.ts";
import { FakeTimers } from "./stand_ins.ts";
import { until } from "./wait.ts";

const MS = 800;
const SINK = { frame() {}, oversized() {} };

/** A connection that waits for its peer, and what has become of its frames. */
function bed(ms = MS) {
  const timers = new FakeTimers();
  const decoder = new FrameDecoder(1 << 20);
  const seen = { expired: 0 };
  const timeout = new FrameTimeout(ms, decoder, timers, () => void seen.expired++);
  timeout.waiting = true;
  const receive = (bytes: Uint8Array) => {
    while (bytes.length > 0) {
      const space = decoder.space();
      const part = bytes.subarray(0, space.length);
      space.set(part);
      decoder.push(part.length, SINK);
      timeout.watch();
      bytes = bytes.subarray(part.length);
    }
  };
  return { timers, timeout, receive, seen };
}

function frame(length: number): Uint8Array {
  return encodeFrame({ streamId: 1, type: FrameType.Data, flags: 0, data: new Uint8Array(length) });
}

const beginnings = {
  "a byte": new Uint8Array(1),
  "half a header": frame(0).subarray(0, 5),
  "a short frame but its last byte": frame(100).subarray(0, 109),
  "a long frame but its last byte": frame(100_000).subarray(0, 100_009),
  "a frame over the limit but its last byte": frame(2 << 20).subarray(0, (2 << 20) + 9),
};

for (const [what, bytes] of Object.entries(beginnings)) {
  Deno.test(`${what} has its time, and no more`, async () => {
    const { timers, receive, seen } = bed();
    receive(bytes);
    await timers.pass(MS - 1);
    equal(seen.expired, 0);
    await timers.pass(1);
    equal(seen.expired, 1);
    equal(timers.running, 0);
  });
}

Deno.test("more bytes of the same frame give it no more time", async () => {
  const { timers, receive, seen } = bed();
  const bytes = frame(100);
  for (let at = 0; at < 10 && seen.expired === 0; at++) {
    receive(bytes.subarray(at, at + 1));
    await timers.pass(MS / 8);
  }
  equal(seen.expired, 1);
});

Deno.test("each frame has its own time", async () => {
  const { timers, receive, seen } = bed();
  const bytes = frame(10);
  receive(bytes.subarray(0, 5));
  for (let i = 0; i < 10; i++) {
    await timers.pass(MS / 2);
    receive(bytes.subarray(5));
    receive(bytes.subarray(0, 5));
  }
  equal(seen.expired, 0);
  await timers.pass(MS + MS / 8);
  equal(seen.expired, 1);
});

Deno.test("no timer runs when no frame is under way", async () => {
  const { timers, receive } = bed();
  receive(frame(10));
  equal(timers.running, 0);
  receive(frame(10).subarray(0, 5));
  equal(timers.running, 1);
  receive(frame(10).subarray(5));
  await timers.pass(MS / 8);
  equal(timers.running, 0);
});

Deno.test("a frame has all the time while its connection does not read", async () => {
  const { timers, timeout, receive, seen } = bed();
  receive(frame(10).subarray(0, 5));
  timeout.waiting = false;
  await timers.pass(10 * MS);
  equal(seen.expired, 0);
  timeout.waiting = true;
  await timers.pass(MS);
  equal(seen.expired, 1);
});

Deno.test("stop() ends the watch, and zero milliseconds are for ever", async () => {
  const { timers, timeout, receive, seen } = bed();
  receive(frame(10).subarray(0, 5));
  timeout.stop();
  equal(timers.running, 0);
  await timers.pass(10 * MS);
  equal(seen.expired, 0);
  const unlimited = bed(0);
  unlimited.receive(frame(10).subarray(0, 5));
  equal(unlimited.timers.running, 0);
});

const limits = { frameTimeoutMs: 100 };

const echo: ServiceHandlers<typeof Bytes> = {
  one: (bytes) => bytes,
  up: () => new Uint8Array(0),
  down: () => [],
  both: () => [],
};

testEverywhere(
  "a client that does not finish a frame loses its connection, and no other",
  async (place) => {
    const errors: unknown[] = [];
    const server = serve(
      { listener: place.listen(), limits, onError: (error) => void errors.push(error) },
      (router) => router.service(Bytes, echo),
    );
    const client = await connect(await place.dial());
    using peer = new RawPeer(await place.dial());
    await peer.sendBytes(frame(10).subarray(0, 12));
    equal(await peer.receive(), undefined);
    equal(errors.length, 1);
    match(`${errors[0]}`, /has not finished a frame in 100 ms, .* limits\.frameTimeoutMs allows/);
    deepEqual(await client.service(Bytes).one(new Uint8Array(1)), new Uint8Array(1));
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  },
);

testEverywhere(
  "a server that does not finish a frame loses its client, with the reason",
  async (place) => {
    const listener = place.listen();
    const accepted = listener.accept();
    const client = await connect(await place.dial(), { limits });
    using server = new RawPeer(await accepted);
    const called = client.service(Bytes).one(new Uint8Array(1));
    await server.receive();
    await server.sendBytes(frame(10).subarray(0, 12));
    await rejects(called, (error) => {
      ok(error instanceof RpcError);
      equal(error.code, Code.UNAVAILABLE);
      match(error.message, /with 1 call in flight: the peer has not finished a frame in 100 ms/);
      return true;
    });
    await client.finished;
    listener.close();
  },
);

testEverywhere("a connection without a frame under way may be silent for long", async (place) => {
  const server = serve(
    { listener: place.listen(), limits: { frameTimeoutMs: 8 } },
    (router) => router.service(Bytes, echo),
  );
  const client = await connect(await place.dial());
  const service = client.service(Bytes);
  await service.one(new Uint8Array(100_000));
  const later = performance.now() + 50;
  await until(() => performance.now() > later, "the time of a frame");
  await service.one(new Uint8Array(1));
  await client[Symbol.asyncDispose]();
  await server.shutdown();
});
