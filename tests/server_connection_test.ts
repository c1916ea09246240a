// A server's side of one connection, frame by frame, without a socket.

import { concat } from "@std/bytes/concat";
import { deepEqual, equal, ok } from "node:assert/strict";
import { bytesCodec } from "../codec.ts";
import { decodeResponse, type Request, responseLength } from "../wire/envelope.ts";
import { type Frame, FrameFlag, FrameType } from "../framing.ts";
import type { InterceptedRequest, Interceptor } from "../interceptor.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import type { ExtensionSettings } from "../engine/keepalive.ts";
import { type Limits, resolveLimits } from "../limits.ts";
import { Router } from "../engine/router.ts";
import type { ServerCall } from "../engine/server_call.ts";
import { ServerConnection, type ServerHost } from "../engine/server_connection.ts";
import type { HandlerContext, ServiceDescriptor, ServiceHandlers } from "../service.ts";
import { Tally } from "../stats.ts";
import { Code, RpcError } from "../status.ts";
import { requestData } from "./raw_peer.ts";
import { frameBytes, ScriptedConnection } from "./scripted_connection.ts";
import { NotedDeadlines } from "./server_stand_ins.ts";
import { FakeTimers, isSettled, settle } from "./stand_ins.ts";

const codecs = { input: bytesCodec, output: bytesCodec };

const Svc = {
  typeName: "pkg.Svc",
  method: {
    get: { name: "Get", methodKind: "unary", ...codecs },
    list: { name: "List", methodKind: "server_streaming", ...codecs },
    sum: { name: "Sum", methodKind: "client_streaming", ...codecs },
    chat: { name: "Chat", methodKind: "bidi_streaming", ...codecs },
  },
} as const satisfies ServiceDescriptor;

type Handlers = ServiceHandlers<typeof Svc>;

const handlers: Handlers = {
  get: (bytes) => bytes,
  list: (bytes) => [bytes, bytes],
  async sum(messages) {
    let sum = 0;
    for await (const [value] of messages) sum += value!;
    return new Uint8Array([sum]);
  },
  async *chat(messages) {
    yield* messages;
  },
};

const LAST = FrameFlag.RemoteClosed;
const OPEN = FrameFlag.RemoteOpen;
const EMPTY = FrameFlag.NoData;
const PROBE_MS = 1_000;
const LAST_WORDS_MS = 250;
const NEVER = () => new Promise<never>(() => {});

/** A connection of a server that serves nothing else. */
class Bed implements ServerHost {
  readonly conn = new ScriptedConnection();
  readonly timers = new FakeTimers();
  readonly deadlines = new NotedDeadlines();
  readonly tally = new Tally();
  readonly limits: Readonly<Limits>;
  readonly held: HeldBytes;
  readonly extension: ExtensionSettings = { keepalive: undefined };
  readonly router: Router;
  readonly connection: ServerConnection;
  readonly reading: Promise<void>;
  running = 0;
  telling = 0;
  readonly reported: [error: unknown, method: string | undefined][] = [];
  disconnections = 0;

  constructor(own: Partial<Handlers> = {}, { limits = {}, interceptors }: {
    limits?: Partial<Limits>;
    interceptors?: Interceptor[];
  } = {}) {
    this.limits = resolveLimits(limits);
    this.held = new HeldBytes(this.limits.serverHeldBytes);
    this.router = new Router(interceptors).service(Svc, { ...handlers, ...own });
    this.connection = new ServerConnection(this.conn, "unix:///s", this);
    this.reading = this.connection.connection.run();
  }

  report(error: unknown, method?: string): void {
    this.reported.push([error, method]);
  }

  /** Which connection is to end, if it is not the one. */
  expected: ServerConnection | undefined;

  disconnected(connection: ServerConnection): void {
    if (this.expected) return equal(connection, this.expected);
    equal(connection, this.connection);
    this.disconnections++;
  }

  get streams(): ReadonlyMap<number, ServerCall> {
    return this.connection.connection.streams;
  }

  /** A Request comes. */
  async request(streamId: number, request: Partial<Request> = {}, flags = 0): Promise<void> {
    const data = requestData({ service: "pkg.Svc", method: "Get", ...request });
    await this.send({ streamId, type: FrameType.Request, flags, data });
  }

  /** A message comes. */
  async data(streamId: number, flags: number, ...bytes: number[]): Promise<void> {
    await this.send({ streamId, flags, data: new Uint8Array(bytes) });
  }

  async send(...frames: (Partial<Frame> | Uint8Array)[]): Promise<void> {
    const bytes = frames.map((frame) => frame instanceof Uint8Array ? frame : frameBytes(frame));
    this.conn.feed(concat(bytes)); // with one read
    await settle();
  }

  /** What was answered since the last time. */
  answers(): unknown[] {
    const answers = this.conn.frames().map(({ streamId, type, flags, data }) => {
      if (type === FrameType.Data) return [streamId, "data", flags, ...data];
      equal(type, FrameType.Response);
      equal(flags, 0);
      const { status, payload } = decodeResponse(data);
      return status ? [streamId, status.code, status.message] : [streamId, ...payload];
    });
    this.conn.sink.writes.length = 0;
    return answers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.connection.connection.close();
    await this.reading;
    equal(this.disconnections, 1);
    equal(this.timers.running, 0);
    equal(this.tally.stats([]).callsInFlight, 0);
  }
}

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

/** What interceptors have seen. */
function recorder() {
  const seen: [path: string, kind: string, sent: number, received: number, end: unknown][] = [];
  const interceptor: Interceptor = (next) => async (request: InterceptedRequest) => {
    const end = await next(request).catch((error) => error);
    const { sizes, method } = request;
    seen.push([
      method.path,
      method.kind,
      sizes.sent,
      sizes.received,
      end instanceof RpcError ? end.rawMessage : "answered",
    ]);
    if (end instanceof Error) throw end;
    return end;
  };
  return { seen, interceptors: [interceptor] };
}

Deno.test("interceptors see calls that are answered, and every one that is refused", async () => {
  const { seen, interceptors } = recorder();
  await using bed = new Bed({}, { interceptors, limits: { messageBytes: 100 } });
  await bed.request(1, { payload: new Uint8Array([7]) });
  await bed.request(2);
  await bed.request(1);
  await bed.request(3, { service: "pkg.No" });
  await bed.request(5, { method: "No" });
  await bed.send({ streamId: 7, type: FrameType.Request, data: new Uint8Array([0xff]) });
  await bed.send({ streamId: 9, type: FrameType.Request, data: new Uint8Array(101) });
  const reasons = seen.map(([path, kind, , , end]) => [path, kind, end]);
  const answers = bed.answers() as [number, number, string][];
  deepEqual(answers[0], [1, 7]);
  deepEqual(reasons.slice(1).map(([, , end]) => end), answers.slice(1).map(([, , text]) => text));
  deepEqual(reasons.map(([path]) => path), [
    "pkg.Svc/Get",
    "/",
    "/",
    "pkg.No/Get",
    "pkg.Svc/No",
    "/",
    "/",
  ]);
  deepEqual(seen[0], ["pkg.Svc/Get", "unary", 0, 1, "answered"]);
  equal(bed.tally.stats([]).callsStarted, 7);
});

Deno.test("interceptors see a call whose time is over when it comes, which has no deadline", async () => {
  const { seen, interceptors } = recorder();
  await using bed = new Bed({}, { interceptors });
  await bed.request(1, { timeoutNano: -1n });
  deepEqual(seen, [["pkg.Svc/Get", "unary", 0, 0, "the deadline has passed"]]);
  deepEqual(bed.answers(), [[1, Code.DEADLINE_EXCEEDED, "the deadline has passed"]]);
  deepEqual(bed.deadlines.noted, [["add", Infinity]]);
});

Deno.test("interceptors find no message of a refused call, or no messages", async () => {
  const messages: unknown[] = [];
  const interceptors: Interceptor[] = [(next) => (request) => {
    messages.push(request.message);
    return next(request);
  }];
  await using bed = new Bed({ get: NEVER }, { interceptors, limits: { concurrentCalls: 1 } });
  await bed.request(1);
  await bed.request(3);
  await bed.request(5, { method: "Chat" });
  deepEqual(messages.slice(1), [undefined, []]);
});

Deno.test("interceptors find the bytes of a response when it is sent", async () => {
  let seen: InterceptedRequest | undefined;
  const interceptors: Interceptor[] = [(next) => (request) => next(seen = request)];
  await using bed = new Bed({ get: () => new Uint8Array(3) }, { interceptors });
  await bed.request(1, { payload: new Uint8Array(2) });
  deepEqual(seen!.sizes, { sent: 3, received: 2 });
});

Deno.test("interceptors see of a refused call which method it names", async () => {
  const { seen, interceptors } = recorder();
  const limits = { concurrentCalls: 1 };
  await using bed = new Bed({ get: NEVER }, { interceptors, limits });
  await bed.request(1);
  await bed.request(3, { method: "Chat" });
  deepEqual(seen.map(([path, kind]) => [path, kind]), [["pkg.Svc/Chat", "bidi_streaming"]]);
  equal((bed.answers() as number[][])[0]![1], Code.RESOURCE_EXHAUSTED);
});

Deno.test("an interceptor may answer another error than the one of a refusal", async () => {
  const interceptors: Interceptor[] = [
    () => () => Promise.reject(new RpcError(Code.UNAUTHENTICATED, "who are you?")),
  ];
  await using bed = new Bed({}, { interceptors });
  await bed.request(1, { method: "No" });
  deepEqual(bed.answers(), [[1, Code.UNAUTHENTICATED, "who are you?"]]);
});

/** A server whose interceptors wait with refused calls. */
function waiting(limits: Partial<Limits> = {}) {
  const waits: PromiseWithResolvers<void>[] = [];
  const interceptors: Interceptor[] = [(next) => async (request) => {
    const wait = Promise.withResolvers<void>();
    waits.push(wait);
    await wait.promise;
    return next(request);
  }];
  return { bed: new Bed({}, { interceptors, limits }), waits };
}

Deno.test("data for a call that is refused is dropped until it is answered", async () => {
  const { bed, waits } = waiting({ messageBytes: 50 });
  await using _bed = bed;
  await bed.request(1, { method: "No" });
  await bed.data(1, 0, 1);
  await bed.send({ streamId: 1, data: new Uint8Array(51) });
  deepEqual(bed.answers(), []);
  equal(bed.streams.size, 0);
  waits[0]!.resolve();
  await settle();
  deepEqual(bed.answers(), [[1, Code.UNIMPLEMENTED, "method No"]]);
  await bed.data(1, 0, 1);
  deepEqual(bed.answers(), [[1, Code.INVALID_ARGUMENT, "StreamID is no longer active"]]);
});

Deno.test("a refused call does not take the place of another one with its id", async () => {
  const { bed, waits } = waiting();
  await using _bed = bed;
  await bed.request(1);
  await bed.request(1);
  waits[0]!.resolve();
  await settle();
  deepEqual(bed.answers(), [[1]]);
  const notActive = "StreamID is no longer active";
  const even = "StreamID must be odd for client initiated streams";
  for (const id of [1, 0]) await bed.data(id, 0);
  deepEqual(bed.answers(), [
    [1, Code.INVALID_ARGUMENT, notActive],
    [0, Code.INVALID_ARGUMENT, even],
  ]);
  waits[1]!.resolve();
  await settle();
  equal(bed.answers().length, 1);
});

Deno.test("refused calls that share an id end with the connection, all of them", async () => {
  const { bed, waits } = waiting();
  for (const id of [1, 1, 2, 2, 2]) await bed.request(id, { method: "No" });
  equal(waits.length, 5);
  bed.connection.connection.close();
  await bed.reading;
  deepEqual(bed.tally.stats([]).callsFailed, { CANCELLED: 5 });
  for (const wait of waits) wait.resolve();
  await settle();
});

Deno.test("a refused call has its deadline, and learns how its connection was lost", async () => {
  let signal: AbortSignal | undefined;
  const { promise, resolve } = Promise.withResolvers<void>();
  const bed = new Bed({}, {
    interceptors: [(next) => async (request) => {
      signal = request.signal;
      await promise;
      return next(request);
    }],
  });
  await bed.request(1, { method: "No", timeoutNano: 3_600_000_000_000n });
  await bed.send({ streamId: 3, type: FrameType.Request, data: new Uint8Array([0xff]) });
  const [[, deadline], [, never]] = bed.deadlines.noted as [[string, number], [string, number]];
  ok(deadline <= performance.now() + 3_600_000);
  equal(never, Infinity);
  bed.conn.fail(new Deno.errors.ConnectionReset("reset"));
  await bed.reading;
  equal(signal!.reason.code, Code.UNAVAILABLE);
  resolve();
  await settle();
});

Deno.test("no more refused calls wait for interceptors than calls may be in flight", async () => {
  const { bed, waits } = waiting({ concurrentCalls: 2 });
  await using _bed = bed;
  for (const id of [1, 3, 5]) await bed.request(id, { method: "No" });
  equal(waits.length, 2);
  deepEqual(bed.answers(), [[5, Code.UNIMPLEMENTED, "method No"]]);
  for (const wait of waits) wait.resolve();
  await settle();
  equal(bed.answers().length, 2);
});

Deno.test("a refused call whose interceptors wait ends with the connection", async () => {
  const { bed, waits } = waiting();
  await bed.request(1, { method: "No" });
  equal(bed.tally.stats([]).callsInFlight, 1);
  bed.connection.connection.close();
  await bed.reading;
  deepEqual(bed.tally.stats([]).callsFailed, { CANCELLED: 1 });
  waits[0]!.resolve();
  await settle();
});

Deno.test("calls of a client that has half-closed are finished while it is there to read", async () => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  await using bed = new Bed({ get: () => promise });
  await bed.request(1);
  bed.conn.end();
  await bed.timers.pass(3 * PROBE_MS);
  equal(bed.connection.connection.closed, false);
  equal(bed.conn.sink.writes.length, 4); // the server has asked whether the client is there
  bed.conn.sink.writes.length = 0;
  resolve(new Uint8Array([9]));
  await bed.reading;
  deepEqual(bed.answers(), [[1, 9]]);
  deepEqual(bed.reported, []);
});

Deno.test("calls of a client that is gone are ended within a second", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  const { signal } = bed.streams.get(1)!;
  bed.conn.end();
  await settle();
  bed.conn.writeError = new Deno.errors.BrokenPipe("gone");
  await bed.timers.pass(PROBE_MS - 1);
  equal(signal.aborted, false);
  await bed.timers.pass(1);
  equal(signal.reason.rawMessage, "the connection has ended");
  equal(bed.connection.connection.closed, true);
});

Deno.test("what is answered leaves before a connection without calls ends", async () => {
  await using bed = new Bed();
  bed.conn.sink.hold();
  await bed.request(1);
  bed.conn.end();
  equal(await isSettled(bed.reading), false);
  bed.conn.sink.resume();
  await bed.reading;
  deepEqual(bed.answers(), [[1]]);
});

Deno.test("a connection that is lost is reported, with its address and its calls", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  bed.conn.fail(new Deno.errors.ConnectionReset("reset"));
  await bed.reading;
  const [[error, method]] = bed.reported as [[RpcError, undefined]];
  equal(error.message, "UNAVAILABLE: connection to unix:///s lost with 1 call in flight: reset");
  equal(method, undefined);
  equal(bed.disconnections, 1);
});

Deno.test("drain() refuses new calls, and ends when those in flight have", async () => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  await using bed = new Bed({ get: () => promise });
  await bed.request(1);
  const drained = bed.connection.drain();
  await bed.request(3);
  deepEqual(bed.answers(), [[3, Code.UNAVAILABLE, "server is shutting down"]]);
  equal(await isSettled(drained), false);
  deepEqual(bed.conn.called, []);
  resolve(new Uint8Array([9]));
  await settle();
  deepEqual(bed.answers(), [[1, 9]]);
  deepEqual(bed.conn.called, ["closeWrite"]);
  bed.conn.end();
  await drained;
  await bed.reading;
});

Deno.test("force() ends all calls with a status that their callers still get", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  await bed.request(3);
  const forced = bed.connection.force();
  await settle();
  deepEqual(bed.answers(), [
    [1, Code.UNAVAILABLE, "server is shutting down"],
    [3, Code.UNAVAILABLE, "server is shutting down"],
  ]);
  bed.conn.end();
  await forced;
  await bed.reading;
});

Deno.test("drain() waits for the answers to refused calls, too", async () => {
  const { bed, waits } = waiting();
  await using _bed = bed;
  await bed.request(1, { method: "No" });
  const drained = bed.connection.drain();
  await settle();
  deepEqual(bed.conn.called, []);
  waits[0]!.resolve();
  await settle();
  deepEqual(bed.answers(), [[1, Code.UNIMPLEMENTED, "method No"]]);
  bed.conn.end();
  await drained;
});

Deno.test("force() answers refused calls whose interceptors wait, too", async () => {
  const { bed, waits } = waiting();
  await using _bed = bed;
  await bed.request(1, { method: "No" });
  const forced = bed.connection.force();
  await settle();
  deepEqual(bed.answers(), [[1, Code.UNAVAILABLE, "server is shutting down"]]);
  waits[0]!.resolve();
  bed.conn.end();
  await forced;
});

Deno.test("force() waits a moment, not for ever, for a client that does not read", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  bed.conn.sink.hold();
  const forced = bed.connection.force();
  await bed.timers.pass(LAST_WORDS_MS - 1);
  equal(bed.connection.connection.closed, false);
  await bed.timers.pass(1);
  await forced;
  equal(bed.connection.connection.closed, true);
  bed.conn.sink.resume();
});

Deno.test("nothing is sent on a connection that has ended", async () => {
  const bed = new Bed({ get: NEVER });
  await bed.request(1);
  const call = bed.streams.get(1)!;
  bed.connection.connection.close();
  await bed.reading;
  call.expire();
  equal(call.status?.code, Code.CANCELLED);
  deepEqual(bed.answers(), []);
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
