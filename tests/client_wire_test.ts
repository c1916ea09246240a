// What the client puts on the wire, and what it makes of all that a server may answer.

import { type ByteConnection, connect, RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { FrameType } from "../framing.ts";
import { Greeter } from "../gen/greeter/v1/greeter_pb.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { dataFrame, HALF_CLOSE } from "./raw_peer.ts";
import { ClientWire } from "./wire_bed.ts";

async function failure(call: Promise<unknown>): Promise<RpcError> {
  try {
    await call;
  } catch (error) {
    ok(error instanceof RpcError, String(error));
    return error;
  }
  throw new Error("the call succeeded");
}

const nothing = new Uint8Array(0);

Deno.test("a unary Request has flags of zero and names its method", async () => {
  await using wire = await ClientWire.open();
  const reply = wire.client.service(Greeter).sayHello({ name: "x" });
  const request = await wire.nextRequest();
  deepEqual(
    [request.streamId, request.flags, request.service, request.method, [...request.payload]],
    [1, 0, "greeter.v1.Greeter", "SayHello", [10, 1, 120]],
  );
  deepEqual([request.timeoutNano, request.metadata], [0n, undefined]);
  await wire.peer.respond(1, { payload: new Uint8Array([10, 2, 104, 105]) });
  equal((await reply).message, "hi");
});

Deno.test("an empty request still has its envelope", async () => {
  await using wire = await ClientWire.open();
  const reply = wire.service.nothing({});
  const { service, method, payload } = await wire.nextRequest();
  deepEqual([service, method, payload.length], ["ttrpc.test.v1.TestService", "Nothing", 0]);
  await wire.peer.respond(1);
  await reply;
});

Deno.test("ids are odd and rise in the order of the calls, however many start at once", async () => {
  await using wire = await ClientWire.open();
  const calls = Array.from({ length: 100 }, (_, i) => wire.service.echo({ text: `${i}` }));
  for (let i = 0; i < 100; i++) {
    const { streamId, payload } = await wire.nextRequest();
    equal(streamId, 2 * i + 1);
    equal(new TextDecoder().decode(payload.subarray(2)), `${i}`);
  }
  // Answered backwards: each answer finds its call.
  for (let i = 99; i >= 0; i--) {
    const text = new TextEncoder().encode(`${i}`);
    await wire.peer.respond(2 * i + 1, { payload: new Uint8Array([18, text.length, ...text]) });
  }
  deepEqual((await Promise.all(calls)).map(({ text }) => text), calls.map((_, i) => `${i}`));
});

Deno.test("metadata is folded and keeps its order; a call's keys replace those of defaults", async () => {
  await using wire = await ClientWire.open({
    defaults: { metadata: { Namespace: "default", "x-keep": "1" } },
  });
  const service = wire.client.service(TestService, { metadata: { "x-service": "s" } });
  const calls = [
    service.nothing({}, { metadata: [["NAMESPACE", "own"], ["z", "1"], ["Z", "2"]] }),
    service.nothing({}),
    wire.service.nothing({}),
  ];
  deepEqual([...(await wire.nextRequest()).metadata!], [
    ["x-keep", "1"],
    ["x-service", "s"],
    ["namespace", "own"],
    ["z", "1"],
    ["z", "2"],
  ]);
  deepEqual([...(await wire.nextRequest()).metadata!], [
    ["namespace", "default"],
    ["x-keep", "1"],
    ["x-service", "s"],
  ]);
  deepEqual([...(await wire.nextRequest()).metadata!], [["namespace", "default"], [
    "x-keep",
    "1",
  ]]);
  for (const streamId of [1, 3, 5]) await wire.peer.respond(streamId);
  await Promise.all(calls);
});

Deno.test("the timeout travels in nanoseconds: of the call, the service or the client", async () => {
  await using wire = await ClientWire.open({ defaults: { timeoutMs: 60_000 } });
  const service = wire.client.service(TestService, { timeoutMs: 50_000 });
  const calls = [
    wire.service.nothing({}),
    service.nothing({}),
    service.nothing({}, { timeoutMs: 40_000 }),
    service.nothing({}, { timeoutMs: Infinity }),
    service.nothing({}, { timeoutMs: Number.MAX_VALUE }),
  ];
  for (const ms of [60_000, 50_000, 40_000]) {
    const { timeoutNano } = await wire.nextRequest();
    ok(timeoutNano <= BigInt(ms) * 1_000_000n && timeoutNano > BigInt(ms - 5_000) * 1_000_000n);
  }
  equal((await wire.nextRequest()).timeoutNano, 0n);
  equal((await wire.nextRequest()).timeoutNano, 2n ** 63n - 1n);
  for (const streamId of [1, 3, 5, 7, 9]) await wire.peer.respond(streamId);
  await Promise.all(calls);
});

Deno.test("a call without time left is not sent", async () => {
  await using wire = await ClientWire.open();
  for (const timeoutMs of [0, -1, -Infinity]) {
    equal((await failure(wire.service.nothing({}, { timeoutMs }))).code, Code.DEADLINE_EXCEEDED);
  }
  const call = wire.service.nothing({});
  equal((await wire.nextRequest()).streamId, 1);
  await wire.peer.respond(1);
  await call;
});

Deno.test("a timeout that is no number is a mistake, told at once", async () => {
  await using wire = await ClientWire.open();
  await rejects(wire.service.nothing({}, { timeoutMs: NaN }), {
    name: "RangeError",
    message: "Cannot use timeoutMs of NaN: it takes a number of milliseconds",
  });
  await rejects(wire.service.nothing({}, { timeoutMs: "5" as unknown as number }), RangeError);
});

Deno.test("a call ends when its deadline passes, whatever the server does", async () => {
  await using wire = await ClientWire.open();
  const error = await failure(wire.service.nothing({}, { timeoutMs: 20 }));
  equal(
    error.message,
    "ttrpc.test.v1.TestService/Nothing: DEADLINE_EXCEEDED: the deadline of 20 ms has passed",
  );
  await wire.nextRequest();
  await wire.expectCancel(1);
  await wire.peer.respond(1); // late: ignored
  const next = wire.service.nothing({});
  equal((await wire.nextRequest()).streamId, 3);
  await wire.peer.respond(3);
  await next;
});

Deno.test("an aborted call ends with CANCELLED and the reason, and its late answer is ignored", async () => {
  await using wire = await ClientWire.open();
  const controller = new AbortController();
  const call = wire.service.nothing({}, { signal: controller.signal });
  await wire.nextRequest();
  const reason = new Error("not needed");
  controller.abort(reason);
  const error = await failure(call);
  deepEqual([error.code, error.cause], [Code.CANCELLED, reason]);
  await wire.expectCancel(1);
  await wire.peer.respond(1, { payload: new Uint8Array([1, 2, 3]) });
  const next = wire.service.nothing({});
  equal((await wire.nextRequest()).streamId, 3);
  await wire.peer.respond(3);
  await next;
});

Deno.test("a call whose signal is aborted already is not sent", async () => {
  await using wire = await ClientWire.open();
  const error = await failure(wire.service.nothing({}, { signal: AbortSignal.abort() }));
  equal(error.code, Code.CANCELLED);
  const timeout = AbortSignal.abort(new DOMException("late", "TimeoutError"));
  equal(
    (await failure(wire.service.nothing({}, { signal: timeout }))).code,
    Code.DEADLINE_EXCEEDED,
  );
  const next = wire.service.nothing({});
  equal((await wire.nextRequest()).streamId, 1);
  await wire.peer.respond(1);
  await next;
});

Deno.test("a call lets go of its signal when it ends", async () => {
  await using wire = await ClientWire.open();
  const { signal } = new AbortController();
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...parameters: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(signal, parameters);
  };
  signal.removeEventListener = (...parameters: Parameters<typeof removeEventListener>) => {
    listeners--;
    removeEventListener.apply(signal, parameters);
  };
  const call = wire.service.nothing({}, { signal });
  await wire.nextRequest();
  equal(listeners, 1);
  await wire.peer.respond(1);
  await call;
  equal(listeners, 0);
});

for (
  const [name, status] of [
    ["an absent status", undefined],
    ["a status of zero", { code: 0, message: "", details: [] }],
    ["a status of zero with a message", { code: 0, message: "fine", details: [] }],
  ] as const
) {
  Deno.test(`a Response with ${name} is a success`, async () => {
    await using wire = await ClientWire.open();
    const calls = [wire.service.echo({}), wire.service.nothing({})];
    await wire.peer.respond(1, { status, payload: new Uint8Array([18, 1, 120]) });
    await wire.peer.respond(3, { status });
    deepEqual((await Promise.all(calls)).map((reply) => "text" in reply ? reply.text : ""), [
      "x",
      "",
    ]);
  });
}

Deno.test("a Response with another status is an RpcError that names the method", async () => {
  await using wire = await ClientWire.open();
  const call = failure(wire.service.echo({}));
  const details = [{ typeUrl: "x/Y", value: new Uint8Array([1, 2]) }];
  const status = { code: 5, message: "no such task", details };
  await wire.peer.respond(1, { status, payload: new Uint8Array([9]) });
  const error = await call;
  equal(error.message, "ttrpc.test.v1.TestService/Echo: NOT_FOUND: no such task");
  deepEqual([error.code, error.rawMessage], [Code.NOT_FOUND, "no such task"]);
  deepEqual([...error.details[0]!.value], [1, 2]);
  equal(error.method, "ttrpc.test.v1.TestService/Echo");
  ok(error.stack!.includes("client_wire_test.ts"), error.stack!);
});

Deno.test("a status code that gRPC does not know is passed on", async () => {
  await using wire = await ClientWire.open();
  const calls = [failure(wire.service.echo({})), failure(wire.service.echo({}))];
  await wire.peer.respond(1, { status: { code: 1234, message: "odd", details: [] } });
  await wire.peer.respond(3, { status: { code: -7, message: "", details: [] } });
  deepEqual((await Promise.all(calls)).map(({ code, message }) => [code, message]), [
    [1234, "ttrpc.test.v1.TestService/Echo: CODE_1234: odd"],
    [-7, "ttrpc.test.v1.TestService/Echo: CODE_-7"],
  ]);
});

Deno.test("a malformed Response fails its own call with INTERNAL", async () => {
  await using wire = await ClientWire.open();
  const [bad, good] = [failure(wire.service.echo({})), wire.service.echo({})];
  await wire.peer.send({ streamId: 1, type: FrameType.Response, data: new Uint8Array([0x12, 9]) });
  await wire.peer.respond(3);
  deepEqual([(await bad).code, (await bad).rawMessage], [
    Code.INTERNAL,
    "the response is malformed",
  ]);
  await good;
});

Deno.test("a payload that is not the method's message fails its own call with INTERNAL", async () => {
  await using wire = await ClientWire.open();
  const call = failure(wire.service.echo({}));
  await wire.peer.respond(1, { payload: new Uint8Array([0x0a, 0x7f]) });
  const error = await call;
  equal(error.code, Code.INTERNAL);
  ok(error.rawMessage.startsWith("ttrpc: error unmarshalling payload: "), error.rawMessage);
});

Deno.test("a Data frame for a unary call fails that call with INTERNAL", async () => {
  await using wire = await ClientWire.open();
  const [bad, good] = [failure(wire.service.echo({})), wire.service.echo({})];
  await wire.peer.send(dataFrame(1, 0, [1]));
  equal(
    (await bad).message,
    "ttrpc.test.v1.TestService/Echo: INTERNAL: a Data frame came for a unary call",
  );
  await wire.peer.respond(1);
  await wire.peer.respond(3);
  await good;
});

Deno.test("frames for unknown streams and of unknown types are ignored, and so is a Request", async () => {
  await using wire = await ClientWire.open();
  const call = wire.service.nothing({});
  await wire.peer.respond(9, { payload: new Uint8Array([1]) });
  await wire.peer.respond(0);
  for (const type of [0, 1, 4, 255]) await wire.peer.send({ streamId: 1, type });
  await wire.peer.send(dataFrame(7, HALF_CLOSE));
  await wire.peer.respond(1);
  await call;
  await wire.nextRequest();
});

Deno.test("a Response over the limit fails its own call, and the connection stays in step", async () => {
  await using wire = await ClientWire.open({ limits: { messageBytes: 1_000 } });
  const [bad, good] = [failure(wire.service.echo({})), wire.service.echo({})];
  await wire.peer.send({ streamId: 1, type: FrameType.Response, data: new Uint8Array(1_001) });
  const payload = new Uint8Array([10, ...[0xe0, 7], ...new Uint8Array(992)]);
  await wire.peer.respond(3, { payload });
  equal(
    (await bad).message,
    "ttrpc.test.v1.TestService/Echo: RESOURCE_EXHAUSTED: " +
      "message length 1001 exceed maximum message size of 1000",
  );
  equal((await good).payload.length, 992);
});

Deno.test("a request over the limit is refused with the lengths, and nothing of it is sent", async () => {
  await using wire = await ClientWire.open();
  const error = await failure(wire.service.echo({ payload: new Uint8Array(4 << 20) }));
  equal(error.code, Code.RESOURCE_EXHAUSTED);
  ok(/^message length 41943\d\d exceed maximum message size of 4194304$/.test(error.rawMessage));
  const call = wire.service.nothing({});
  equal((await wire.nextRequest()).streamId, 1);
  await wire.peer.respond(1);
  await call;
});

Deno.test("a request that cannot be encoded fails its own call with INTERNAL", async () => {
  await using wire = await ClientWire.open();
  const bad = { milliseconds: "soon" } as unknown as { milliseconds: bigint };
  equal((await failure(wire.service.sleep(bad))).code, Code.INTERNAL);
  equal((await failure(wire.service.echo(undefined as never))).code, Code.INTERNAL);
});

Deno.test("a server that closes fails calls in flight, which onClose and the error tell", async () => {
  await using wire = await ClientWire.open();
  const calls = [failure(wire.service.nothing({})), failure(wire.service.echo({}))];
  await wire.nextRequest();
  await wire.nextRequest();
  wire.peer.conn.close();
  for (const error of await Promise.all(calls)) {
    equal(error.code, Code.UNAVAILABLE);
    equal(
      error.rawMessage,
      `connection to unix:${wire.path} lost with 2 calls in flight: the server closed it`,
    );
  }
  await wire.client.finished;
  equal(wire.closed.length, 1);
  equal(wire.closed[0]!.code, Code.UNAVAILABLE);
});

Deno.test("a server that closes an idle connection is no error, but later calls are UNAVAILABLE", async () => {
  await using wire = await ClientWire.open();
  wire.peer.conn.close();
  await wire.client.finished;
  deepEqual(wire.closed, [undefined]);
  const error = await failure(wire.service.nothing({}));
  deepEqual([error.code, error.rawMessage], [
    Code.UNAVAILABLE,
    `the server has closed unix:${wire.path}`,
  ]);
});

Deno.test("a server that ends inside a frame fails the call with that reason", async () => {
  await using wire = await ClientWire.open();
  const call = failure(wire.service.nothing({}));
  await wire.nextRequest();
  await wire.peer.sendBytes(new Uint8Array([0, 0, 0, 5, 0]));
  wire.peer.conn.close();
  equal(
    (await call).rawMessage,
    `connection to unix:${wire.path} lost with 1 call in flight: the peer closed it inside a frame`,
  );
});

Deno.test("a server that does not speak ttrpc fails the call with that reason", async () => {
  await using wire = await ClientWire.open();
  const call = failure(wire.service.nothing({}));
  await wire.peer.sendBytes(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const error = await call;
  equal(error.code, Code.INTERNAL);
  ok(/the peer does not speak ttrpc/.test(error.rawMessage), error.rawMessage);
  equal(await wire.peer.receive().then((frame) => frame?.type), FrameType.Request);
  equal(await wire.peer.receive(), undefined);
});

Deno.test("a server that half-closes its side has ended the connection", async () => {
  await using wire = await ClientWire.open();
  const call = failure(wire.service.nothing({}));
  await wire.peer.conn.closeWrite();
  equal((await call).code, Code.UNAVAILABLE);
  await wire.client.finished;
});

Deno.test("close() ends calls in flight with CANCELLED, and later ones, too", async () => {
  await using wire = await ClientWire.open();
  const call = failure(wire.service.nothing({}));
  await wire.nextRequest();
  wire.client.close();
  wire.client.close();
  deepEqual([(await call).code, (await call).rawMessage], [
    Code.CANCELLED,
    `connection to unix:${wire.path} is closed`,
  ]);
  equal((await failure(wire.service.nothing({}))).code, Code.CANCELLED);
  await wire.client.finished;
  deepEqual(wire.closed, [undefined]);
  equal(await wire.peer.receive(), undefined);
});

Deno.test("a call whose request waits for the socket still ends at its deadline", async () => {
  await using wire = await ClientWire.open();
  const big = { payload: new Uint8Array(1 << 20) };
  // The test does not read, so the socket and then the write queue fill up.
  const stuck = Array.from({ length: 4 }, () => failure(wire.service.echo(big)));
  const waiting = failure(wire.service.echo(big, { timeoutMs: 30 }));
  equal((await waiting).code, Code.DEADLINE_EXCEEDED);
  const controller = new AbortController();
  const aborted = failure(wire.service.echo(big, { signal: controller.signal }));
  controller.abort();
  equal((await aborted).code, Code.CANCELLED);
  wire.client.close();
  for (const call of stuck) equal((await call).code, Code.CANCELLED);
});

Deno.test("requests that waited for the socket are sent when there is room, in order", async () => {
  await using wire = await ClientWire.open();
  const calls = Array.from(
    { length: 20 },
    (_, i) => wire.service.echo({ payload: new Uint8Array(300_000).fill(i) }),
  );
  for (let i = 0; i < 20; i++) {
    const { streamId, payload } = await wire.nextRequest();
    equal(streamId, 2 * i + 1);
    equal(payload.at(-1), i);
  }
  for (let i = 0; i < 20; i++) await wire.peer.respond(2 * i + 1);
  await Promise.all(calls);
});

Deno.test("client.callRaw() moves bytes without looking at them", async () => {
  await using wire = await ClientWire.open();
  const request = new Uint8Array([0xff, 0xfe]);
  const call = wire.client.callRaw("any.Service", "Any", request, { metadata: { k: "v" } });
  const { service, method, payload, metadata, flags } = await wire.nextRequest();
  deepEqual([service, method, flags], ["any.Service", "Any", 0]);
  deepEqual([...payload], [0xff, 0xfe]);
  deepEqual([...metadata!], [["k", "v"]]);
  await wire.peer.respond(1, { payload: new Uint8Array([0xfd]) });
  deepEqual([...await call], [0xfd]);
  const empty = wire.client.callRaw("any.Service", "Any", nothing);
  await wire.nextRequest();
  await wire.peer.respond(3);
  deepEqual([...await empty], []);
});

Deno.test("a buffer that was sent stays the caller's, whatever its size", async () => {
  await using wire = await ClientWire.open();
  for (const length of [8_192, 32_768, 65_536]) {
    const mine = new Uint8Array(length).fill(7);
    const sent = [mine, mine, new Uint8Array(100), new Uint8Array(100), new Uint8Array(100)];
    for (const bytes of sent) {
      const call = wire.client.callRaw("any.Service", "Any", bytes);
      const { streamId, payload } = await wire.nextRequest();
      deepEqual(payload.length, bytes.length);
      ok(payload.every((byte, i) => byte === bytes[i]));
      await wire.peer.respond(streamId);
      await call;
    }
    ok(mine.every((byte) => byte === 7), `${length}`);
  }
});

Deno.test("a request that is not bytes fails its own call only", async () => {
  await using wire = await ClientWire.open();
  const bytes = [new ArrayBuffer(8), new Uint16Array(9_000), "text"] as unknown as Uint8Array[];
  for (const request of bytes) {
    const call = failure(wire.client.callRaw("any.Service", "Any", [request]));
    equal((await call).code, Code.INTERNAL);
    const { streamId, type } = (await wire.peer.receive())!;
    equal(type, FrameType.Request);
    await wire.expectCancel(streamId);
    equal((await wire.peer.receive())!.streamId, streamId); // the half-close
  }
  const call = wire.service.nothing({});
  await wire.peer.respond((await wire.nextRequest()).streamId);
  await call;
});

Deno.test("a signal that is none is refused, and not counted", async () => {
  await using wire = await ClientWire.open();
  const signal = new AbortController() as unknown as AbortSignal;
  await rejects(wire.service.nothing({}, { signal }), TypeError);
  equal(wire.client.stats().callsInFlight, 0);
});

Deno.test("an abort with a reason that cannot be shown ends the call all the same", async () => {
  await using wire = await ClientWire.open();
  const controller = new AbortController();
  const call = failure(wire.service.nothing({}, { signal: controller.signal }));
  controller.abort(Object.create(null));
  equal((await call).code, Code.CANCELLED);
});

Deno.test("one signal for many calls has one listener, and ends them all", async () => {
  await using wire = await ClientWire.open();
  const controller = new AbortController();
  let listeners = 0;
  const { addEventListener } = controller.signal;
  controller.signal.addEventListener = (...parameters: Parameters<typeof addEventListener>) => {
    listeners++;
    addEventListener.apply(controller.signal, parameters);
  };
  const calls = Array.from(
    { length: 1_000 },
    () => failure(wire.service.nothing({}, { signal: controller.signal })),
  );
  controller.abort();
  ok((await Promise.all(calls)).every(({ code }) => code === Code.CANCELLED));
  equal(listeners, 1);
});

const misbehaving: [string, Partial<ByteConnection>][] = [
  ["writes nothing", { write: () => Promise.resolve(0) }],
  ["does not tell what it wrote", { write: () => Promise.resolve(undefined as unknown as number) }],
  ["reads nothing", { read: () => Promise.resolve(0) }],
  ["does not tell what it read", { read: () => Promise.resolve(undefined as unknown as number) }],
  ["fails with what cannot be shown", { read: () => Promise.reject(Object.create(null)) }],
  ["cannot be closed", {
    read: () => Promise.resolve(null),
    close: () => {
      throw new Error("closed twice");
    },
  }],
];

for (const [name, part] of misbehaving) {
  Deno.test(`a connection that ${name} is given up with an error`, async () => {
    const closing = Promise.withResolvers<null>();
    const client = await connect({
      read: () => closing.promise,
      write: (bytes) => Promise.resolve(bytes.length),
      close: () => closing.resolve(null),
      ...part,
    });
    equal((await failure(client.service(TestService).nothing({}))).code, Code.UNAVAILABLE);
    closing.resolve(null);
    client.close();
    await client.finished;
  });
}

Deno.test("a call on a closed client leaves no timer", async () => {
  await using wire = await ClientWire.open();
  wire.client.close();
  await wire.client.finished;
  equal((await failure(wire.service.nothing({}, { timeoutMs: 60_000 }))).code, Code.CANCELLED);
});
