// Pings: who is sent one and when, what it means that none is answered, and what a peer is answered.

import { connect, createConnectionPair, serve, type ServiceHandlers } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { Deadlines } from "../async/deadlines.ts";
import { FrameType } from "../framing.ts";
import { Keepalive, type KeepaliveHost, resolveExtension } from "../engine/keepalive.ts";
import { Code } from "../status.ts";
import { WriteQueue } from "../engine/write_queue.ts";
import { Bytes, testEverywhere } from "./everywhere.ts";
import { FakeClock } from "./fake_clock.ts";
import { SocketFolder } from "./fixture.ts";
import { RawPeer, RawServer } from "./raw_peer.ts";
import { framesOf, settle, Sink } from "./stand_ins.ts";
import { sleep, soon, until } from "./wait.ts";

const X = Uint8Array.of(1);
const INTERVAL = 1_000;
const TIMEOUT = 300;

/** A connection, as far as its keepalive sees it, on a clock that the test moves. */
class Bed implements KeepaliveHost, Disposable {
  readonly clock = new FakeClock();
  readonly deadlines = new Deadlines();
  readonly sink = new Sink();
  readonly queue = new WriteQueue(this.sink, () => {});
  readonly keepalive: Keepalive;
  readonly failures: unknown[] = [];
  closed = false;
  reads = true;

  constructor(settings: { intervalMs: number; timeoutMs: number } | undefined = {
    intervalMs: INTERVAL,
    timeoutMs: TIMEOUT,
  }, on = true) {
    this.keepalive = new Keepalive(this, on ? settings : undefined, this.deadlines);
  }

  fail(cause: unknown): void {
    this.failures.push(cause);
    this.closed = true;
    this.keepalive.stop();
  }

  async pass(ms: number): Promise<void> {
    await this.clock.pass(ms);
    await settle();
  }

  /** The types and data of what was sent since the last look. */
  async sent(): Promise<[type: number, data: number[]][]> {
    await this.queue.flushed();
    const frames = framesOf(this.sink.writes.splice(0));
    for (const { streamId, flags } of frames) deepEqual([streamId, flags], [0, 0]);
    return frames.map(({ type, data }) => [type, [...data]]);
  }

  [Symbol.dispose](): void {
    this.deadlines.close();
    this.clock[Symbol.dispose]();
  }
}

const PING = [FrameType.Ping, []];

Deno.test("resolveExtension() fills in the defaults, and checks what it is given", () => {
  deepEqual(resolveExtension({}), { keepalive: undefined });
  equal(resolveExtension({ extensions: false }), undefined);
  deepEqual(resolveExtension({ keepalive: { intervalMs: 5 } }), {
    keepalive: { intervalMs: 5, timeoutMs: 20_000 },
  });
  throws(() => resolveExtension({ extensions: false, keepalive: { intervalMs: 5 } }), {
    name: "TypeError",
    message: "Cannot use keepalive: it sends pings, which extensions: false turns off",
  });
  for (const intervalMs of [0, -1, NaN, Infinity, undefined, "5"] as number[]) {
    throws(() => resolveExtension({ keepalive: { intervalMs } }), {
      name: "RangeError",
      message: new RegExp(`keepalive.intervalMs of ${intervalMs}: it takes a number of milli`),
    });
  }
  throws(() => resolveExtension({ keepalive: { intervalMs: 1, timeoutMs: 0 } }), RangeError);
});

Deno.test("start() sends a ping at once, so that it is known whether the peer answers", async () => {
  using bed = new Bed();
  bed.keepalive.start();
  bed.keepalive.start();
  deepEqual(await bed.sent(), [PING]);
});

Deno.test("without settings nothing is sent, and pings are answered all the same", async () => {
  using bed = new Bed(undefined, false);
  bed.keepalive.start();
  bed.keepalive.heard();
  bed.keepalive.stop();
  bed.keepalive.frame(FrameType.Pong, X);
  bed.keepalive.frame(FrameType.Ping, X);
  await bed.pass(10 * INTERVAL);
  deepEqual(await bed.sent(), [[FrameType.Pong, [1]]]);
});

Deno.test("a peer that has answered a ping and then nothing more is taken for dead", async () => {
  using bed = new Bed();
  bed.keepalive.start();
  await bed.pass(10);
  bed.keepalive.heard();
  bed.keepalive.frame(FrameType.Pong, new Uint8Array(0));
  deepEqual(await bed.sent(), [PING]);
  await bed.pass(INTERVAL - 1);
  deepEqual(await bed.sent(), []);
  await bed.pass(1);
  deepEqual(await bed.sent(), [PING]);
  await bed.pass(TIMEOUT - 1);
  deepEqual(bed.failures, []);
  await bed.pass(1);
  deepEqual(bed.failures, [
    "the peer has sent nothing for 300 ms after a ping (keepalive.timeoutMs)",
  ]);
  await bed.pass(10 * INTERVAL);
  deepEqual(await bed.sent(), []);
  equal(bed.failures.length, 1);
});

Deno.test("a peer that has never answered a ping is never taken for dead", async () => {
  using bed = new Bed();
  bed.keepalive.start();
  await bed.pass(INTERVAL);
  await bed.pass(INTERVAL);
  await bed.pass(INTERVAL);
  equal((await bed.sent()).length, 4);
  deepEqual(bed.failures, []);
});

Deno.test("whatever comes is a sign of life, after a ping and instead of one", async () => {
  using bed = new Bed();
  bed.keepalive.start();
  await bed.pass(1);
  bed.keepalive.heard();
  bed.keepalive.frame(FrameType.Pong, X);
  for (let i = 0; i < 5; i++) {
    await bed.pass(INTERVAL - 100);
    bed.keepalive.heard();
  }
  deepEqual(await bed.sent(), [PING]);
  await bed.pass(INTERVAL);
  deepEqual(await bed.sent(), [PING]);
  await bed.pass(TIMEOUT - 1);
  bed.keepalive.heard(); // no pong
  await bed.pass(INTERVAL - 1);
  deepEqual(bed.failures, []);
  deepEqual(await bed.sent(), []);
});

Deno.test("a peer that is not read is not taken for dead", async () => {
  using bed = new Bed();
  bed.keepalive.start();
  await bed.pass(1);
  bed.keepalive.heard();
  bed.keepalive.frame(FrameType.Pong, X);
  bed.reads = false;
  await bed.pass(10 * INTERVAL);
  deepEqual(bed.failures, []);
  bed.reads = true;
  await bed.pass(INTERVAL + TIMEOUT);
  equal(bed.failures.length, 1);
});

Deno.test("what has come while this process stood still is read before it is judged", async () => {
  using bed = new Bed();
  bed.keepalive.start();
  await bed.pass(1);
  bed.keepalive.heard();
  bed.keepalive.frame(FrameType.Pong, X);
  await bed.pass(INTERVAL);
  bed.deadlines.close();
  await bed.clock.pass(TIMEOUT);
  bed.keepalive.expire();
  bed.keepalive.heard();
  await settle();
  deepEqual(bed.failures, []);
});

Deno.test("a ping is answered with its data, if that is not too much", async () => {
  using bed = new Bed();
  for (const length of [0, 1, 8, 9, 1_000]) {
    bed.keepalive.frame(FrameType.Ping, new Uint8Array(length).fill(7));
  }
  deepEqual(await bed.sent(), [[FrameType.Pong, []]]);
  await settle();
  deepEqual(await bed.sent(), [[FrameType.Pong, new Array(8).fill(7)]]); // of those that waited
});

Deno.test("a side that does not read tells a peer that has asked that it is there, and no other", async () => {
  using bed = new Bed();
  bed.keepalive.stillHere();
  deepEqual(await bed.sent(), []);
  bed.keepalive.frame(FrameType.Ping, X);
  deepEqual(await bed.sent(), [[FrameType.Pong, [1]]]);
  await settle();
  bed.keepalive.stillHere();
  deepEqual(await bed.sent(), [[FrameType.Pong, []]]);
});

Deno.test("the time for an answer begins when the ping has left, however much is before it", async () => {
  using bed = new Bed();
  bed.keepalive.start();
  await bed.pass(1);
  bed.keepalive.heard();
  bed.keepalive.frame(FrameType.Pong, X);
  bed.sink.hold();
  bed.queue.writer.bytes(new Uint8Array(1 << 18));
  bed.queue.send(1 << 18);
  await bed.pass(INTERVAL); // the ping is behind these
  bed.sink.resume();
  await bed.pass(TIMEOUT - 1);
  deepEqual(bed.failures, []);
  await bed.pass(TIMEOUT);
  equal(bed.failures.length, 1);
});

Deno.test("a peer that takes no more bytes and sends none is dead, although the ping never leaves", async () => {
  using bed = new Bed();
  bed.keepalive.start();
  await bed.pass(1);
  bed.keepalive.heard();
  bed.keepalive.frame(FrameType.Pong, X);
  bed.sink.hold();
  bed.queue.writer.bytes(new Uint8Array(1 << 18));
  bed.queue.send(1 << 18);
  await bed.pass(INTERVAL + TIMEOUT);
  equal(bed.failures.length, 1);
  bed.sink.resume();
});

Deno.test("a peer that reads nothing is owed one pong, however many pings it sends", async () => {
  using bed = new Bed();
  bed.sink.hold();
  bed.queue.writer.bytes(new Uint8Array(1 << 18));
  bed.queue.send(1 << 18);
  await settle();
  const before = bed.queue.total;
  for (let i = 0; i < 100; i++) bed.keepalive.frame(FrameType.Ping, Uint8Array.of(i));
  equal(bed.queue.total, before + 11);
  bed.sink.resume();
  await bed.queue.flushed();
  await settle();
  equal(bed.queue.total, before + 22); // the first one's and the last one's
});

type Handlers = ServiceHandlers<typeof Bytes>;

const wait = ({ signal }: { signal: AbortSignal }) =>
  new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));

const handlers: Handlers = {
  one: async (message, context) => {
    if (message.length > 0) await wait(context);
    return X;
  },
  async *down(_, context) {
    await wait(context);
    yield X;
  },
  up: async (_, context) => {
    await wait(context);
    return X;
  },
  async *both(_, context) {
    await wait(context);
    yield X;
  },
};

testEverywhere("a connection that nobody uses stays, with pings from both sides", async (place) => {
  const keepalive = { intervalMs: 10, timeoutMs: 5_000 };
  const closes: unknown[] = [];
  const server = serve(
    { listener: place.listen(), keepalive },
    (router) => router.service(Bytes, handlers),
  );
  const client = await connect(await place.dial(), {
    keepalive,
    onClose: (error) => closes.push(error),
  });
  // A pong is ten bytes, and so is a ping: both sides have sent some of each.
  await until(() => client.stats().bytesReceived >= 50, "pings and pongs");
  await until(() => server.stats().bytesReceived >= 50, "pings and pongs");
  deepEqual(await client.service(Bytes).one(new Uint8Array(0)), X);
  deepEqual(closes, []);
  await client[Symbol.asyncDispose]();
  await server.shutdown();
});

testEverywhere("a server sends no ping before its client has used the extension", async (place) => {
  const server = serve(
    { listener: place.listen(), keepalive: { intervalMs: 5 } },
    (router) => router.service(Bytes, handlers),
  );
  using peer = new RawPeer(await place.dial());
  const nothing = { service: "test.Bytes", method: "One" };
  await peer.request(1, nothing);
  equal((await peer.receive())!.type, FrameType.Response);
  await sleep(30);
  await peer.request(3, nothing);
  equal((await peer.receive())!.streamId, 3);
  await peer.send({ streamId: 3, type: FrameType.Cancel }); // it is over already
  const { streamId, type, data } = (await soon(peer.receive(), "a ping"))!;
  deepEqual([streamId, type, data.length], [0, FrameType.Ping, 0]);
  server.close();
  await server.finished;
});

Deno.test("without extensions a server answers no ping, and a client sends none", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  const server = serve(
    { path, extensions: false },
    (router) => router.service(Bytes, handlers),
  );
  await server.listening;
  using peer = await RawPeer.connect(path);
  await peer.send({ streamId: 0, type: FrameType.Ping });
  await peer.request(1, { service: "test.Bytes", method: "One" });
  equal((await peer.receive())!.type, FrameType.Response);
  server.close();
  await server.finished;
});

for (const how of ["reads nothing more", "reads, and says nothing more"]) {
  Deno.test(`calls fail with UNAVAILABLE when a server that has answered a ping ${how}`, async () => {
    using socket = new SocketFolder();
    using listener = new RawServer(socket.path);
    const closed = Promise.withResolvers<unknown>();
    const client = await connect({ path: socket.path }, {
      keepalive: { intervalMs: 300, timeoutMs: 300 },
      onClose: closed.resolve,
    });
    using peer = await listener.accept();
    equal((await peer.receive())!.type, FrameType.Ping);
    await peer.send({ streamId: 0, type: FrameType.Pong });
    const reading = how.startsWith("reads,") ? drain(peer) : undefined;
    const service = client.service(Bytes);
    const calls = [
      service.one(X),
      service.up([X]),
      service.down(X).next(),
      service.both([X]).next(),
    ];
    const why =
      /connection to unix:.* lost with 4 calls in flight: the peer has sent nothing for 300 ms after a ping \(keepalive.timeoutMs\)/;
    for (const { reason } of await Promise.allSettled(calls) as PromiseRejectedResult[]) {
      equal(reason.code, Code.UNAVAILABLE);
      match(reason.message, why);
    }
    match(String(await closed.promise), why);
    await client.finished;
    await reading;
  });
}

/** Reads until the peer has gone. */
async function drain(peer: RawPeer): Promise<void> {
  while (await peer.receive());
}

Deno.test("a server that has never answered a ping keeps its client, however long it is silent", async () => {
  using socket = new SocketFolder();
  using listener = new RawServer(socket.path);
  const client = await connect({ path: socket.path }, {
    keepalive: { intervalMs: 5, timeoutMs: 5 },
  });
  using peer = await listener.accept();
  const call = client.service(Bytes).one(X);
  let pings = 0;
  while (pings < 10) if ((await peer.receive())!.type === FrameType.Ping) pings++;
  await peer.respond(1, { payload: X });
  deepEqual(await call, X);
  client.close();
  await client.finished;
});

Deno.test("a server ends the calls of a client that has answered a ping, and then nothing", async () => {
  using socket = new SocketFolder();
  const errors: unknown[] = [];
  const over = Promise.withResolvers<unknown>();
  const server = serve({
    path: socket.path,
    keepalive: { intervalMs: 300, timeoutMs: 300 },
    onError: (error) => errors.push(error),
  }, (router) =>
    router.service(Bytes, {
      ...handlers,
      one: async (_, { signal }) => {
        await wait({ signal });
        over.resolve(signal.reason);
        return X;
      },
    }));
  await server.listening;
  using peer = await RawPeer.connect(socket.path);
  await peer.send({ streamId: 0, type: FrameType.Ping });
  const types = [(await peer.receive())!.type, (await peer.receive())!.type];
  deepEqual(types.toSorted(), [FrameType.Ping, FrameType.Pong]);
  await peer.send({ streamId: 0, type: FrameType.Pong });
  await peer.request(1, { service: "test.Bytes", method: "One", payload: X });
  await rejects(Promise.reject(await soon(over.promise, "the signal")), {
    code: Code.UNAVAILABLE,
    message: /sent nothing for 300 ms after a ping/,
  });
  await until(() => server.stats().connections === 0, "the end of the connection");
  equal(errors.length, 1);
  ok(/with 1 call in flight/.test(String(errors[0])));
  await server.shutdown();
});

Deno.test("a client that waits for nothing else lets the process end, keepalive or not", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  const server = serve({ path }, (router) => router.service(Bytes, handlers));
  await server.listening;
  const script = `
    import { connect } from "@ttrpc/ttrpc/core";
    const client = await connect({ path: ${
    JSON.stringify(path)
  } }, { keepalive: { intervalMs: 1e6 } });
    client.unref();
  `;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", script],
    stderr: "piped",
  }).output();
  equal(code, 0, new TextDecoder().decode(stderr));
  await server.shutdown();
});

const PAUSES = {
  "waits for room": { heldBytes: 1 },
  "has too much waiting for its handlers": { connectionQueueBytes: 1 << 12 },
};
for (const [what, limits] of Object.entries(PAUSES)) {
  Deno.test(`a server that ${what} is not taken for dead`, async () => {
    const [near, far] = createConnectionPair();
    const gate = Promise.withResolvers<void>();
    const server = serve({ connection: far, limits }, (router) =>
      router.service(Bytes, {
        ...handlers,
        one: async () => {
          await gate.promise;
          return X;
        },
        up: async (messages) => {
          await gate.promise;
          for await (const _ of messages) { /* takes all */ }
          return X;
        },
      }));
    const client = await connect(near, { keepalive: { intervalMs: 300, timeoutMs: 2_500 } });
    const service = client.service(Bytes);
    const messages = Array.from({ length: 400 }, () => new Uint8Array(1_000));
    const calls = [service.one(X), service.one(X), service.up(messages)];
    await new Promise((resolve) => setTimeout(resolve, 3_500));
    gate.resolve();
    for (const call of calls) deepEqual(await call, X);
    await client[Symbol.asyncDispose]();
    await server.finished;
  });
}
