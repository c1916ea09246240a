// Bounded memory, and nobody waits for ever because of somebody else.

import { connect, createConnectionPair, type Limits, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { FrameFlag, FrameType } from "../framing.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, TestBed, testHandlers } from "./fixture.ts";
import { moment, sleep, until, untilAtRest } from "./wait.ts";
import { ServerWire } from "./wire_bed.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;

/** Small bounds, so that they are reached soon. */
const limits: Partial<Limits> = {
  streamQueueBytes: 64 * KIB,
  connectionQueueBytes: 256 * KIB,
  stallTimeoutMs: 30,
};

/** Answers Chat with endless messages of 16 KiB, whatever comes in. */
const flood = {
  async *chat() {
    const payload = new Uint8Array(16 * KIB);
    for (;;) yield { payload };
  },
};

Deno.test("a stream nobody reads holds up neither calls nor another stream, and fails alone", async () => {
  await using bed = new TestBed(flood);
  const client = await bed.connect({ limits });
  const service = client.service(TestService);
  const unread = service.chat(new ReadableStream());
  const read = service.count({ count: 3 });
  for (let i = 0; i < 20; i++) equal((await service.echo({ text: `${i}` })).text, `${i}`);
  deepEqual((await Array.fromAsync(read)).map(({ value }) => Number(value)), [0, 1, 2]);
  await rejects(unread.next(), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "its messages are not taken, which holds up other calls on the connection: " +
      "take them faster, make the other calls on another connection, or raise " +
      "limits.connectionQueueBytes",
  });
  await service.echo({});
  equal(client.stats().queuedBytes, 0);
  deepEqual(client.stats().callsFailed, { RESOURCE_EXHAUSTED: 1 });
});

Deno.test("a stream that has ended but was not read does not hold up calls, either", async () => {
  await using bed = new TestBed({
    *chat() {
      const payload = new Uint8Array(16 * KIB);
      for (let i = 0; i < 20; i++) yield { payload };
    },
  });
  const client = await bed.connect({ limits });
  const service = client.service(TestService);
  const unread = service.chat([]);
  await service.echo({});
  while (client.stats().openStreams > 0) await service.echo({});
  await service.echo({});
  await rejects(unread.next(), { code: Code.RESOURCE_EXHAUSTED });
});

Deno.test("many short queues that nobody reads do not hold up calls, either", async () => {
  await using bed = new TestBed(flood);
  const client = await bed.connect({
    limits: { ...limits, streamQueueBytes: 10 * MIB, connectionQueueBytes: 128 * KIB },
  });
  const service = client.service(TestService);
  const unread = Array.from({ length: 10 }, () => service.chat([]));
  for (let i = 0; i < 5; i++) await service.echo({});
  ok(client.stats().callsFailed["RESOURCE_EXHAUSTED"]! >= 1);
  await Promise.all(unread.map((stream) => stream.return()));
});

Deno.test("a client keeps a stream that is not read while nobody else waits", async () => {
  await using bed = new TestBed(flood);
  const client = await bed.connect({ limits: { ...limits, stallTimeoutMs: 5 } });
  const unread = client.service(TestService).chat(new ReadableStream());
  await until(() => client.stats().queuedBytes >= limits.connectionQueueBytes!, "a full queue");
  await sleep(60); // many times the stall timeout
  equal((await unread.next()).value.payload.length, 16 * KIB);
  deepEqual(client.stats().callsFailed, {});
  await unread.return();
});

Deno.test("with a stall timeout of zero a stream is never failed", async () => {
  await using bed = new TestBed(flood);
  const client = await bed.connect({ limits: { ...limits, stallTimeoutMs: 0 } });
  const service = client.service(TestService);
  const unread = service.chat(new ReadableStream());
  await until(() => client.stats().queuedBytes >= limits.connectionQueueBytes!, "a full queue");
  await rejects(service.echo({}, { timeoutMs: 100 }), { code: Code.DEADLINE_EXCEEDED });
  equal((await unread.next()).done, false);
  await unread.return();
  await service.echo({});
});

Deno.test("a slow consumer that lives slows its producer down, and is not failed", async () => {
  let produced = 0;
  await using bed = new TestBed({
    async *chat() {
      const payload = new Uint8Array(16 * KIB);
      for (; produced < 400; produced++) yield { payload };
    },
  });
  const client = await bed.connect({ limits });
  const service = client.service(TestService);
  let consumed = 0;
  let ahead = 0;
  let echo: ReturnType<typeof service.echo> | undefined;
  for await (const _ of service.chat([])) {
    consumed++;
    ahead = Math.max(ahead, produced - consumed);
    if (consumed % 4 === 0) await sleep(3);
    if (consumed === 200) echo = service.echo({ text: "meanwhile" }, { timeoutMs: 20_000 });
  }
  equal((await echo!).text, "meanwhile");
  equal(consumed, 400);
  ok(ahead < 200, `${ahead} messages of 16 KiB were ahead`);
});

Deno.test("a fast producer of 1 GiB and a slower consumer need bounded memory", async () => {
  const payload = new Uint8Array(MIB);
  await using bed = new TestBed({
    async *chat() {
      for (let i = 0; i < 1_024; i++) yield { payload };
    },
  });
  const client = await bed.connect();
  const service = client.service(TestService);
  let received = 0;
  let queued = 0;
  let memory = 0;
  const { rss } = Deno.memoryUsage();
  for await (const message of service.chat([])) {
    received += message.payload.length;
    queued = Math.max(queued, client.stats().queuedBytes + bed.server.stats().queuedBytes);
    if (received % (16 * MIB) === 0) {
      memory = Math.max(memory, Deno.memoryUsage().rss - rss);
      await moment();
    }
  }
  equal(received, 1_024 * MIB);
  ok(queued <= 13 * MIB, `${queued} bytes were queued`); // the bound, and one message more
  ok(memory <= 400 * MIB, `${memory} bytes were resident`);
});

Deno.test("a handler that does not read its requests is failed, and its connection goes on", async () => {
  const over = Promise.withResolvers<unknown>();
  await using bed = new TestBed({
    sum: async (_requests, { signal }) => {
      over.resolve(await aborted(signal));
      return {};
    },
  }, { limits });
  const service = await bed.service();
  const payload = { value: 1n };
  async function* endless() {
    for (;;) yield payload;
  }
  const sum = rejects(service.sum(endless()), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "the handler does not take its messages, which holds up the connection: " +
      "take them faster, or raise limits.connectionQueueBytes",
  });
  equal((await service.echo({ text: "still there" }, { timeoutMs: 20_000 })).text, "still there");
  await sum;
  await over.promise;
});

Deno.test("a handler that stops reading drops what still comes", async () => {
  const gate = Promise.withResolvers<void>();
  await using bed = new TestBed({
    sum: async (requests) => {
      for await (const _ of requests) break;
      await gate.promise;
      return { value: 9n };
    },
  }, { limits: { ...limits, stallTimeoutMs: 0 } });
  const client = await bed.connect();
  const service = client.service(TestService);
  async function* some() {
    for (let i = 0; i < 20_000; i++) yield { value: 1n };
  }
  const sum = service.sum(some());
  await service.echo({});
  equal(bed.server.stats().queuedBytes, 0);
  gate.resolve();
  equal((await sum).value, 9n);
});

Deno.test("requests that a handler has not read go when it is done", async () => {
  await using bed = new TestBed({
    sum: async (requests) => {
      await requests.next();
      return {};
    },
  });
  const service = await bed.service();
  async function* some() {
    for (let i = 0; i < 100; i++) yield { value: 1n };
  }
  for (let i = 0; i < 5; i++) await service.sum(some());
  await service.nothing({});
  equal(bed.server.stats().queuedBytes, 0);
});

Deno.test("streams that were started and forgotten do not stall the rest one by one", async () => {
  await using bed = new TestBed({
    *chat() {
      for (let i = 0; i < 4; i++) yield { payload: new Uint8Array(2 * KIB) };
    },
  });
  const client = await bed.connect({ limits: { ...limits, stallTimeoutMs: 100 } });
  const service = client.service(TestService);
  const start = performance.now();
  for (let i = 0; i < 60; i++) {
    for (let j = 0; j < 10; j++) service.chat([]); // nobody ever looks
    await service.echo({});
  }
  // Half of what may wait goes at once, so that some 40 stalls make room for all, not 600.
  const stalls = (performance.now() - start) / 100;
  ok(stalls < 200, `${stalls} stalls`);
});

Deno.test("two peers that only write do not wait for each other for ever", async () => {
  const payload = new Uint8Array(32 * KIB);
  await using bed = new TestBed({
    async *chat() {
      for (;;) yield { payload };
    },
  }, { limits });
  const client = await bed.connect({ limits });
  async function* endless() {
    for (;;) yield { payload };
  }
  const stream = client.service(TestService).chat(endless());
  await until(() => client.stats().callsInFlight === 0, "the end of the stream");
  equal((await client.service(TestService).echo({ text: "x" })).text, "x");
  await rejects(
    async () => {
      for await (const _ of stream);
    },
    { code: Code.RESOURCE_EXHAUSTED },
  );
});

Deno.test("empty messages that wait count, too", async () => {
  await using wire = await ServerWire.open({
    sum: (_requests, { signal }) => aborted(signal).then(() => ({})),
  }, { limits });
  const { bed, peer } = wire;
  await wire.openStream(1, "Sum", FrameFlag.RemoteOpen | FrameFlag.NoData);
  const batch = new Uint8Array(10 * 1_000);
  for (let i = 0; i < 1_000; i++) batch.set([0, 0, 0, 0, 0, 0, 0, 1, FrameType.Data, 0], 10 * i);
  const sending = (async () => {
    for (let i = 0; i < 200; i++) await peer.sendBytes(batch);
  })().catch(() => {}); // cut off below
  let most = 0;
  await until(() => {
    const { queuedBytes, callsFailed } = bed.server.stats();
    most = Math.max(most, queuedBytes);
    return callsFailed["RESOURCE_EXHAUSTED"] === 1;
  }, "the refusal");
  equal((await peer.receive())!.type, FrameType.Response);
  peer.conn.close();
  await sending;
  ok(most > limits.connectionQueueBytes! / 2, `${most}`);
  ok(most <= 2 * limits.connectionQueueBytes!, `${most}`);
});

Deno.test("a producer waits for the socket, so that its messages do not pile up", async () => {
  let produced = 0;
  const [near, far] = createConnectionPair();
  await using server = serve({ connection: far }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      async *chat() {
        const payload = new Uint8Array(16 * KIB);
        for (;; produced++) yield { payload };
      },
    }));
  // Nobody reads the other end.
  let asked = false;
  await using client = await connect({
    read: () => {
      asked = true;
      return closed.promise;
    },
    write: (bytes) => near.write(bytes),
    close: () => {
      near.close();
      closed.resolve(null);
    },
  });
  const stream = client.service(TestService).chat([]);
  await untilAtRest(() => produced, 20);
  ok(asked && produced * 16 * KIB < MIB, `${produced} messages were made`);
  equal(server.stats().callsInFlight, 1);
  await stream.return();
});

const closed = Promise.withResolvers<null>();
