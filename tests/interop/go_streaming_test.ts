// Streams between us and containerd's own implementation, each side in both roles.

import { create, createFileRegistry, type DescService, toBinary } from "@bufbuild/protobuf";
import { Code, connect } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { NULL_TEXT, NULLS_PER_MESSAGE } from "./streaming.ts";
import { Streaming } from "../../gen/ttrpc/integration/streaming/streaming_pb.ts";
import {
  type CountResponse,
  EchoRequestSchema,
  TestService,
} from "../../gen/ttrpc/test/v1/test_pb.ts";
import { aborted, testHandlers } from "../fixture.ts";
import { goCall, GoClient, GoServer, goTest, streamingDescriptors } from "./peer.ts";
import { alive, MESSAGE_BYTES, OurServer } from "./services.ts";

/** What a service looks like on the wire. */
function wireForm({ typeName, methods }: DescService) {
  const form = methods.map(({ name, methodKind, input, output }) => ({
    name,
    methodKind,
    messages: [input, output].map(({ typeName, fields }) => ({
      typeName,
      fields: fields.map(({ name, number, scalar }) => ({ name, number, scalar })),
    })),
  }));
  return { typeName, methods: form };
}

goTest("our proto file of the streaming service says what Go's own says", async () => {
  const theirs = createFileRegistry(await streamingDescriptors()).getService(Streaming.typeName);
  deepEqual(wireForm(Streaming), wireForm(theirs!));
});

/** Messages that are sent when somebody says so, or what is left of them when the call is over. */
class Line<T> implements AsyncIterableIterator<T> {
  readonly #queue: T[] = [];
  #wake = Promise.withResolvers<void>();
  #done = false;

  say(message: T): void {
    this.#queue.push(message);
    this.#wake.resolve();
  }

  hangUp(): void {
    this.#done = true;
    this.#wake.resolve();
  }

  async next(): Promise<IteratorResult<T>> {
    while (this.#queue.length === 0 && !this.#done) {
      this.#wake = Promise.withResolvers();
      await this.#wake.promise;
    }
    return this.#queue.length > 0
      ? { done: false, value: this.#queue.shift()! }
      : { done: true, value: undefined };
  }

  return(): Promise<IteratorResult<T>> {
    this.hangUp();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

const END = { done: true, value: undefined };

// Our client, Go's server

goTest("our client receives a stream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  for (const count of [0, 1, 1000]) {
    const received = await Array.fromAsync(client.service(TestService).count({ count }));
    deepEqual(
      received.map(({ value }) => Number(value)),
      Array.from({ length: count }, (_, i) => i),
    );
  }
  await alive(client);
});

goTest("our client sends a stream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  for (const count of [0, 1, 1000]) {
    const values = Array.from({ length: count }, (_, i) => ({ value: BigInt(i) }));
    const { value } = await client.service(TestService).sum(values);
    equal(Number(value), count * (count - 1) / 2);
  }
  await alive(client);
});

goTest("our client talks, line by line", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const line = new Line<{ text: string }>();
  const chat = client.service(TestService).chat(line);
  for (let i = 0; i < 100; i++) {
    const text = i === 50 ? "" : `line ${i}`; // an empty message is one, too
    line.say({ text });
    equal((await chat.next()).value?.text, text);
  }
  line.hangUp();
  deepEqual(await chat.next(), END);
  await alive(client);
});

goTest("our client's metadata reaches the handler of a stream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const replies = await Array.fromAsync(
    client.service(TestService).chat([{}], { metadata: { tag: ["b", "a"] } }),
  );
  deepEqual(replies[0]?.metadata.map(({ key, value }) => [key, value]), [["tag", "b"], [
    "tag",
    "a",
  ]]);
});

goTest("our client sends and receives stream messages of exactly 4 MiB", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const payload = new Uint8Array(longestPayload());
  const [reply] = await Array.fromAsync(client.service(TestService).chat([{ payload }]));
  equal(reply?.payload.length, payload.length);
  const longer = { payload: new Uint8Array(payload.length + 1) };
  await rejects(Array.fromAsync(client.service(TestService).chat([longer])), {
    code: Code.RESOURCE_EXHAUSTED,
  });
  await alive(client);
});

goTest("our client, with a higher limit, hears that Go's streams have one of 4 MiB", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address }, {
    limits: { messageBytes: MESSAGE_BYTES + 1 },
  });
  const line = new Line<{ payload: Uint8Array }>();
  const chat = client.service(TestService).chat(line);
  line.say({ payload: new Uint8Array(longestPayload() + 1) });
  await rejects(chat.next(), { code: Code.RESOURCE_EXHAUSTED });
  await alive(client);
});

/** How long a payload may be, so that the EchoRequest around it is as long as a frame may be. */
function longestPayload(): number {
  const payload = new Uint8Array(MESSAGE_BYTES - 100);
  const { length } = toBinary(EchoRequestSchema, create(EchoRequestSchema, { payload }));
  return payload.length + MESSAGE_BYTES - length;
}

goTest("our client gets an error after messages", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const line = new Line<{ text: string }>();
  const chat = client.service(TestService).chat(line);
  line.say({ text: "before" });
  equal((await chat.next()).value?.text, "before");
  line.say({ text: "fail" });
  await rejects(chat.next(), { code: Code.FAILED_PRECONDITION, rawMessage: "asked to fail" });
  await alive(client);
});

goTest("our client hears of unknown methods of every streaming kind", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { typeName } = TestService;
  const none = new Uint8Array(0);
  const unknown = { code: Code.UNIMPLEMENTED, rawMessage: "method Missing" };
  await rejects(Array.fromAsync(client.streamRaw(typeName, "Missing", none)), unknown);
  await rejects(Array.fromAsync(client.streamRaw(typeName, "Missing", new Line())), unknown);
  await rejects(client.callRaw(typeName, "Missing", new Line()), unknown);
  await alive(client);
});

goTest("our client ends a stream at its deadline", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const start = performance.now();
  const chat = client.service(TestService).chat(new Line(), { timeoutMs: 100 });
  await rejects(chat.next(), { code: Code.DEADLINE_EXCEEDED });
  ok(performance.now() - start < 10_000);
  await alive(client);
});

goTest("our client aborts a stream, and the connection works on", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const line = new Line<{ text: string }>();
  const controller = new AbortController();
  const chat = client.service(TestService).chat(line, { signal: controller.signal });
  line.say({ text: "before" });
  equal((await chat.next()).value?.text, "before");
  controller.abort();
  await rejects(chat.next(), { code: Code.CANCELLED });
  await alive(client);
});

goTest("our client leaves a stream early, and the connection works on", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const received: CountResponse[] = [];
  for await (const response of client.service(TestService).count({ count: 10_000 })) {
    received.push(response);
    if (received.length === 3) break;
  }
  deepEqual(received.map(({ value }) => value), [0n, 1n, 2n]);
  await alive(client);
});

goTest("our client makes other calls while it does not read a stream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { count } = client.service(TestService);
  const unread = count({ count: 1_000 });
  equal((await Array.fromAsync(count({ count: 500 }))).length, 500);
  for (let i = 0; i < 50; i++) await alive(client);
  equal((await Array.fromAsync(unread)).length, 1_000);
});

goTest("our client keeps 20 streams apart", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const line = new Line<{ text: string }>();
    const chat = client.service(TestService).chat(line);
    for (let round = 0; round < 10; round++) {
      const text = `chat ${i}, round ${round}`;
      line.say({ text });
      equal((await chat.next()).value?.text, text);
    }
    line.hangUp();
    deepEqual(await chat.next(), END);
  }));
});

// Our client and the service of Go's own integration tests

goTest("our client passes the streaming service's Echo", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const streaming = client.service(Streaming);
  const { seq, msg } = await streaming.echo({ seq: 1, msg: "Echo Me" });
  deepEqual([seq, msg], [2, "Echo Me"]);
});

goTest("our client passes the streaming service's EchoStream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const line = new Line<{ seq: number; msg: string }>();
  const echoes = client.service(Streaming).echoStream(line);
  for (let seq = 0; seq < 100; seq += 2) {
    const sent = { seq, msg: `${seq}: Echo in a stream` };
    line.say(sent);
    const { value } = await echoes.next();
    deepEqual([value?.seq, value?.msg], [seq + 1, sent.msg]);
  }
  line.hangUp();
  deepEqual(await echoes.next(), END);
});

goTest("our client passes the streaming service's SumStream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  // The first and the last are empty messages.
  const parts = [{}, ...Array.from({ length: 200 }, (_, i) => ({ add: i - 99 })), {}];
  const { sum, num } = await client.service(Streaming).sumStream(parts);
  deepEqual([sum, num], [100, 202]);
});

goTest("our client passes the streaming service's DivideStream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const streaming = client.service(Streaming);
  const parts = await Array.fromAsync(streaming.divideStream({ sum: 392, num: 30 }));
  equal(parts.length, 30);
  equal(parts.reduce((sum, { add }) => sum + add, 0), 392);
});

const NULLS = Array.from({ length: 100 }, (_, seq) => ({ seq, msg: NULL_TEXT }));

goTest("our client passes the streaming service's EchoNull", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const streaming = client.service(Streaming);
  const { $typeName } = await streaming.echoNull(NULLS);
  equal($typeName, "google.protobuf.Empty");
  await rejects(streaming.echoNull([{ seq: 1, msg: NULL_TEXT }]), { code: Code.UNKNOWN });
});

goTest("our client passes the streaming service's EchoNullStream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const streaming = client.service(Streaming);
  const received = await Array.fromAsync(streaming.echoNullStream(NULLS));
  equal(received.length, NULLS.length * NULLS_PER_MESSAGE);
});

goTest("our client passes the streaming service's EmptyPayloadStream", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const streaming = client.service(Streaming);
  const received = await Array.fromAsync(streaming.emptyPayloadStream({}));
  deepEqual(received.map(({ seq }) => seq), [1, 2]);
});

// Go's client, our server. What is asserted stands in go/call_stream.go.

const CASES: Record<string, string> = {
  "count": "receives a stream",
  "sum": "sends a stream",
  "chat": "talks, line by line",
  "chat-with-request": "sends the first message of a stream with its request",
  "chat-limit": "sends and receives stream messages of exactly 4 MiB",
  "stream-fails": "gets an error after messages",
  "stream-cancel": "cancels a stream, and the connection works on",
  "stream-unknown": "hears of unknown streaming methods",
  "streams-concurrent": "keeps 20 streams apart",
  "streaming-echo": "passes Go's own test of Echo",
  "streaming-echo-stream": "passes Go's own test of EchoStream",
  "streaming-sum-stream": "passes Go's own test of SumStream",
  "streaming-divide-stream": "passes Go's own test of DivideStream",
  "streaming-echo-null": "passes Go's own test of EchoNull",
  "streaming-echo-null-stream": "passes Go's own test of EchoNullStream",
  "streaming-empty-payload-stream": "passes Go's own test of EmptyPayloadStream",
};

for (const [name, what] of Object.entries(CASES)) {
  goTest(`Go's client ${what}`, async () => {
    await using ours = new OurServer();
    await goCall(ours.path, name);
  });
}

goTest("Go's client finishes a stream while our server shuts down", async () => {
  const shutdown = Promise.withResolvers<void>();
  await using ours = new OurServer({
    echo: (request, context) => {
      if (request.text === "shut down") ours.server.shutdown().then(shutdown.resolve);
      return testHandlers.echo(request, context);
    },
  });
  await goCall(ours.path, "stream-while-draining");
  await shutdown.promise;
});

goTest("our handler of a stream is aborted when the Go process is killed", async () => {
  const called = Promise.withResolvers<AbortSignal>();
  await using ours = new OurServer({
    async *chat(requests, { signal }) {
      for await (const { text } of requests) {
        yield { text };
        called.resolve(signal);
      }
    },
  });
  await using go = await GoClient.start(ours.path, "stream-until-killed");
  const signal = await called.promise;
  equal(signal.aborted, false);
  go.kill();
  await aborted(signal);
});
