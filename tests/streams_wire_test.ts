// Streams in frames: flags, endings, empty messages, and frames that come late or astray.

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { FrameFlag, FrameType } from "../framing.ts";
import { Code } from "../status.ts";
import { answer, dataFrame, HALF_CLOSE, type RawPeer, responseOf } from "./raw_peer.ts";
import { ClientWire, ServerWire, works, X } from "./wire_bed.ts";

const { RemoteClosed, RemoteOpen, NoData } = FrameFlag;

Deno.test("the server sends bare Data, and ends a stream with Data that closes and is empty", async () => {
  await using wire = await ServerWire.open();
  await wire.openStream(1, "Count", RemoteClosed, [8, 2]);
  await wire.expect(dataFrame(1, 0), dataFrame(1, 0, [8, 1]), dataFrame(1, HALF_CLOSE));
});

Deno.test("the server delivers the empty payload of a server-streaming Request", async () => {
  await using wire = await ServerWire.open({
    count: ({ count }) => [{ value: BigInt(count + 5) }],
  });
  await wire.openStream(1, "Count", RemoteClosed);
  await wire.expect(dataFrame(1, 0, [8, 5]), dataFrame(1, HALF_CLOSE));
});

for (const flags of [0, RemoteOpen, RemoteOpen | NoData, NoData]) {
  Deno.test(`the server opens a stream for a Request with flags of ${flags}`, async () => {
    await using wire = await ServerWire.open();
    await wire.openStream(1, "Chat", flags);
    await wire.peer.send(dataFrame(1, 0, X));
    await wire.expect(dataFrame(1, 0, X));
    await wire.peer.send(dataFrame(1, HALF_CLOSE));
    await wire.expect(dataFrame(1, HALF_CLOSE));
  });
}

Deno.test("the server takes a payload in the Request of a bidirectional stream as message one", async () => {
  await using wire = await ServerWire.open();
  await wire.openStream(1, "Chat", RemoteOpen, X);
  await wire.expect(dataFrame(1, 0, X));
  await wire.peer.send(dataFrame(1, HALF_CLOSE));
  await wire.expect(dataFrame(1, HALF_CLOSE));
});

Deno.test("the server takes a Request that closes as a stream without further messages", async () => {
  await using wire = await ServerWire.open();
  await wire.openStream(1, "Chat", RemoteClosed, X);
  await wire.expect(dataFrame(1, 0, X), dataFrame(1, HALF_CLOSE));
  await wire.openStream(3, "Sum", RemoteClosed | NoData);
  deepEqual(await answer(wire.peer), [3, 0, ""]);
});

Deno.test("the server delivers Data without bytes as an empty message, and none with NoData", async () => {
  await using wire = await ServerWire.open();
  await wire.openStream(1, "Chat", RemoteOpen);
  await wire.peer.send(dataFrame(1, NoData));
  await wire.peer.send(dataFrame(1, NoData, X)); // bytes beside NoData are ignored
  await wire.peer.send(dataFrame(1, 0));
  await wire.expect(dataFrame(1, 0));
  await wire.peer.send(dataFrame(1, HALF_CLOSE, X));
  await wire.expect(dataFrame(1, HALF_CLOSE));
});

Deno.test("the server delivers a message on the closing frame, and then the end", async () => {
  await using wire = await ServerWire.open();
  await wire.openStream(1, "Chat", RemoteOpen);
  await wire.peer.send(dataFrame(1, RemoteClosed, X));
  await wire.expect(dataFrame(1, 0, X), dataFrame(1, HALF_CLOSE));
  await wire.openStream(3, "Chat", RemoteOpen);
  await wire.peer.send(dataFrame(3, RemoteClosed)); // an empty message, and then the end
  await wire.expect(dataFrame(3, 0), dataFrame(3, HALF_CLOSE));
});

Deno.test("the server answers a client stream with one Response, an empty one, too", async () => {
  await using wire = await ServerWire.open();
  await wire.openStream(1, "Sum", RemoteOpen | NoData);
  await wire.peer.send(dataFrame(1, 0, [8, 40]));
  await wire.peer.send(dataFrame(1, 0, [8, 2]));
  await wire.peer.send(dataFrame(1, HALF_CLOSE));
  const { payload } = await responseOf(wire.peer);
  deepEqual([...payload], [8, 42]);
  await wire.openStream(3, "Sum", RemoteOpen | NoData);
  await wire.peer.send(dataFrame(3, HALF_CLOSE));
  await wire.expect({ streamId: 3, type: FrameType.Response, flags: 0, data: new Uint8Array(0) });
});

Deno.test("the server ends a stream on which Data comes after the half-close", async () => {
  await using wire = await ServerWire.open({
    async *chat(requests, { signal }) {
      for await (const _ of requests);
      yield { text: "x" };
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    },
  });
  await wire.openStream(1, "Chat", RemoteOpen);
  await wire.peer.send(dataFrame(1, HALF_CLOSE));
  await wire.expect(dataFrame(1, 0, X));
  await wire.peer.send(dataFrame(1, 0, X));
  deepEqual(await answer(wire.peer), [1, Code.INVALID_ARGUMENT, "data came after the half-close"]);
  await works(wire.peer, 3);
});

Deno.test("the server answers 3 for Data on a server stream in flight, which goes on", async () => {
  const gate = Promise.withResolvers<void>();
  await using wire = await ServerWire.open({
    async *count() {
      yield { value: 1n };
      await gate.promise;
      yield { value: 2n };
    },
  });
  await wire.openStream(1, "Count", RemoteClosed);
  await wire.expect(dataFrame(1, 0, [8, 1]));
  await wire.peer.send(dataFrame(1, 0, X));
  deepEqual(await answer(wire.peer), [
    1,
    Code.INVALID_ARGUMENT,
    "the method takes a single request",
  ]);
  gate.resolve();
  await wire.expect(dataFrame(1, 0, [8, 2]), dataFrame(1, HALF_CLOSE));
});

Deno.test("the server ends a stream whose Data is over the limit, and skips it", async () => {
  await using wire = await ServerWire.open({}, { limits: { messageBytes: 1_000 } });
  await wire.openStream(1, "Chat", RemoteOpen);
  await wire.peer.send(dataFrame(1, 0, new Uint8Array(1_001)));
  const message = "message length 1001 exceed maximum message size of 1000";
  deepEqual(await answer(wire.peer), [1, Code.RESOURCE_EXHAUSTED, message]);
  await wire.peer.send(dataFrame(9, 0, new Uint8Array(1_001)));
  deepEqual(await answer(wire.peer), [9, Code.RESOURCE_EXHAUSTED, message]);
  await works(wire.peer, 11);
});

Deno.test("the server ends a stream whose Data is not the method's message", async () => {
  await using wire = await ServerWire.open();
  await wire.openStream(1, "Chat", RemoteOpen);
  await wire.peer.send(dataFrame(1, 0, [0x0a, 0xff]));
  deepEqual((await answer(wire.peer)).slice(0, 2), [1, Code.INTERNAL]);
});

Deno.test("the server keeps the order of 10,000 messages whose close comes in the same packet", async () => {
  await using wire = await ServerWire.open();
  await wire.openStream(1, "Sum", RemoteOpen | NoData);
  const bytes = new Uint8Array(10_000 * 12 + 10);
  for (let i = 0; i < 10_000; i++) bytes.set([0, 0, 0, 2, 0, 0, 0, 1, 3, 0, 8, 1], 12 * i);
  bytes.set([0, 0, 0, 0, 0, 0, 0, 1, 3, HALF_CLOSE], 10_000 * 12);
  await wire.peer.sendBytes(bytes);
  const { payload } = await responseOf(wire.peer);
  deepEqual([...payload], [8, 0x90, 0x4e]);
});

async function texts(stream: AsyncIterable<{ text: string }>): Promise<string[]> {
  return (await Array.fromAsync(stream)).map(({ text }) => text);
}

Deno.test("the client opens a server stream with flags of 1 and its message in the Request", async () => {
  await using wire = await ClientWire.open();
  const stream = wire.service.count({ count: 3 });
  const { flags, payload } = await wire.nextRequest();
  deepEqual([flags, [...payload]], [RemoteClosed, [8, 3]]);
  await wire.peer.send(dataFrame(1, HALF_CLOSE));
  deepEqual(await Array.fromAsync(stream), []);
});

Deno.test("the client opens other streams with flags of 6, and ends them with an empty frame", async () => {
  await using wire = await ClientWire.open();
  const sum = wire.service.sum([{ value: 5n }, {}]);
  const { flags, payload } = await wire.nextRequest();
  deepEqual([flags, payload.length], [RemoteOpen | NoData, 0]);
  await wire.expect(dataFrame(1, 0, [8, 5]), dataFrame(1, 0), dataFrame(1, HALF_CLOSE));
  await wire.peer.respond(1, { payload: new Uint8Array([8, 5]) });
  equal((await sum).value, 5n);
});

const endings: [string, (peer: RawPeer) => Promise<void>, string[]][] = [
  ["an empty closing Data frame", (peer) => peer.send(dataFrame(1, HALF_CLOSE)), ["x"]],
  ["a closing Data frame with a message", (peer) => peer.send(dataFrame(1, RemoteClosed, X)), [
    "x",
    "x",
  ]],
  ["a closing Data frame without NoData", (peer) => peer.send(dataFrame(1, RemoteClosed)), [
    "x",
    "",
  ]],
  ["an OK Response without a payload", (peer) => peer.respond(1), ["x"]],
  [
    "an OK Response with a status of zero",
    (peer) => peer.respond(1, { status: { code: 0, message: "", details: [] } }),
    ["x"],
  ],
  [
    "an OK Response with a payload",
    (peer) => peer.respond(1, { payload: new Uint8Array(X) }),
    ["x", "x"],
  ],
];

for (const [name, end, expected] of endings) {
  Deno.test(`the client takes ${name} as the end of a stream`, async () => {
    await using wire = await ClientWire.open();
    const stream = wire.service.chat([]);
    await wire.peer.send(dataFrame(1, 0, X));
    await end(wire.peer);
    deepEqual(await texts(stream), expected);
    await wire.peer.send(dataFrame(1, 0, X)); // late: ignored
    const call = wire.service.nothing({});
    await wire.peer.respond(3);
    await call;
  });
}

Deno.test("the client cancels a stream and half-closes it, and ignores what still comes", async () => {
  await using wire = await ClientWire.open();
  const controller = new AbortController();
  const stream = wire.service.chat(new ReadableStream(), { signal: controller.signal });
  await wire.nextRequest();
  controller.abort();
  await rejects(stream.next(), { code: Code.CANCELLED });
  await wire.expectCancel(1);
  await wire.expect(dataFrame(1, HALF_CLOSE));
  await wire.peer.send(dataFrame(1, 0, X));
  await wire.peer.respond(1, { status: { code: 3, message: "late", details: [] } });
  const call = wire.service.nothing({});
  equal((await wire.nextRequest()).streamId, 3);
  await wire.peer.respond(3);
  await call;
});

Deno.test("the client has nothing to half-close on a call whose request is whole", async () => {
  await using wire = await ClientWire.open();
  const controller = new AbortController();
  const { signal } = controller;
  const [unary, stream] = [
    wire.service.nothing({}, { signal }),
    wire.service.count({}, { signal }),
  ];
  controller.abort();
  await rejects(unary, { code: Code.CANCELLED });
  await rejects(stream.next(), { code: Code.CANCELLED });
  const call = wire.service.nothing({});
  for (const streamId of [1, 3, 1, 3, 5]) {
    const { streamId: id, type } = (await wire.peer.receive())!;
    equal(id, streamId);
    ok(type !== FrameType.Data);
  }
  await wire.peer.respond(5);
  await call;
});

Deno.test("the client fails a stream whose message is not the method's, and half-closes it", async () => {
  await using wire = await ClientWire.open();
  const stream = wire.service.chat(new ReadableStream());
  await wire.nextRequest();
  await wire.peer.send(dataFrame(1, 0, [0x0a, 0xff]));
  await rejects(stream.next(), { code: Code.INTERNAL });
  await wire.expectCancel(1);
  await wire.expect(dataFrame(1, HALF_CLOSE));
  deepEqual(await stream.next(), { done: true, value: undefined });
});

Deno.test("the client fails a client-streaming call for which Data comes", async () => {
  await using wire = await ClientWire.open();
  const sum = wire.service.sum(new ReadableStream());
  await wire.nextRequest();
  await wire.peer.send(dataFrame(1, 0, [8, 1]));
  await rejects(sum, {
    code: Code.INTERNAL,
    rawMessage: "a Data frame came for a client_streaming call",
  });
});

Deno.test("the client fails a stream whose Data is over its limit", async () => {
  await using wire = await ClientWire.open();
  const stream = wire.service.count({});
  await wire.peer.send(dataFrame(1, 0, new Uint8Array((4 << 20) + 1)));
  await rejects(stream.next(), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "message length 4194305 exceed maximum message size of 4194304",
  });
});
