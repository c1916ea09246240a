// The streaming kinds of call, in order and out of order.

import {
  type Client,
  connect,
  createConnectionPair,
  type MessageStream,
  RpcError,
  serve,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { type CountResponse, TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, TestBed, type TestHandlers, testHandlers } from "./fixture.ts";
import { turn, until } from "./wait.ts";

async function values(stream: AsyncIterable<CountResponse>): Promise<number[]> {
  return (await Array.fromAsync(stream)).map(({ value }) => Number(value));
}

/** Waits until nothing of any call is left on either side. */
async function quiet(bed: TestBed, client: Client): Promise<void> {
  await until(() => {
    const [near, far] = [client.stats(), bed.server.stats()];
    return near.openStreams + near.callsInFlight + near.queuedBytes + far.openStreams === 0;
  }, "the end of all calls");
}

/** An endless source that tells when it was told to stop. */
function endless<T>(message: T): { source: AsyncIterable<T>; stopped: Promise<void> } {
  const { promise: stopped, resolve } = Promise.withResolvers<void>();
  async function* source() {
    try {
      for (;;) {
        yield message;
        await turn();
      }
    } finally {
      resolve();
    }
  }
  return { source: source(), stopped };
}

Deno.test("a server stream comes in order and ends", async () => {
  await using bed = new TestBed();
  const client = await bed.connect();
  const service = client.service(TestService);
  deepEqual(await values(service.count({ count: 0 })), []);
  deepEqual(await values(service.count({ count: 5 })), [0, 1, 2, 3, 4]);
  const many = await values(service.count({ count: 10_000 }));
  ok(many.length === 10_000 && many.every((value, i) => value === i));
  await quiet(bed, client);
});

Deno.test("a client stream is summed up, whatever it comes from", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const numbers = [{ value: 0n }, { value: 1n }, { value: 41n }, { value: 0n }];
  equal((await service.sum(numbers)).value, 42n);
  equal((await service.sum(new Set(numbers))).value, 42n);
  equal((await service.sum(ReadableStream.from(numbers))).value, 42n);
  equal(
    (await service.sum((async function* () {
      yield* numbers;
    })())).value,
    42n,
  );
  equal((await service.sum([])).value, 0n);
});

Deno.test("a bidirectional stream answers each message before the next", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const turns: string[] = [];
  const answered: (() => void)[] = [];
  async function* ask() {
    for (let i = 0; i < 100; i++) {
      turns.push(`ask ${i}`);
      const answer = new Promise<void>((resolve) => answered.push(resolve));
      yield { text: `${i}` };
      await answer;
    }
  }
  for await (const { text } of service.chat(ask())) {
    turns.push(`answer ${text}`);
    answered.shift()!();
  }
  deepEqual(turns, Array.from({ length: 100 }, (_, i) => [`ask ${i}`, `answer ${i}`]).flat());
});

Deno.test("messages without a byte are messages", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const echoed = await Array.fromAsync(service.chat([{}, { text: "" }, { text: "x" }, {}]));
  deepEqual(echoed.map(({ text }) => text), ["", "", "x", ""]);
  deepEqual(await values(service.count({ count: 1 })), [0]);
});

Deno.test("many streams at once on a connection do not mix", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const streams = Array.from({ length: 50 }, async (_, i) => {
    const texts = Array.from({ length: 40 }, (_, j) => `${i}.${j}`);
    const echoed = await Array.fromAsync(service.chat(texts.map((text) => ({ text }))));
    deepEqual(echoed.map(({ text }) => text), texts);
  });
  const calls = Array.from({ length: 50 }, (_, i) => service.echo({ text: `${i}` }));
  await Promise.all(streams);
  deepEqual((await Promise.all(calls)).map(({ text }) => text), calls.map((_, i) => `${i}`));
});

Deno.test("an error comes after the messages before it, once, and then the end", async () => {
  await using bed = new TestBed({
    async *count() {
      yield { value: 1n };
      yield { value: 2n };
      throw new RpcError(Code.DATA_LOSS, "the rest is gone");
    },
  });
  const stream = (await bed.service()).count({});
  equal((await stream.next()).value.value, 1n);
  equal((await stream.next()).value.value, 2n);
  await rejects(stream.next(), {
    message: "ttrpc.test.v1.TestService/Count: DATA_LOSS: the rest is gone",
  });
  deepEqual(await stream.next(), { done: true, value: undefined });
});

Deno.test("an error of a stream shows the line that waited for it", async () => {
  await using bed = new TestBed({
    // deno-lint-ignore require-yield -- it fails before it would
    async *count() {
      throw new RpcError(Code.ABORTED, "no");
    },
  });
  const service = await bed.service();
  const wait = async () => {
    for await (const _ of service.count({}));
  };
  await rejects(wait, (error: Error) => {
    ok(error.stack!.includes("streams_test.ts"), error.stack!);
    return true;
  });
});

Deno.test("next() called ahead of the messages gets each of them once", async () => {
  await using bed = new TestBed();
  const stream = (await bed.service()).count({ count: 3 });
  const results = await Promise.all([1, 2, 3, 4, 5].map(() => stream.next()));
  deepEqual(results.map(({ done, value }) => done ? "end" : Number(value.value)), [
    0,
    1,
    2,
    "end",
    "end",
  ]);
});

type Leaving = (stream: MessageStream<unknown>) => Promise<void>;
const ways: [string, Leaving][] = [
  ["break", async (stream) => {
    for await (const _ of stream) break;
  }],
  ["return()", async (stream) => {
    await stream.next();
    deepEqual(await stream.return(), { done: true, value: undefined });
  }],
  ["throw()", async (stream) => {
    await stream.next();
    const error = new Error("enough");
    await rejects(stream.throw(error), error);
  }],
  ["disposal", async (stream) => {
    await using disposed = stream;
    await disposed.next();
  }],
  ["return() before the first message was asked for", async (stream) => {
    await stream.return();
  }],
];

for (const [name, leave] of ways) {
  Deno.test(`leaving a stream by ${name} releases it, and stops what is sent`, async () => {
    const ended = Promise.withResolvers<void>();
    await using bed = new TestBed({
      async *chat(requests) {
        try {
          for await (const { text } of requests) yield { text };
        } finally {
          ended.resolve();
        }
      },
    });
    const client = await bed.connect();
    const { source, stopped } = endless({ text: "x" });
    const stream = client.service(TestService).chat(source);
    await leave(stream);
    await stopped;
    await ended.promise; // the half-close reached the handler
    deepEqual(await stream.next(), { done: true, value: undefined });
    await quiet(bed, client);
    equal(client.stats().callsFailed["CANCELLED"], 1);
  });
}

Deno.test("an abort ends a stream at once, and drops what waits", async () => {
  await using bed = new TestBed();
  const client = await bed.connect();
  const controller = new AbortController();
  const stream = client.service(TestService).count({ count: 1_000 }, { signal: controller.signal });
  await stream.next();
  const reason = new Error("seen enough");
  controller.abort(reason);
  await rejects(stream.next(), { code: Code.CANCELLED, cause: reason });
  deepEqual(await stream.next(), { done: true, value: undefined });
  await quiet(bed, client);
});

Deno.test("an abort ends a stream that waits for a message", async () => {
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      await aborted(signal);
      yield { value: 1n };
    },
  });
  const client = await bed.connect();
  const controller = new AbortController();
  const stream = client.service(TestService).count({}, { signal: controller.signal });
  const failed = rejects(stream.next(), { code: Code.CANCELLED });
  controller.abort();
  await failed;
  quietClient(client);
});

function quietClient(client: Client): void {
  const { openStreams, callsInFlight, queuedBytes } = client.stats();
  deepEqual([openStreams, callsInFlight, queuedBytes], [0, 0, 0]);
}

Deno.test("deadlines end all kinds of stream, on both sides", async () => {
  const reasons: unknown[] = [];
  const never = async (signal: AbortSignal) => void reasons.push(await aborted(signal));
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      yield { value: 1n };
      await never(signal);
    },
    sum: async (_requests, { signal }) => {
      await never(signal);
      return {};
    },
    async *chat(_requests, { signal }) {
      yield { text: "hello" };
      await never(signal);
    },
  });
  const service = await bed.service();
  const late = { code: Code.DEADLINE_EXCEEDED };
  const { source, stopped } = endless({ value: 1n });
  const talk = endless({ text: "x" });
  const timeoutMs = 50;
  await Promise.all([
    rejects(values(service.count({}, { timeoutMs })), late),
    rejects(service.sum(source, { timeoutMs }), late),
    rejects(Array.fromAsync(service.chat(talk.source, { timeoutMs })), late),
  ]);
  await stopped;
  await talk.stopped;
  await until(() => reasons.length === 3, "the handlers' signals");
  ok(reasons.every((reason) => reason instanceof DOMException && reason.name === "TimeoutError"));
});

Deno.test("a deadline ends a stream within a process, on both sides", async () => {
  const [near, far] = createConnectionPair();
  const reason = Promise.withResolvers<unknown>();
  await using _server = serve({ connection: far }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      async *chat(_requests, { signal }) {
        reason.resolve(await aborted(signal));
        yield {};
      },
    }));
  await using client = await connect(near);
  const stream = client.service(TestService).chat([{ text: "x" }], { timeoutMs: 30 });
  await rejects(Array.fromAsync(stream), { code: Code.DEADLINE_EXCEEDED });
  ok(await reason.promise);
});

Deno.test("metadata travels with all kinds of stream", async () => {
  const seen: string[] = [];
  await using bed = new TestBed({
    *count(_request, { metadata }) {
      seen.push(metadata.get("k")!);
      yield {};
    },
    sum: (_requests, { metadata }) => {
      seen.push(metadata.get("k")!);
      return {};
    },
    *chat(_requests, { metadata }) {
      seen.push(metadata.get("k")!);
      yield {};
    },
  });
  const service = await bed.service();
  await values(service.count({}, { metadata: { K: "count" } }));
  await service.sum([], { metadata: { k: "sum" } });
  await Array.fromAsync(service.chat([], { metadata: { k: "chat" } }));
  deepEqual(seen, ["count", "sum", "chat"]);
});

Deno.test("requests that throw end the call with their error as its cause", async () => {
  await using bed = new TestBed();
  const client = await bed.connect();
  const service = client.service(TestService);
  const bug = new Error("no more numbers");
  // deno-lint-ignore require-yield -- it fails before it would
  async function* failing(): AsyncGenerator<{ value: bigint }> {
    throw bug;
  }
  await rejects(service.sum(failing()), { code: Code.UNKNOWN, cause: bug });
  const denied = new RpcError(Code.PERMISSION_DENIED, "not yours");
  async function* refusing() {
    yield { text: "x" };
    throw denied;
  }
  await rejects(Array.fromAsync(service.chat(refusing())), { code: Code.PERMISSION_DENIED });
  await quiet(bed, client);
});

Deno.test("requests that are no iterable, or no messages, end the call and are told to stop", async () => {
  await using bed = new TestBed();
  const client = await bed.connect();
  const service = client.service(TestService);
  await rejects(service.sum(5 as unknown as []), (error: RpcError) => {
    ok(error.cause instanceof TypeError);
    return error.code === Code.UNKNOWN;
  });
  const { source, stopped } = endless({ value: "many" } as unknown as { value: bigint });
  await rejects(service.sum(source), { code: Code.INTERNAL });
  await stopped;
  await quiet(bed, client);
});

Deno.test("a handler that returns early ends the call, and the requests are told to stop", async () => {
  await using bed = new TestBed({
    sum: async (requests) => {
      for await (const { value } of requests) return { value };
      return {};
    },
    async *chat(requests) {
      for await (const { text } of requests) {
        yield { text };
        return;
      }
    },
  });
  const client = await bed.connect();
  const service = client.service(TestService);
  const numbers = endless({ value: 7n });
  equal((await service.sum(numbers.source)).value, 7n);
  await numbers.stopped;
  const texts = endless({ text: "x" });
  equal((await Array.fromAsync(service.chat(texts.source))).length, 1);
  await texts.stopped;
  await quiet(bed, client);
});

Deno.test("a handler that throws early ends the call, and the requests are told to stop", async () => {
  await using bed = new TestBed({
    sum: () => {
      throw new RpcError(Code.UNAUTHENTICATED, "who are you");
    },
  });
  const client = await bed.connect();
  const { source, stopped } = endless({ value: 1n });
  await rejects(client.service(TestService).sum(source), { code: Code.UNAUTHENTICATED });
  await stopped;
  await quiet(bed, client);
});

Deno.test("a handler that returns what is no iterable fails its own call", async () => {
  await using bed = new TestBed({
    count: (() => undefined) as unknown as TestHandlers["count"],
  });
  const service = await bed.service();
  await rejects(values(service.count({})), {
    code: Code.UNKNOWN,
    rawMessage: /it is not iterable/,
  });
  await service.nothing({});
});

Deno.test("a message over the limit ends its own stream, in either direction", async () => {
  await using bed = new TestBed({
    async *chat(requests) {
      yield { text: "small" };
      for await (const _ of requests) yield { text: "x".repeat(5_001) };
    },
  }, { limits: { messageBytes: 5_000 } });
  const client = await bed.connect();
  const service = client.service(TestService);
  const stream = service.chat([{}]);
  equal((await stream.next()).value.text, "small");
  await rejects(stream.next(), { code: Code.RESOURCE_EXHAUSTED });
  const big = [{ text: "small" }, { text: "x".repeat(6_000) }, { text: "small" }];
  await rejects(Array.fromAsync(service.chat(big)), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "message length 6003 exceed maximum message size of 5000",
  });
  const small = await bed.service({ limits: { messageBytes: 100 } });
  await rejects(Array.fromAsync(small.chat([{ text: "x".repeat(101) }])), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "message length 103 exceed maximum message size of 100",
  });
  await service.nothing({});
  await quiet(bed, client);
});

Deno.test("a connection that is lost ends its streams on both sides", async () => {
  const over: Promise<unknown>[] = [];
  const ended: string[] = [];
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      try {
        over.push(aborted(signal));
        yield { value: 1n };
        await aborted(signal);
      } finally {
        ended.push("count");
      }
    },
    sum: async (requests, { signal }) => {
      over.push(aborted(signal));
      try {
        for await (const _ of requests);
      } catch (error) {
        ended.push(`sum: ${(error as RpcError).rawMessage}`);
      }
      return {};
    },
  });
  const client = await bed.connect();
  const service = client.service(TestService);
  const { source, stopped } = endless({ value: 1n });
  const sum = rejects(service.sum(source), { code: Code.CANCELLED });
  const stream = service.count({});
  await stream.next();
  await service.nothing({});
  client.close();
  await sum;
  await rejects(stream.next(), { code: Code.CANCELLED });
  await stopped;
  await Promise.all(over);
  await until(() => ended.length === 2, "the ends of both handlers");
  deepEqual(ended.toSorted(), ["count", "sum: the connection has ended"]);
});

Deno.test("a server that is closed ends streams with UNAVAILABLE", async () => {
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      yield { value: 1n };
      await aborted(signal);
    },
  });
  const service = await bed.service();
  const stream = service.count({});
  await stream.next();
  const failed = rejects(stream.next(), { code: Code.UNAVAILABLE });
  bed.server.close();
  await failed;
});

Deno.test("shutdown() lets a stream finish, and forces one that does not", async () => {
  const gate = Promise.withResolvers<void>();
  await using bed = new TestBed({
    async *count({ count }, { signal }) {
      yield { value: 1n };
      if (count === 0) await aborted(signal);
      await gate.promise;
      yield { value: 2n };
    },
  });
  const service = await bed.service();
  const [good, bad] = [service.count({ count: 1 }), service.count({ count: 0 })];
  await Promise.all([good.next(), bad.next()]);
  const down = bed.server.shutdown({ timeoutMs: 200 });
  gate.resolve();
  deepEqual(await values(good), [2]);
  await rejects(bad.next(), { code: Code.UNAVAILABLE, rawMessage: "server is shutting down" });
  await down;
});

Deno.test("streams pass through a proxy, two hops away, with all that belongs to them", async () => {
  const over = Promise.withResolvers<unknown>();
  await using back = new TestBed({
    async *count({ count }, { metadata, timeoutMs, signal }) {
      over.resolve(aborted(signal));
      yield { value: BigInt(metadata.get("hops")!) };
      yield { value: BigInt(timeoutMs! > 0 && timeoutMs! <= 60_000 ? 1 : 0) };
      for (let value = 0; value < count; value++) yield { value: BigInt(value) };
      await aborted(signal);
    },
  });
  await using middle = new TestBed(await back.service());
  await using front = new TestBed(await middle.service());
  const client = await front.connect();
  const service = client.service(TestService);

  equal((await service.sum([{ value: 20n }, { value: 22n }])).value, 42n);
  const chat = service.chat([{ text: "a" }, {}, { text: "b" }]);
  deepEqual((await Array.fromAsync(chat)).map(({ text }) => text), ["a", "", "b"]);

  const options = { timeoutMs: 60_000, metadata: { hops: "2" } };
  const stream = service.count({ count: 2 }, options);
  for (const expected of [2n, 1n, 0n, 1n]) equal((await stream.next()).value.value, expected);
  // The client goes away: that ends the call on each hop's connection in turn.
  client.close();
  await rejects(stream.next(), { code: Code.CANCELLED });
  await middle.server.shutdown({ timeoutMs: 0 });
  await back.server.shutdown({ timeoutMs: 0 });
  ok(await over.promise);
});

Deno.test("a deadline passes through a proxy to a stream two hops away", async () => {
  const over = Promise.withResolvers<unknown>();
  await using back = new TestBed({
    async *count(_request, { signal }) {
      yield { value: 1n };
      over.resolve(await aborted(signal));
    },
  });
  await using middle = new TestBed(await back.service());
  await using front = new TestBed(await middle.service());
  const stream = (await front.service()).count({}, { timeoutMs: 60 });
  equal((await stream.next()).value.value, 1n);
  await rejects(stream.next(), { code: Code.DEADLINE_EXCEEDED });
  const reason = await over.promise;
  ok(reason instanceof DOMException && reason.name === "TimeoutError");
});

Deno.test("client.streamRaw() and client.callRaw() move the bytes of streams", async () => {
  await using bed = new TestBed();
  const client = await bed.connect();
  const service = "ttrpc.test.v1.TestService";
  const three = new Uint8Array([8, 3]);
  const counted = await Array.fromAsync(client.streamRaw(service, "Count", three));
  deepEqual(counted.map((bytes) => [...bytes]), [[], [8, 1], [8, 2]]);
  deepEqual([...await client.callRaw(service, "Sum", counted)], [8, 3]);
  deepEqual([...await client.callRaw(service, "Sum", [])], []);
  const chat = await Array.fromAsync(
    client.streamRaw(service, "Chat", [new Uint8Array([18, 1, 120])]),
  );
  deepEqual(chat.map((bytes) => [...bytes]), [[18, 1, 120]]);
});

Deno.test("a stream nobody looks at any more does no harm when it fails", async () => {
  await using bed = new TestBed({
    // deno-lint-ignore require-yield -- it fails before it would
    async *count() {
      throw new Error("unheard");
    },
  });
  const client = await bed.connect();
  client.service(TestService).count({});
  await client.service(TestService).nothing({});
  await quiet(bed, client);
});

Deno.test("a stream with a timeout that is no number is refused at once", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  throws(() => service.count({}, { timeoutMs: NaN }), RangeError);
});
