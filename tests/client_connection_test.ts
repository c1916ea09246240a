// A client's side of a connection, frame by frame.

import { deepEqual, equal, ok } from "node:assert/strict";
import { closedStatus } from "../engine/client_connection.ts";
import { decodeRequest } from "../wire/envelope.ts";
import { FrameFlag, FrameType } from "../framing.ts";
import { Metadata } from "../metadata.ts";
import { Code, OK } from "../status.ts";
import { lastBytes, outline, responseBytes, TestClientConnection } from "./client_stand_ins.ts";
import { FakeClock } from "./fake_clock.ts";
import { frameBytes } from "./scripted_connection.ts";
import { isSettled, KINDS, settle } from "./stand_ins.ts";

const PAYLOAD = Uint8Array.of(1, 2, 3);
const { Request, Response, Data } = FrameType;
const { RemoteOpen, RemoteClosed, NoData } = FrameFlag;
const LARGEST_ID = 2 ** 32 - 1;

function data(streamId: number, flags: number, ...bytes: number[]): Uint8Array {
  return frameBytes({ streamId, type: Data, flags, data: Uint8Array.from(bytes) });
}

/** Fills the write queue, until the sink is resumed. */
function congest({ conn, client }: TestClientConnection): void {
  const length = (1 << 18) - 10;
  conn.sink.hold();
  const { queue } = client.connection;
  queue.writer.bytes(frameBytes({ streamId: 99, data: new Uint8Array(length) }));
  queue.send(10 + length);
}

Deno.test("open() sends Requests with odd ids that count up, and the flags of their kind", async () => {
  const bench = new TestClientConnection();
  for (const kind of KINDS) bench.open(kind);
  deepEqual(outline(await bench.frames()), [
    [1, Request, 0],
    [3, Request, RemoteClosed],
    [5, Request, RemoteOpen | NoData],
    [7, Request, RemoteOpen | NoData],
  ]);
  equal(bench.client.connection.calls, 4);
});

Deno.test("open() sends what the call was given, and counts and keeps no more of it", async () => {
  const bench = new TestClientConnection();
  const metadata = new Metadata({ user: "me" });
  const call = bench.open("unary", {}, { payload: PAYLOAD, metadata });
  const [frame] = await bench.frames();
  const request = decodeRequest(frame!.data);
  deepEqual([request.service, request.method], ["pkg.Svc", "Do"]);
  deepEqual(request.payload, PAYLOAD);
  deepEqual([...request.metadata!], [["user", "me"]]);
  equal(request.timeoutNano, 0n);
  equal(call.request, undefined);
  equal(call.id, 1);
});

Deno.test("open() counts the bytes of the message, if somebody wants to know", async () => {
  const bench = new TestClientConnection();
  const sizes = { sent: 5, received: 0 };
  const call = bench.open("client_streaming"); // without them
  equal(call.sizes, undefined);
  congest(bench);
  const counted = bench.open("unary", {}, { payload: PAYLOAD });
  counted.sizes = sizes;
  bench.conn.sink.resume();
  await settle();
  deepEqual(sizes, { sent: 8, received: 0 });
});

Deno.test("open() sends the messages of a call that has many after its Request", async () => {
  const bench = new TestClientConnection();
  const messages = [Uint8Array.of(1), Uint8Array.of(2)];
  bench.open("client_streaming", {}, { messages });
  deepEqual(outline(await bench.frames()), [
    [1, Request, RemoteOpen | NoData],
    [1, Data, 0],
    [1, Data, 0],
    [1, Data, RemoteClosed | NoData],
  ]);
});

Deno.test("open() tells the server what is left of the time", async () => {
  using clock = new FakeClock();
  const bench = new TestClientConnection();
  const deadlines = [50, 0.25, 0, -10, 2 ** 43, 2 ** 80].map((ms) => clock.now + ms);
  for (const deadline of deadlines) bench.open("unary", { deadline });
  const frames = await bench.frames();
  deepEqual(frames.map(({ data }) => decodeRequest(data).timeoutNano), [
    50_000_000n,
    250_000n,
    1n,
    1n,
    BigInt(2 ** 43 * 1e6),
    2n ** 63n - 1n,
  ]);
});

Deno.test("open() tells times up to the longest that can be told, and that for all longer ones", async () => {
  using clock = new FakeClock();
  const now = clock.now;
  const bench = new TestClientConnection();
  const longest = 2 ** 63 / 1e6 + now;
  for (const deadline of [longest - 4, longest, longest + 4]) bench.open("unary", { deadline });
  const frames = await bench.frames();
  const times = frames.map(({ data }) => decodeRequest(data).timeoutNano);
  ok(times[0]! < 2n ** 63n - 1n && times[0]! > 2n ** 62n);
  deepEqual(times.slice(1), [2n ** 63n - 1n, 2n ** 63n - 1n]);
});

Deno.test("a call waits until there is room, and then has what is left of its time", async () => {
  using clock = new FakeClock();
  const bench = new TestClientConnection();
  congest(bench);
  const call = bench.open("unary", { deadline: clock.now + 50 });
  await settle();
  equal(call.id, 0);
  await clock.pass(20);
  bench.conn.sink.resume();
  const frames = await bench.frames();
  equal(call.id, 1);
  equal(decodeRequest(frames.at(-1)!.data).timeoutNano, 30_000_000n);
});

Deno.test("a call that is over before there is room is not sent, and takes no id", async () => {
  const bench = new TestClientConnection();
  congest(bench);
  const [over, call] = [bench.open(), bench.open()];
  over.expire();
  bench.conn.sink.resume();
  await settle();
  equal(over.id, 0);
  equal(call.id, 1);
});

Deno.test("a call for which there is no room when the connection ends, ends with it", async () => {
  const bench = new TestClientConnection();
  congest(bench);
  const call = bench.open();
  bench.conn.fail(new Error("reset"));
  await settle();
  deepEqual([call.status?.code, call.status?.message], [
    Code.UNAVAILABLE,
    "connection to server.sock lost: reset",
  ]);
});

Deno.test("a request that is too long is not sent, and takes no id", async () => {
  const bench = new TestClientConnection({ limits: { messageBytes: 64 } });
  // What stands around the message: two names, and the header of the payload.
  const around = 1 + 1 + 7 + 1 + 1 + 2 + 1 + 1;
  const call = bench.open("unary", {}, { payload: new Uint8Array(65 - around) });
  equal(call.status?.code, Code.RESOURCE_EXHAUSTED);
  equal(bench.client.connection.calls, 0);
  const fits = bench.open("unary", {}, { payload: new Uint8Array(64 - around) });
  equal(fits.id, 1);
  deepEqual(outline(await bench.frames()), [[1, Request, 0]]);
});

Deno.test("the last stream id is used, and the call after it is handed back", async () => {
  const bench = new TestClientConnection({ firstId: LARGEST_ID - 2 });
  const { client } = bench;
  const calls = [bench.open(), bench.open()];
  deepEqual([client.exhausted, client.usable], [true, false]);
  const late = bench.open();
  deepEqual(bench.exhausted, [late]);
  equal(late.status, undefined);
  deepEqual(outline(await bench.frames()), [
    [LARGEST_ID - 2, Request, 0],
    [LARGEST_ID, Request, 0],
  ]);
  await bench.receive(responseBytes(LARGEST_ID), responseBytes(LARGEST_ID - 2));
  deepEqual(calls.map(({ status }) => status), [OK, OK]);
});

Deno.test("a call that waits for room while the last id is taken is handed back, if it is not over", async () => {
  const bench = new TestClientConnection({ firstId: LARGEST_ID });
  congest(bench);
  const [first, late, over] = [bench.open(), bench.open(), bench.open()];
  over.expire();
  bench.conn.sink.resume();
  await settle();
  equal(first.id, LARGEST_ID);
  deepEqual(bench.exhausted, [late]);
});

Deno.test("a connection without ids hands back also when it is congested", () => {
  const bench = new TestClientConnection({ firstId: LARGEST_ID });
  bench.open();
  congest(bench);
  const late = bench.open();
  deepEqual(bench.exhausted, [late]);
});

Deno.test("exhaustedStatus says what to do", () => {
  for (const [name, title] of [["x.sock", "connection to x.sock"], [undefined, "connection"]]) {
    const { client } = new TestClientConnection({ name });
    deepEqual(client.exhaustedStatus, {
      code: Code.UNAVAILABLE,
      message: `${title} has used up its stream ids: connect again`,
    });
  }
});

Deno.test("after a write has failed no call can be opened, and its end says why", async () => {
  const bench = new TestClientConnection();
  const cause = new Error("broken pipe");
  bench.conn.writeError = cause;
  const sent = bench.open();
  await settle();
  equal(bench.client.usable, false);
  deepEqual(bench.open().status, {
    code: Code.UNAVAILABLE,
    message: "connection to server.sock lost: broken pipe",
    cause,
  });
  equal(sent.status, undefined); // its answer may have come before
  await bench.receive(responseBytes(1, { payload: PAYLOAD }));
  deepEqual(sent.status, OK);
});

Deno.test("when a write fails, calls that waited for room end, and say why", async () => {
  const bench = new TestClientConnection();
  const { promise, reject } = Promise.withResolvers<number>();
  bench.conn.write = () => promise;
  congest(bench);
  const call = bench.open();
  await settle();
  deepEqual(bench.ends, []);
  reject(new Error("broken pipe"));
  await settle();
  equal(call.id, 0);
  deepEqual([call.status?.code, call.status?.message], [
    Code.UNAVAILABLE,
    "connection to server.sock lost: broken pipe",
  ]);
});

Deno.test("a Response ends a call of one response with its message, be it empty", async () => {
  for (const kind of ["unary", "client_streaming"] as const) {
    for (const payload of [PAYLOAD, new Uint8Array(0)]) {
      const bench = new TestClientConnection();
      const call = bench.open(kind);
      await bench.receive(responseBytes(1, { payload }));
      deepEqual(call.status, OK);
      deepEqual(await call.receive(), payload);
      equal(await call.receive(), undefined);
      equal(bench.client.connection.calls, 0);
    }
  }
});

Deno.test("a Response ends a stream with a last message, if it has one", async () => {
  for (const kind of ["server_streaming", "bidi_streaming"] as const) {
    for (const payload of [PAYLOAD, Uint8Array.of(0), new Uint8Array(0)]) {
      const bench = new TestClientConnection();
      const call = bench.open(kind);
      await bench.receive(data(1, 0, 9), responseBytes(1, { payload }));
      deepEqual(call.status, OK);
      deepEqual(await call.receive(), Uint8Array.of(9));
      deepEqual(await call.receive(), payload.length > 0 ? payload : undefined);
      equal(await call.receive(), undefined);
    }
  }
});

Deno.test("a Response with a status that is not OK ends the call with it, and gives no message", async () => {
  const bench = new TestClientConnection();
  const [failed, good] = [bench.open(), bench.open()];
  const status = { code: Code.NOT_FOUND, message: "no such task", details: [] };
  await bench.receive(
    responseBytes(1, { status, payload: PAYLOAD }),
    responseBytes(3, { status: { code: Code.OK, message: "" }, payload: PAYLOAD }),
  );
  deepEqual([failed.status?.code, failed.status?.message], [Code.NOT_FOUND, "no such task"]);
  equal(await failed.receive(), undefined);
  deepEqual(await good.receive(), PAYLOAD);
});

Deno.test("a Response that is malformed ends its call with INTERNAL, and no other", async () => {
  const bench = new TestClientConnection();
  const [call, other] = [bench.open("bidi_streaming"), bench.open()];
  await bench.receive(
    frameBytes({ streamId: 1, type: Response, data: Uint8Array.of(0x0a, 5) }),
    responseBytes(3),
  );
  deepEqual([call.status?.code, call.status?.message], [
    Code.INTERNAL,
    "the response is malformed",
  ]);
  ok(call.status?.cause instanceof Error);
  deepEqual(other.status, OK);
  equal((await bench.frames()).length, 2); // the server is done with the call
});

Deno.test("a Response of too many parts ends its call with RESOURCE_EXHAUSTED, and no other", async () => {
  const bench = new TestClientConnection();
  const [call, other] = [bench.open("bidi_streaming"), bench.open()];
  const details = Array.from({ length: 1_001 }, () => ({ typeUrl: "", value: new Uint8Array(0) }));
  const status = { code: Code.NOT_FOUND, message: "", details };
  await bench.receive(responseBytes(1, { status, payload: PAYLOAD }), responseBytes(3));
  deepEqual([call.status?.code, call.status?.message], [
    Code.RESOURCE_EXHAUSTED,
    "the response has over 1000 status details",
  ]);
  deepEqual(other.status, OK);
});

Deno.test("Data is for its call, and the last one ends it", async () => {
  const bench = new TestClientConnection();
  const [call, other] = [bench.open("server_streaming"), bench.open("server_streaming")];
  await bench.receive(data(1, 0, 5), data(3, 0, 6), data(1, RemoteClosed, 7));
  deepEqual(call.status, OK);
  equal(other.status, undefined);
  deepEqual(await call.receive(), Uint8Array.of(5));
  deepEqual(await call.receive(), Uint8Array.of(7));
  equal(await call.receive(), undefined);
  await bench.receive(lastBytes(3));
  deepEqual(other.status, OK);
  deepEqual(await other.receive(), Uint8Array.of(6));
  equal(await other.receive(), undefined);
});

Deno.test("Data for a call of one response ends that call with INTERNAL", async () => {
  for (const kind of ["unary", "client_streaming"] as const) {
    for (const flags of [0, RemoteClosed]) {
      const bench = new TestClientConnection();
      const call = bench.open(kind);
      await bench.receive(data(1, flags, 5));
      deepEqual([call.status?.code, call.status?.message], [
        Code.INTERNAL,
        `a Data frame came for a ${kind} call`,
      ]);
      equal(bench.client.connection.closed, false);
    }
  }
});

Deno.test("what comes for no call, or is no answer, is passed over", async () => {
  const bench = new TestClientConnection();
  const call = bench.open();
  await bench.receive(
    responseBytes(3),
    data(5, 0, 1),
    frameBytes({ streamId: 1, type: Request }),
    frameBytes({ streamId: 1, type: 9, flags: RemoteClosed }),
  );
  equal(call.status, undefined);
  equal(bench.client.connection.closed, false);
  await bench.receive(responseBytes(1), responseBytes(1), lastBytes(1));
  deepEqual(call.status, OK);
});

Deno.test("a message that is too long ends its call, and no other", async () => {
  for (const type of [Response, Data]) {
    const bench = new TestClientConnection({ limits: { messageBytes: 64 } });
    const [call, other] = [bench.open("server_streaming"), bench.open()];
    await bench.receive(
      frameBytes({ streamId: 1, type, data: new Uint8Array(65) }),
      frameBytes({ streamId: 9, type, data: new Uint8Array(65) }),
      frameBytes({ streamId: 3, type: Request, data: new Uint8Array(65) }),
      frameBytes({ streamId: 3, type: 9, data: new Uint8Array(65) }),
    );
    equal(call.status?.code, Code.RESOURCE_EXHAUSTED);
    ok(/65.*64/.test(call.status!.message), call.status!.message);
    equal(other.status, undefined);
    await bench.receive(responseBytes(3));
    deepEqual(other.status, OK);
  }
});

Deno.test("the end of input fails the calls in flight, and those that come later", async () => {
  const bench = new TestClientConnection();
  const call = bench.open();
  bench.conn.end();
  await bench.running;
  const lost = "connection to server.sock lost with 1 call in flight: the server closed it";
  for (const { status } of [call, bench.open()]) {
    deepEqual([status?.code, status?.message], [Code.UNAVAILABLE, lost]);
  }
  deepEqual(bench.ends.map((end) => end?.message), [lost]);
});

Deno.test("the end of input without a call in flight is no failure, but ends what comes later", async () => {
  for (const name of ["server.sock", undefined]) {
    const bench = new TestClientConnection({ name });
    bench.conn.end();
    await bench.running;
    deepEqual(bench.ends, [undefined]);
    deepEqual(bench.open().status, {
      code: Code.UNAVAILABLE,
      message: `the server has closed ${name ?? "the connection"}`,
    });
  }
});

Deno.test("a call on a lost connection ends as the connection has", async () => {
  const bench = new TestClientConnection();
  bench.conn.fail(new Error("reset"));
  await bench.running;
  const late = bench.open();
  equal(late.status?.message, "connection to server.sock lost: reset");
  deepEqual(bench.ends, [late.status]);
});

Deno.test("close() with a call in flight ends both at once", async () => {
  const bench = new TestClientConnection();
  const call = bench.open();
  bench.client.close();
  deepEqual(call.status, closedStatus("server.sock"));
  deepEqual(bench.conn.called, ["close"]);
  await bench.running;
  deepEqual(bench.ends, [undefined]);
  deepEqual(bench.open().status, closedStatus("server.sock"));
});

Deno.test("close() without a call in flight lets the server read what was sent", async () => {
  const bench = new TestClientConnection();
  bench.open();
  await bench.receive(responseBytes(1));
  bench.client.close();
  await settle();
  deepEqual(bench.conn.called, ["closeWrite"]);
  await bench.timers.pass(99);
  deepEqual(bench.conn.called, ["closeWrite"]);
  await bench.timers.pass(1);
  deepEqual(bench.conn.called, ["closeWrite", "close"]);
  await bench.running;
  equal(bench.timers.running, 0);
});

Deno.test("close() waits a tenth of a second for what cannot be written", async () => {
  const bench = new TestClientConnection();
  congest(bench);
  bench.client.close();
  await bench.timers.pass(99);
  deepEqual(bench.conn.called, []);
  await bench.timers.pass(1);
  deepEqual(bench.conn.called, ["close"]);
  bench.conn.sink.resume();
  await bench.running;
});

Deno.test("close() with a call in flight is at once, also when a server has answered what nobody asked", async () => {
  const bench = new TestClientConnection();
  const call = bench.open();
  await bench.receive(responseBytes(99));
  bench.client.close();
  deepEqual(bench.conn.called, ["close"]);
  equal(call.status?.code, Code.CANCELLED);
  await bench.running;
});

Deno.test("close() after a write has failed is what later calls hear of", async () => {
  const bench = new TestClientConnection();
  bench.conn.writeError = new Error("broken pipe");
  bench.open();
  await settle();
  bench.client.close();
  deepEqual(bench.open().status, closedStatus("server.sock"));
  await bench.running;
});

Deno.test("a call on a connection that its owner has closed is told that it is closed", async () => {
  const bench = new TestClientConnection();
  bench.client.connection.close();
  deepEqual(bench.open().status, closedStatus("server.sock"));
  await bench.running;
});

Deno.test("a server may not start calls", () => {
  equal(new TestClientConnection().client.accepts, false);
});

Deno.test("close() after a call was given up lets the server read that, as after any other", async () => {
  const bench = new TestClientConnection();
  bench.open().release();
  bench.client.close();
  await settle();
  deepEqual(bench.conn.called, ["closeWrite"]);
  deepEqual(outline(await bench.frames()).at(-1), [1, FrameType.Cancel, 0]);
  bench.client.connection.close();
  await bench.running;
});

Deno.test("retire() closes when the last call has ended, and takes calls until then", async () => {
  const bench = new TestClientConnection();
  bench.open();
  const retired = bench.client.retire();
  bench.open();
  await bench.receive(responseBytes(1));
  equal(await isSettled(retired), false);
  deepEqual(bench.conn.called, []);
  await bench.receive(responseBytes(3));
  await retired;
  await settle();
  deepEqual(bench.conn.called, ["closeWrite"]);
  bench.conn.end();
  await bench.running;
  deepEqual(bench.conn.called, ["closeWrite", "close"]);
});

Deno.test("closedStatus() names the server, if it has a name", () => {
  deepEqual(closedStatus("x"), { code: Code.CANCELLED, message: "connection to x is closed" });
  equal(closedStatus(undefined).message, "the connection is closed");
});

Deno.test("close() after an answer that was too long is as graceful as after any other", async () => {
  const bench = new TestClientConnection({ limits: { messageBytes: 64 } });
  const call = bench.open();
  await bench.receive(frameBytes({ streamId: 1, type: 2, data: new Uint8Array(65) }));
  equal(call.status?.code, Code.RESOURCE_EXHAUSTED);
  bench.client.close();
  await settle();
  deepEqual(bench.conn.called, ["closeWrite"]);
  bench.conn.end();
  await bench.running;
});

Deno.test("close() ends calls that wait for room at once, and does not send them", async () => {
  const bench = new TestClientConnection();
  bench.conn.sink.hold();
  const { queue } = bench.client.connection;
  queue.writer.bytes(frameBytes({ streamId: 99, data: new Uint8Array(1 << 18) }));
  queue.send(10 + (1 << 18));
  const call = bench.open();
  bench.client.close();
  equal(call.status?.code, Code.CANCELLED);
  bench.conn.sink.resume();
  await settle();
  equal(call.id, 0);
  bench.conn.end();
  await bench.running;
});
