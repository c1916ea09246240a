// A server's side of one connection, frame by frame, without a socket.

import { deepEqual, equal, ok } from "node:assert/strict";
import { bytesCodec } from "../codec.ts";
import { responseLength } from "../wire/envelope.ts";
import { FrameType } from "../framing.ts";
import { ServerConnection } from "../engine/server_connection.ts";
import type { HandlerContext } from "../service.ts";
import { Code, RpcError } from "../status.ts";
import { requestData } from "./raw_peer.ts";
import { frameBytes, ScriptedConnection } from "./scripted_connection.ts";
import { settle } from "./stand_ins.ts";
import { Bed, EMPTY, LAST, NEVER, OPEN } from "./server_connection_bed.ts";

Deno.test("a call of one message each way is answered with a Response", async () => {
  await using bed = new Bed();
  await bed.request(1, { payload: new Uint8Array([7]) });
  deepEqual(bed.answers(), [[1, 7]]);
  equal(bed.streams.size, 0);
  equal(bed.tally.stats([]).callsStarted, 1);
  deepEqual(bed.tally.stats([]).callsFailed, {});
  deepEqual(bed.reported, []);
});

Deno.test("a stream of responses is Data frames, of which the last has the half-close", async () => {
  await using bed = new Bed();
  await bed.request(1, { method: "List", payload: new Uint8Array([7]) });
  deepEqual(bed.answers(), [
    [1, "data", 0, 7],
    [1, "data", 0, 7],
    [1, "data", LAST | EMPTY],
  ]);
  equal(bed.streams.size, 0);
});

Deno.test("a stream of requests ends with the last flag, with a message or without", async () => {
  await using bed = new Bed();
  await bed.request(1, { method: "Sum" }, OPEN | EMPTY);
  await bed.data(1, 0, 1);
  deepEqual(bed.answers(), []);
  await bed.data(1, LAST, 2);
  await bed.request(3, { method: "Sum" }, OPEN | EMPTY);
  await bed.data(3, 0, 4);
  await bed.data(3, LAST | EMPTY);
  deepEqual(bed.answers(), [[1, 3], [3, 4]]);
});

Deno.test("a Request can bring the first message of many, and be the last frame", async () => {
  await using bed = new Bed();
  await bed.request(1, { method: "Sum", payload: new Uint8Array([5]) }, LAST);
  await bed.request(3, { method: "Sum" }, LAST);
  deepEqual(bed.answers(), [[1, 5], [3, 0]]);
});

Deno.test("a call of many messages each way goes both ways at once", async () => {
  await using bed = new Bed();
  await bed.request(1, { method: "Chat" }, OPEN | EMPTY);
  await bed.data(1, 0, 1);
  deepEqual(bed.answers(), [[1, "data", 0, 1]]);
  await bed.data(1, LAST, 2);
  deepEqual(bed.answers(), [[1, "data", 0, 2], [1, "data", LAST | EMPTY]]);
});

Deno.test("a handler is told what came with the call, and of which connection", async () => {
  let context: HandlerContext | undefined;
  await using bed = new Bed({
    get: (bytes, given) => {
      context = given;
      return bytes;
    },
  });
  const before = performance.now();
  await bed.request(1, { timeoutNano: 3_600_000_000_000n });
  equal(context!.connection, bed.connection.info);
  equal(bed.connection.info.remoteAddr, bed.conn.remoteAddr);
  equal(bed.connection.info.values.size, 0);
  const [[what, deadline]] = bed.deadlines.noted as [[string, number]];
  equal(what, "add");
  ok(deadline >= before + 3_600_000 && deadline < before + 3_610_000);
  equal(context!.metadata.size, 0);
});

Deno.test("a call without a timeout has no deadline", async () => {
  await using bed = new Bed();
  await bed.request(1);
  deepEqual(bed.deadlines.noted, [["add", Infinity]]);
});

Deno.test("a call with the shortest timeout has a deadline", async () => {
  await using bed = new Bed();
  await bed.request(1, { timeoutNano: 1n });
  ok(bed.deadlines.noted[0]![1] <= performance.now());
});

Deno.test("a call whose time is over when it comes runs no handler", async () => {
  let ran = 0;
  await using bed = new Bed({ get: (bytes) => (ran++, bytes) });
  await bed.request(1, { timeoutNano: -1n });
  deepEqual(bed.answers(), [[1, Code.DEADLINE_EXCEEDED, "the deadline has passed"]]);
  equal(ran, 0);
  equal(bed.streams.size, 0);
});

Deno.test("ids that are even, used or lower are refused, and others taken up to the last", async () => {
  await using bed = new Bed();
  await bed.request(2);
  await bed.request(0);
  await bed.request(5);
  await bed.request(5);
  await bed.request(3);
  await bed.request(0xffffffff);
  const even = "StreamID must be odd for client initiated streams";
  const used = "StreamID cannot be re-used and must increment";
  deepEqual(bed.answers(), [
    [2, Code.INVALID_ARGUMENT, even],
    [0, Code.INVALID_ARGUMENT, even],
    [5],
    [5, Code.INVALID_ARGUMENT, used],
    [3, Code.INVALID_ARGUMENT, used],
    [0xffffffff],
  ]);
  deepEqual(bed.tally.stats([]).callsFailed, { INVALID_ARGUMENT: 4 });
  equal(bed.tally.stats([]).callsStarted, 6);
});

Deno.test("a Request that cannot be read has used up its id", async () => {
  await using bed = new Bed();
  await bed.send({ streamId: 1, type: FrameType.Request, data: new Uint8Array([0x0a, 9]) });
  await bed.request(1);
  const message = "unmarshal request error: a field is longer than its message";
  deepEqual(bed.answers(), [
    [1, Code.INVALID_ARGUMENT, message],
    [1, Code.INVALID_ARGUMENT, "StreamID cannot be re-used and must increment"],
  ]);
});

Deno.test("a Request of too many parts is answered with how many there may be", async () => {
  await using bed = new Bed();
  const pairs = new Uint8Array(2 * 10_001).map((_, at) => at % 2 === 0 ? 0x2a : 0);
  await bed.send({ streamId: 1, type: FrameType.Request, data: pairs });
  deepEqual(bed.answers(), [
    [1, Code.RESOURCE_EXHAUSTED, "the request has over 10000 metadata pairs"],
  ]);
});

Deno.test("a method that has answered shortly is expected to do so, also where calls began before", async () => {
  const gate = Promise.withResolvers<void>();
  let calls = 0;
  await using bed = new Bed({
    async get(bytes) {
      if (calls++ > 0) await gate.promise;
      return bytes;
    },
  });
  const both = [1, 3].map((streamId) =>
    frameBytes({
      streamId,
      type: FrameType.Request,
      data: requestData({ service: "pkg.Svc", method: "Get" }),
    })
  );
  await bed.send(...both);
  equal(bed.answers().length, 1);
  await bed.timers.pass(1_000);
  equal(bed.timers.running, 0);
  gate.resolve();
  await settle();
  equal(bed.answers().length, 1);
  equal(bed.held.bytes, 0);
});

Deno.test("while the server has no room, a client waits whose own replies are long, and no other", async () => {
  await using bed = new Bed({ get: ([first]) => new Uint8Array(first === 1 ? 100_000 : 1) });
  const conn = new ScriptedConnection();
  const other = new ServerConnection(conn, "unix:///s", bed);
  const reading = other.connection.run();
  const ask = async (streamId: number) => {
    const data = requestData({ service: "pkg.Svc", method: "Get" });
    conn.feed(frameBytes({ streamId, type: FrameType.Request, data }));
    await settle();
  };
  await ask(1);
  await bed.request(1, { payload: new Uint8Array([1]) });
  bed.held.change(1 << 30);
  await bed.request(3);
  await ask(3);
  equal(bed.answers().length, 1);
  equal(conn.frames().length, 2);
  bed.held.change(-(1 << 30));
  await settle();
  equal(bed.answers().length, 1);
  bed.expected = other;
  other.connection.close();
  await reading;
  bed.expected = undefined;
});

Deno.test("calls that take long are expected to go on so", async () => {
  await using bed = new Bed({ get: NEVER }, {
    limits: { heldBytes: 1 << 20, messageBytes: 1 << 20 },
  });
  const begun: number[] = [];
  for (let streamId = 1; streamId <= 19; streamId += 2) {
    bed.conn.feed(frameBytes({
      streamId,
      type: FrameType.Request,
      data: requestData({ service: "pkg.Svc", method: "Get" }),
    }));
  }
  for (let ms = 0; ms < 2_000; ms += 100) {
    begun.push(bed.streams.size);
    await bed.timers.pass(100);
  }
  ok(begun[1] === 1 && begun[4]! < 10, `${begun}`);
  equal(begun.at(-1), 10, `${begun}`);
  equal(bed.timers.running, 0);
});

Deno.test("what the server does not have is answered with its name", async () => {
  await using bed = new Bed();
  await bed.request(1, { service: "pkg.No" });
  await bed.request(3, { method: "No" });
  deepEqual(bed.answers(), [
    [1, Code.UNIMPLEMENTED, "service pkg.No"],
    [3, Code.UNIMPLEMENTED, "method No"],
  ]);
});

Deno.test("a call more than the limit is refused, one fewer is not", async () => {
  await using bed = new Bed({ get: NEVER }, { limits: { concurrentCalls: 2 } });
  for (const id of [1, 3, 5]) await bed.request(id);
  deepEqual(bed.answers(), [
    [
      5,
      Code.RESOURCE_EXHAUSTED,
      "the connection has 2 calls in flight, which is the most that limits.concurrentCalls allows",
    ],
  ]);
  equal(bed.streams.size, 2);
});

Deno.test("a payload that cannot be decoded is an error of the call alone", async () => {
  const decode = () => {
    throw new Error("no such message");
  };
  const input = { ...bytesCodec, decode };
  const service = {
    typeName: "pkg.Bad",
    method: { get: { name: "Get", methodKind: "unary", input, output: bytesCodec } },
  } as const;
  await using bed = new Bed();
  bed.router.service(service, { get: (bytes: Uint8Array) => bytes });
  await bed.request(1, { service: "pkg.Bad" });
  await bed.request(3);
  deepEqual(bed.answers(), [
    [1, Code.INTERNAL, "ttrpc: error unmarshalling payload: no such message"],
    [3],
  ]);
  deepEqual(bed.reported, []);
});

Deno.test("frames that are not for a server are ignored", async () => {
  await using bed = new Bed();
  await bed.send({ streamId: 1, type: FrameType.Response });
  await bed.send({ streamId: 1, type: 99 });
  await bed.request(1);
  deepEqual(bed.answers(), [[1]]);
});

Deno.test("a message for no call is answered with what is wrong with its id", async () => {
  await using bed = new Bed();
  await bed.data(1, 0, 1);
  await bed.data(3, 0, 1);
  await bed.data(2, 0, 1);
  deepEqual(bed.answers(), [
    [1, Code.INVALID_ARGUMENT, "StreamID is no longer active"],
    [3, Code.INVALID_ARGUMENT, "StreamID is no longer active"],
    [2, Code.INVALID_ARGUMENT, "StreamID must be odd for client initiated streams"],
  ]);
  equal(bed.tally.stats([]).callsStarted, 0);
});

Deno.test("a message after the half-close fails the call", async () => {
  await using bed = new Bed({ sum: NEVER });
  await bed.request(1, { method: "Sum" }, LAST);
  await bed.data(1, 0, 1);
  deepEqual(bed.answers(), [[1, Code.INVALID_ARGUMENT, "data came after the half-close"]]);
  equal(bed.streams.size, 0);
});

Deno.test("a message for a call of one is refused, and the call goes on", async () => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  await using bed = new Bed({ get: () => promise });
  await bed.request(1);
  await bed.data(1, 0, 1);
  deepEqual(bed.answers(), [[1, Code.INVALID_ARGUMENT, "the method takes a single request"]]);
  resolve(new Uint8Array([9]));
  await settle();
  deepEqual(bed.answers(), [[1, 9]]);
});

Deno.test("what is too long is answered, and fails the call that it was for", async () => {
  await using bed = new Bed({ sum: NEVER }, { limits: { messageBytes: 40 } });
  const data = new Uint8Array(41);
  await bed.request(1, { method: "Sum" }, OPEN | EMPTY);
  await bed.send({ streamId: 1, data });
  await bed.send({ streamId: 1, data });
  await bed.send({ streamId: 3, type: FrameType.Request, data });
  await bed.send({ streamId: 5, type: FrameType.Response, data });
  await bed.send({ streamId: 5, type: 99, data });
  const answers = bed.answers() as [number, number, string][];
  deepEqual(answers.map(([id, code]) => [id, code]), [
    [1, Code.RESOURCE_EXHAUSTED],
    [1, Code.RESOURCE_EXHAUSTED],
    [3, Code.RESOURCE_EXHAUSTED],
  ]);
  ok(answers[0]![2].startsWith("message length 41 exceed maximum message size of 40"));
  equal(bed.streams.size, 0);
  deepEqual(bed.tally.stats([]).callsFailed, { RESOURCE_EXHAUSTED: 2 });
});

Deno.test("an error of a handler is the call's status, and reported if it has none itself", async () => {
  const errors = [new RpcError(Code.NOT_FOUND, "no task"), new Error("broken")];
  await using bed = new Bed({
    get: ([at]) => {
      throw errors[at!];
    },
    list: () => {
      throw errors[1];
    },
  });
  for (const at of [0, 1]) await bed.request(2 * at + 1, { payload: new Uint8Array([at]) });
  await bed.request(5, { method: "List" });
  deepEqual(bed.answers(), [
    [1, Code.NOT_FOUND, "no task"],
    [3, Code.UNKNOWN, "broken"],
    [5, Code.UNKNOWN, "broken"],
  ]);
  deepEqual(bed.reported, [[errors[1], "pkg.Svc/Get"], [errors[1], "pkg.Svc/List"]]);
});

Deno.test("a response that is missing or too long is an error of the call", async () => {
  await using bed = new Bed(
    { get: ([length]) => length === 0 ? undefined! : new Uint8Array(length!) },
    { limits: { messageBytes: 102 } },
  );
  for (const [at, length] of [0, 100, 101].entries()) {
    await bed.request(2 * at + 1, { payload: new Uint8Array([length]) });
  }
  deepEqual(bed.answers(), [
    [1, Code.INTERNAL, "ttrpc: error marshalling payload: the message is undefined"],
    [3, ...new Uint8Array(100)],
    [5, Code.RESOURCE_EXHAUSTED, "message length 103 exceed maximum message size of 102"],
  ]);
});

Deno.test("a status that is too long is sent in short, and without its details", async () => {
  const detail = { typeUrl: "x/y", value: new Uint8Array(1_000) };
  const message = "x".repeat(900);
  await using bed = new Bed({
    get: ([details]) => {
      throw new RpcError(Code.ABORTED, message, { details: details === 1 ? [detail] : [] });
    },
  }, { limits: { messageBytes: 1_000 } });
  await bed.request(1, { payload: new Uint8Array([0]) });
  await bed.request(3, { payload: new Uint8Array([1]) });
  deepEqual(bed.answers(), [
    [1, Code.ABORTED, message],
    [3, Code.ABORTED, `${"x".repeat(200)}... (shortened)`],
  ]);
});

Deno.test("a status of just the limit is sent in full", async () => {
  const message = "x".repeat(900);
  const status = { code: Code.ABORTED, message };
  const messageBytes = responseLength({ status, payload: new Uint8Array(0) });
  await using bed = new Bed({
    get: () => {
      throw new RpcError(Code.ABORTED, message);
    },
  }, { limits: { messageBytes } });
  await bed.request(1);
  deepEqual(bed.answers(), [[1, Code.ABORTED, message]]);
});

Deno.test("the payload of a call of one message waits for nobody", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1, { payload: new Uint8Array(100) });
  equal(bed.connection.connection.queuedBytes, 0);
});

Deno.test("a server reads ahead when a handler takes no messages, to see who is held up", async () => {
  const limits = { connectionQueueBytes: 1_000, streamQueueBytes: 100, stallTimeoutMs: 10 };
  await using bed = new Bed({ sum: NEVER }, { limits });
  await bed.request(1, { method: "Sum" }, OPEN | EMPTY);
  await bed.send({ streamId: 1, data: new Uint8Array(1_000) });
  await bed.timers.pass(10);
  deepEqual(bed.answers(), []);
  await bed.request(3);
  deepEqual((bed.answers() as number[][]).map(([id, code]) => [id, code]), [
    [1, Code.RESOURCE_EXHAUSTED],
    [3, undefined],
  ]);
});

Deno.test("a response waits for room in the write queue", async () => {
  await using bed = new Bed();
  const { queue } = bed.connection.connection;
  bed.conn.sink.hold();
  queue.writer.bytes(new Uint8Array(1 << 18));
  queue.send(1 << 18);
  const { total } = queue;
  await bed.request(1);
  equal(queue.total, total);
  equal(bed.streams.size, 1);
  await bed.request(3, { payload: new Uint8Array([3]) });
  bed.streams.get(1)!.expire();
  bed.conn.sink.resume();
  await queue.flushed();
  bed.conn.sink.writes.splice(0, 1);
  deepEqual(bed.answers(), [[1, Code.DEADLINE_EXCEEDED, "the deadline has passed"], [3, 3]]);
});

Deno.test("no answer follows when a call is over, whatever its handler does", async () => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  await using bed = new Bed({
    get: () => promise,
    async *list() {
      yield await promise;
    },
  });
  await bed.request(1);
  await bed.request(3, { method: "List" });
  for (const call of [...bed.streams.values()]) call.expire();
  await settle();
  equal(bed.answers().length, 2);
  resolve(new Uint8Array(1));
  await settle();
  deepEqual(bed.answers(), []);
});

Deno.test("failCall() ends and answers a call once", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  const call = bed.streams.get(1)!;
  call.expire();
  call.expire();
  await settle();
  equal(bed.answers().length, 1);
});

Deno.test("a client that does not read its refusals is not read, either", async () => {
  await using bed = new Bed();
  const { queue } = bed.connection.connection;
  bed.conn.sink.hold();
  queue.writer.bytes(new Uint8Array(1 << 18));
  queue.send(1 << 18);
  await bed.data(1, 0);
  const { total } = queue;
  for (let i = 0; i < 100; i++) await bed.data(1, 0);
  equal(queue.total, total); // nothing of it is taken
  bed.conn.sink.resume();
  await settle();
  ok(queue.total > total);
});

Deno.test("a client that does not read the ends of empty streams is not read, either", async () => {
  await using bed = new Bed({ list: () => [] });
  const { queue } = bed.connection.connection;
  bed.conn.sink.hold();
  queue.writer.bytes(new Uint8Array(1 << 18));
  queue.send(1 << 18);
  for (const id of [1, 3]) await bed.request(id, { method: "List" });
  const { total } = queue;
  for (let id = 5; id < 100; id += 2) await bed.request(id, { method: "List" });
  equal(queue.total, total); // nothing of it is taken
  bed.conn.sink.resume();
  await settle();
  ok(queue.total > total);
});

Deno.test("what is like a promise is asked once, and may throw", async () => {
  let asked = 0;
  const like = (
    then: (resolve: (bytes: Uint8Array) => void, reject: (error: unknown) => void) => void,
  ) => {
    return { then } as Promise<Uint8Array>;
  };
  const ways = [
    () =>
      like(() => {
        asked++;
        throw new Error("thrown");
      }),
    () =>
      like((_, reject) => {
        asked++;
        reject(new Error("rejected"));
      }),
    () =>
      like((resolve) => {
        asked++;
        resolve(new Uint8Array([7]));
      }),
  ];
  await using bed = new Bed({ get: ([way]) => ways[way!]!() });
  for (const way of [0, 1, 2]) {
    await bed.request(2 * way + 1, { payload: new Uint8Array([way]) });
  }
  deepEqual(bed.answers().map((answer) => (answer as unknown[]).slice(0, 3)), [
    [1, Code.UNKNOWN, "thrown"],
    [3, Code.UNKNOWN, "rejected"],
    [5, 7],
  ]);
  equal(asked, 3);
  equal(bed.running, 0);
  equal(bed.held.bytes, 0);
});
