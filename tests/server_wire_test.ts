// What the server answers to raw frames: the rows of the protocol's table, and the corners of the
// envelope.

import { create, toBinary } from "@bufbuild/protobuf";
import { deepEqual, equal, ok } from "node:assert/strict";
import { FrameType } from "../framing.ts";
import {
  EchoRequestSchema,
  ProduceRequestSchema,
  SleepRequestSchema,
} from "../gen/ttrpc/test/v1/test_pb.ts";
import { Metadata } from "../metadata.ts";
import { Code, RpcError } from "../status.ts";
import { aborted, type TestHandlers } from "./fixture.ts";
import { answer, dataFrame, HALF_CLOSE, RawPeer, requestData, responseOf } from "./raw_peer.ts";
import { ServerWire, works } from "./wire_bed.ts";
import { untilAtRest } from "./wait.ts";

const LIMIT = 4 << 20;

Deno.test("the server answers OK with an absent status, and an empty message with no bytes", async () => {
  await using wire = await ServerWire.open();
  await wire.peer.request(1, { method: "Nothing" });
  deepEqual(await wire.peer.receive(), {
    streamId: 1,
    type: FrameType.Response,
    flags: 0,
    data: new Uint8Array(0),
  });
});

Deno.test("the server answers 12 for an unknown service and for an unknown method", async () => {
  await using wire = await ServerWire.open();
  await wire.peer.request(1, { service: "no.Such" });
  deepEqual(await answer(wire.peer), [1, Code.UNIMPLEMENTED, "service no.Such"]);
  await wire.peer.request(3, { method: "noSuch" });
  deepEqual(await answer(wire.peer), [3, Code.UNIMPLEMENTED, "method noSuch"]);
  await wire.peer.send({ streamId: 5 });
  deepEqual(await answer(wire.peer), [5, Code.UNIMPLEMENTED, "service "]);
  await works(wire.peer, 7);
});

Deno.test("the server answers 3 on the same id for one that is even or zero", async () => {
  await using wire = await ServerWire.open();
  const message = "StreamID must be odd for client initiated streams";
  for (const streamId of [2, 0, 0xfffffffe]) {
    await wire.peer.request(streamId, {});
    deepEqual(await answer(wire.peer), [streamId, Code.INVALID_ARGUMENT, message]);
  }
  await works(wire.peer, 1);
});

Deno.test("the server answers 3 for an id that is used again or lower", async () => {
  await using wire = await ServerWire.open();
  const message = "StreamID cannot be re-used and must increment";
  await works(wire.peer, 5);
  for (const streamId of [5, 3, 1]) {
    await wire.peer.request(streamId, {});
    deepEqual(await answer(wire.peer), [streamId, Code.INVALID_ARGUMENT, message]);
  }
  await works(wire.peer, 7);
});

Deno.test("the server takes ids that leave gaps, up to the last there is", async () => {
  await using wire = await ServerWire.open();
  await works(wire.peer, 1001);
  await works(wire.peer, 0xffffffff);
});

Deno.test("the server answers 8 for a Request over the limit, and stays in step", async () => {
  await using wire = await ServerWire.open();
  const message = `message length ${LIMIT + 1} exceed maximum message size of ${LIMIT}`;
  const data = new Uint8Array(LIMIT + 1).fill(0xff);
  await wire.peer.send({ streamId: 1, data });
  deepEqual(await answer(wire.peer), [1, Code.RESOURCE_EXHAUSTED, message]);
  await works(wire.peer, 3);
});

Deno.test("the server takes a Request of exactly the limit", async () => {
  await using wire = await ServerWire.open({
    echo: ({ payload }) => ({ text: `${payload.length}` }),
  });
  const empty = requestData({ method: "Echo", payload: new Uint8Array(70_000) }).length - 70_000;
  // Seven bytes more for the two lengths, which are longer now.
  const bytes = LIMIT - empty - 6;
  const payload = toBinary(
    EchoRequestSchema,
    create(EchoRequestSchema, { payload: new Uint8Array(bytes) }),
  );
  let data = requestData({ method: "Echo", payload });
  data = requestData({
    method: "Echo",
    payload: toBinary(
      EchoRequestSchema,
      create(EchoRequestSchema, { payload: new Uint8Array(bytes - (data.length - LIMIT)) }),
    ),
  });
  equal(data.length, LIMIT);
  await wire.peer.send({ streamId: 1, data });
  equal((await answer(wire.peer))[1], 0);
});

Deno.test("the server closes a connection whose first byte is not zero, and others live on", async () => {
  await using wire = await ServerWire.open();
  await works(wire.peer, 1);
  using other = await RawPeer.connect(wire.bed.path);
  await other.sendBytes(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  equal(await other.receive(), undefined);
  equal(wire.bed.errors.length, 1);
  ok(/lost: protocol error: a frame starts with byte 71/.test(String(wire.bed.errors[0])));
  await works(wire.peer, 3);
});

Deno.test("the server reports a connection that ends inside a frame", async () => {
  await using wire = await ServerWire.open();
  using other = await RawPeer.connect(wire.bed.path);
  await other.sendBytes(new Uint8Array([0, 0, 0, 9, 0, 0, 0, 1, 1, 0, 1, 2]));
  await other.conn.closeWrite();
  equal(await other.receive(), undefined);
  equal(
    (wire.bed.errors[0] as Error).message,
    `UNAVAILABLE: connection to unix:${wire.bed.path} lost: the peer closed it inside a frame`,
  );
});

Deno.test("the server answers 3 for a Request that is not protobuf", async () => {
  await using wire = await ServerWire.open();
  await wire.peer.send({ streamId: 1, data: new Uint8Array([0x0a, 0xff]) });
  deepEqual(await answer(wire.peer), [
    1,
    Code.INVALID_ARGUMENT,
    "unmarshal request error: a field is cut off",
  ]);
  await works(wire.peer, 3);
});

Deno.test("the server answers 13 for a payload that is not the method's message", async () => {
  await using wire = await ServerWire.open();
  await wire.peer.request(1, { method: "Echo", payload: new Uint8Array([0x0a, 0x05, 1]) });
  const [streamId, code, message] = await answer(wire.peer);
  deepEqual([streamId, code], [1, Code.INTERNAL]);
  ok(message.startsWith("ttrpc: error unmarshalling payload: "), message);
  await works(wire.peer, 3);
});

Deno.test("the server answers 3 for Data on an unknown stream, also for a late half-close", async () => {
  await using wire = await ServerWire.open();
  await works(wire.peer, 1);
  const late = dataFrame(1, 0, [1]);
  const halfClose = dataFrame(1, HALF_CLOSE);
  for (const frame of [late, halfClose, { ...late, streamId: 9 }]) {
    await wire.peer.send(frame);
    deepEqual(await answer(wire.peer), [
      frame.streamId,
      Code.INVALID_ARGUMENT,
      "StreamID is no longer active",
    ]);
  }
  await works(wire.peer, 3);
});

Deno.test("the server answers 3 for Data on a unary call in flight, which finishes", async () => {
  const gate = Promise.withResolvers<void>();
  await using wire = await ServerWire.open({
    nothing: async () => {
      await gate.promise;
      return {};
    },
  });
  await wire.peer.request(1, {});
  await wire.peer.send(dataFrame(1, 0, [1]));
  deepEqual(await answer(wire.peer), [
    1,
    Code.INVALID_ARGUMENT,
    "the method takes a single request",
  ]);
  gate.resolve();
  deepEqual(await answer(wire.peer), [1, 0, ""]);
});

Deno.test("the server ignores frames of unknown types, and Responses", async () => {
  await using wire = await ServerWire.open();
  for (const type of [0, 2, 4, 5, 255]) {
    await wire.peer.send({ streamId: 1, type, data: new Uint8Array([1, 2, 3]) });
  }
  await works(wire.peer, 1);
});

Deno.test("the server takes any flags on a Request, and decides by the method", async () => {
  await using wire = await ServerWire.open();
  let streamId = 1;
  for (const flags of [0, 1, 2, 3, 4, 5, 6, 7, 0xf8, 0xff]) {
    await wire.peer.send({ streamId, flags, data: requestData({}) });
    deepEqual(await answer(wire.peer), [streamId, 0, ""]);
    streamId += 2;
  }
});

Deno.test("the server answers 2 with the message of a plain error, and never a stack", async () => {
  await using wire = await ServerWire.open({
    nothing: () => {
      throw new TypeError("no idea");
    },
    sleep: () => Promise.reject("a string"),
  });
  await wire.peer.request(1, {});
  const { payload, status } = await responseOf(wire.peer);
  deepEqual(status, { code: Code.UNKNOWN, message: "no idea", details: [] });
  equal(payload.length, 0);
  await wire.peer.request(3, { method: "Sleep" });
  deepEqual(await answer(wire.peer), [3, Code.UNKNOWN, "a string"]);
  equal(wire.bed.errors.length, 2);
});

Deno.test("the server answers 13 when a handler returns nothing or what is no message", async () => {
  await using wire = await ServerWire.open({
    nothing: (() => undefined) as unknown as TestHandlers["nothing"],
    sleep: (() => ({ deadlineMilliseconds: "soon" })) as unknown as TestHandlers["sleep"],
  });
  await wire.peer.request(1, {});
  deepEqual(await answer(wire.peer), [
    1,
    Code.INTERNAL,
    "ttrpc: error marshalling payload: the message is undefined",
  ]);
  await wire.peer.request(3, { method: "Sleep" });
  const [, code, message] = await answer(wire.peer);
  equal(code, Code.INTERNAL);
  ok(message.startsWith("ttrpc: error marshalling payload: "), message);
});

Deno.test("the server answers 8 for a reply over the limit, and the connection lives", async () => {
  await using wire = await ServerWire.open();
  const produce = (length: number) =>
    toBinary(ProduceRequestSchema, create(ProduceRequestSchema, { length }));
  await wire.peer.request(1, { method: "Produce", payload: produce(LIMIT) });
  deepEqual(await answer(wire.peer), [
    1,
    Code.RESOURCE_EXHAUSTED,
    `message length ${LIMIT + 10} exceed maximum message size of ${LIMIT}`,
  ]);
  await wire.peer.request(3, { method: "Produce", payload: produce(LIMIT - 10) });
  const { status, payload } = await responseOf(wire.peer);
  equal(status, undefined);
  equal(payload.length, LIMIT - 5);
});

Deno.test("the server sends a status that is too long in short", async () => {
  await using wire = await ServerWire.open({
    nothing: () => {
      throw new RpcError(Code.ABORTED, "x".repeat(LIMIT), {
        details: [{ typeUrl: "x/Y", value: new Uint8Array(LIMIT) }],
      });
    },
  });
  await wire.peer.request(1, {});
  const [, code, message] = await answer(wire.peer);
  equal(code, Code.ABORTED);
  equal(message, `${"x".repeat(200)}... (shortened)`);
});

Deno.test("the server sends a status although every limit is too small for it", async () => {
  await using wire = await ServerWire.open({
    nothing: () => {
      throw new RpcError(Code.ABORTED, "boom ".repeat(30));
    },
  }, { limits: { messageBytes: 64 } });
  await wire.peer.request(1, {});
  equal((await answer(wire.peer))[1], Code.ABORTED);
});

const unprintable = {
  toString() {
    throw new Error("no");
  },
};
const oddities: [string, () => unknown][] = [
  ["an object without a prototype", () => Object.create(null)],
  ["an object that cannot be a string", () => unprintable],
  ["an error whose message is a number", () => Object.assign(new Error("x"), { message: 42 })],
  ["undefined", () => undefined],
  [
    "a status that was tampered with",
    () => Object.assign(new RpcError(Code.ABORTED, "x"), { rawMessage: 42, details: [1] }),
  ],
];

for (const [name, make] of oddities) {
  Deno.test(`the server survives a handler that throws ${name}`, async () => {
    await using wire = await ServerWire.open({
      sleep: () => {
        throw make();
      },
    });
    await wire.peer.request(1, { method: "Sleep" });
    equal((await answer(wire.peer))[1], Code.UNKNOWN);
    await works(wire.peer, 3);
  });
}

Deno.test("the server awaits whatever has a then()", async () => {
  await using wire = await ServerWire.open({
    echo: (() => ({
      then: (resolve: (reply: unknown) => void) => resolve({ text: "x" }),
    })) as unknown as TestHandlers["echo"],
  });
  await wire.peer.request(1, { method: "Echo" });
  deepEqual([...(await responseOf(wire.peer)).payload], [18, 1, 120]);
});

Deno.test("the server does not read on while a peer does not take its errors", async () => {
  await using wire = await ServerWire.open({
    nothing: () => {
      throw new RpcError(Code.ABORTED, "x".repeat(900));
    },
  });
  let sent = 0;
  const flood = (async () => {
    for (let streamId = 1; streamId < 400_000; streamId += 2) {
      await wire.peer.request(streamId, {});
      sent++;
    }
  })().catch(() => {});
  await untilAtRest(() => sent, 200);
  ok(wire.bed.server.stats().bytesSent < 4_000_000, `${sent} calls were answered`);
  wire.peer.conn.close();
  await flood;
});

Deno.test("the server refuses more metadata than anybody needs", async () => {
  await using wire = await ServerWire.open();
  const data = new Uint8Array(30_000);
  for (let at = 0; at < data.length; at += 2) data[at] = 0x2a; // empty pairs
  await wire.peer.send({ streamId: 1, data });
  equal((await answer(wire.peer))[1], Code.RESOURCE_EXHAUSTED);
});

Deno.test("the server answers 4 at once when a deadline passes, and aborts the handler", async () => {
  const over = Promise.withResolvers<unknown>();
  await using wire = await ServerWire.open({
    // Nothing but the signal would ever end it.
    sleep: async (_request, { signal }) => {
      over.resolve(await aborted(signal));
      return {};
    },
  });
  await wire.peer.request(1, { method: "Sleep", timeoutNano: 20_000_000n });
  deepEqual(await answer(wire.peer), [1, Code.DEADLINE_EXCEEDED, "the deadline has passed"]);
  const reason = await over.promise;
  ok(reason instanceof DOMException && reason.name === "TimeoutError");
  await works(wire.peer, 3);
});

Deno.test("the server answers 4 although the handler does not obey", async () => {
  const gate = Promise.withResolvers<void>();
  await using wire = await ServerWire.open({
    sleep: async () => {
      await gate.promise;
      return {};
    },
  });
  await wire.peer.request(1, { method: "Sleep", timeoutNano: 1n });
  equal((await answer(wire.peer))[1], Code.DEADLINE_EXCEEDED);
  gate.resolve(); // its late answer goes nowhere
  await works(wire.peer, 3);
});

Deno.test("the server takes a negative timeout as a deadline that has passed", async () => {
  let called = false;
  await using wire = await ServerWire.open({
    nothing: () => {
      called = true;
      return {};
    },
  });
  for (const [streamId, timeoutNano] of [[1, -1n], [3, -(2n ** 63n)]] as const) {
    await wire.peer.request(streamId, { timeoutNano });
    equal((await answer(wire.peer))[1], Code.DEADLINE_EXCEEDED);
  }
  equal(called, false);
});

Deno.test("the server tells the handler what is left, if there is a deadline", async () => {
  const seen: (number | undefined)[] = [];
  await using wire = await ServerWire.open({
    nothing: (_request, { timeoutMs }) => {
      seen.push(timeoutMs);
      return {};
    },
  });
  for (
    const [streamId, timeoutNano] of [[1, 0n], [3, 60_000_000_000n], [5, 2n ** 63n - 1n]] as const
  ) {
    await wire.peer.request(streamId, { timeoutNano });
    equal((await answer(wire.peer))[1], 0);
  }
  equal(seen[0], undefined);
  ok(seen[1]! > 50_000 && seen[1]! <= 60_000, `${seen[1]}`);
  ok(seen[2]! > 9e12);
});

Deno.test("the server hands metadata to the handler: folded, in order, with repetitions", async () => {
  let seen: [string, string][] = [];
  await using wire = await ServerWire.open({
    nothing: (_request, { metadata }) => {
      seen = [...metadata];
      return {};
    },
  });
  const metadata = new Metadata([["b", "1"], ["a", "é"], ["b", "2"], ["", ""]]);
  await wire.peer.request(1, { metadata });
  await answer(wire.peer);
  deepEqual(seen, [["b", "1"], ["a", "é"], ["b", "2"], ["", ""]]);
  await wire.peer.request(3, {});
  await answer(wire.peer);
  deepEqual(seen, []);
});

Deno.test("the server answers 8 for a call more than it takes, and takes one again later", async () => {
  const gates: PromiseWithResolvers<void>[] = [];
  await using wire = await ServerWire.open({
    sleep: async () => {
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      await gate.promise;
      return {};
    },
  }, { limits: { concurrentCalls: 2 } });
  for (const streamId of [1, 3, 5]) await wire.peer.request(streamId, { method: "Sleep" });
  deepEqual(await answer(wire.peer), [
    5,
    Code.RESOURCE_EXHAUSTED,
    "the connection has 2 calls in flight, which is the most that limits.concurrentCalls allows",
  ]);
  gates[0]!.resolve();
  deepEqual(await answer(wire.peer), [1, 0, ""]);
  await works(wire.peer, 7);
  gates[1]!.resolve();
  deepEqual(await answer(wire.peer), [3, 0, ""]);
});

Deno.test("the server answers 14 for a new call while it drains", async () => {
  const gate = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  await using wire = await ServerWire.open({
    sleep: async () => {
      started.resolve();
      await gate.promise;
      return {};
    },
  });
  await wire.peer.request(1, { method: "Sleep" });
  await started.promise;
  const down = wire.bed.server.shutdown();
  await wire.peer.request(3, {});
  deepEqual(await answer(wire.peer), [3, Code.UNAVAILABLE, "server is shutting down"]);
  gate.resolve();
  deepEqual(await answer(wire.peer), [1, 0, ""]);
  equal(await wire.peer.receive(), undefined);
  await down;
});

Deno.test("the server finishes the calls of a client that has half-closed its socket", async () => {
  const gate = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  let signal: AbortSignal | undefined;
  await using wire = await ServerWire.open({
    sleep: async (_request, context) => {
      signal = context.signal;
      started.resolve();
      await gate.promise;
      return { deadlineMilliseconds: 7n };
    },
  });
  await wire.peer.request(1, { method: "Sleep" });
  await started.promise;
  await wire.peer.conn.closeWrite();
  // Another connection's call comes back after the server has read the end of this one.
  using other = await RawPeer.connect(wire.bed.path);
  await works(other, 1);
  equal(signal!.aborted, false);
  gate.resolve();
  equal((await answer(wire.peer))[1], 0);
  equal(await wire.peer.receive(), undefined);
});

Deno.test("the server aborts the calls of a client that is gone", async () => {
  const over = Promise.withResolvers<unknown>();
  const started = Promise.withResolvers<void>();
  await using wire = await ServerWire.open({
    sleep: async (_request, { signal }) => {
      started.resolve();
      over.resolve(await aborted(signal));
      return {};
    },
  });
  await wire.peer.request(1, { method: "Sleep" });
  await started.promise;
  wire.peer.conn.close();
  ok(/CANCELLED: the connection has ended/.test(String(await over.promise)));
  deepEqual(wire.bed.errors, []);
});

Deno.test("the server aborts the signal of a handler that is done", async () => {
  let signal: AbortSignal | undefined;
  let context: Parameters<TestHandlers["nothing"]>[1] | undefined;
  await using wire = await ServerWire.open({
    sleep: (_request, context) => {
      signal = context.signal;
      equal(signal.aborted, false);
      return {};
    },
    nothing: (_request, given) => {
      context = given;
      return {};
    },
  });
  await wire.peer.request(1, { method: "Sleep" });
  await answer(wire.peer);
  equal(signal!.aborted, true);
  await works(wire.peer, 3);
  const late = context!.signal;
  equal(late.aborted, true);
  equal(context!.signal, late);
});

Deno.test("the server does not read on while a peer does not take its rejections", async () => {
  await using wire = await ServerWire.open();
  const noise = requestData({ service: "no.Such".repeat(100) });
  let sent = 0;
  const flood = (async () => {
    for (let streamId = 1; streamId < 400_000; streamId += 2) {
      await wire.peer.send({ streamId, data: noise });
      sent++;
    }
  })().catch(() => {});
  // The flood comes to a halt by itself: the socket is full, because the server does not read.
  await untilAtRest(() => sent, 200);
  ok(sent < 20_000, `${sent} requests were read`);
  using other = await RawPeer.connect(wire.bed.path);
  await works(other, 1);
  equal((await answer(wire.peer))[1], Code.UNIMPLEMENTED);
  wire.peer.conn.close();
  await flood;
});

Deno.test("the server sleeps as long as it is asked to, and not longer", async () => {
  await using wire = await ServerWire.open();
  const payload = toBinary(SleepRequestSchema, create(SleepRequestSchema, { milliseconds: 1n }));
  await wire.peer.request(1, { method: "Sleep", payload, timeoutNano: 60_000_000_000n });
  equal((await answer(wire.peer))[1], 0);
});
