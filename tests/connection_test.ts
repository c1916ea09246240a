// One socket in either role: what is read, and how it fails and is closed.

import { deepEqual, equal, ok } from "node:assert/strict";
import { FrameType } from "../framing.ts";
import { Code, OK, RpcError, type Status } from "../status.ts";
import { frameBytes } from "./scripted_connection.ts";
import { isSettled, settle } from "./stand_ins.ts";
import { Bed, ENDED, OVER } from "./connection_bed.ts";

Deno.test("a new connection is open, and has done nothing", () => {
  const { connection, ends } = new Bed();
  equal(connection.closed, false);
  equal(connection.writeError, undefined);
  equal(connection.owesReplies, false);
  deepEqual(
    [connection.bytesIn, connection.bytesOut, connection.calls, connection.queuedBytes],
    [0, 0, 0, 0],
  );
  deepEqual(ends, []);
});

Deno.test("title is what to call a connection, with an address or without", () => {
  equal(new Bed().connection.title, "connection to unix:///x");
  equal(new Bed({ name: "" }).connection.title, "connection");
});

Deno.test("remoteAddr, ref() and unref() are the socket's", () => {
  const { connection, conn } = new Bed();
  equal(connection.remoteAddr, conn.remoteAddr);
  connection.unref();
  connection.ref();
  deepEqual(conn.called, ["unref", "ref"]);
  Object.assign(conn, { ref: undefined, unref: undefined });
  connection.unref();
  connection.ref();
});

Deno.test("run() hands out frames as they come, and counts bytes", async () => {
  const bed = new Bed();
  const one = frameBytes({ streamId: 1, type: FrameType.Request, flags: 2 });
  const other = frameBytes({ streamId: 3, data: new Uint8Array(5) });
  const running = bed.connection.run();
  bed.conn.feed(one.subarray(0, 4));
  await settle();
  equal(bed.connection.bytesIn, 4);
  deepEqual(bed.frames, []);
  bed.conn.feed(new Uint8Array([...one.subarray(4), ...other]));
  await settle();
  equal(bed.connection.bytesIn, one.length + other.length);
  deepEqual(bed.frames, [
    { streamId: 1, type: FrameType.Request, flags: 2, data: new Uint8Array(0) },
    { streamId: 3, type: FrameType.Data, flags: 0, data: new Uint8Array(5) },
  ]);
  bed.conn.end();
  await running;
});

Deno.test("run() tells of a frame that is too long, and goes on behind it", async () => {
  const bed = new Bed({ limits: { messageBytes: 4 } });
  bed.conn.feed(frameBytes({ streamId: 9, flags: 1, data: new Uint8Array(5) }), frameBytes({}));
  bed.conn.end();
  await bed.connection.run();
  deepEqual(bed.tooLong, [[9, FrameType.Data, 1, 5]]);
  equal(bed.frames.length, 1);
});

Deno.test("run() moves messages that wait out of the read buffer before it reads more", async () => {
  const bed = new Bed().deliver();
  const call = bed.call(1);
  const running = bed.connection.run();
  bed.conn.feed(frameBytes({ data: new Uint8Array([1]) }));
  await settle();
  bed.conn.feed(frameBytes({ streamId: 3 }));
  await settle();
  equal(call.take().buffer.byteLength, 1);
  bed.conn.end();
  await running;
});

Deno.test("run() reads nothing more when the connection is closed", async () => {
  const bed = new Bed();
  bed.conn.endsReads = false;
  const running = bed.connection.run();
  bed.connection.close();
  bed.conn.feed(frameBytes({}));
  await running;
  equal(bed.connection.bytesIn, 0);
  deepEqual(bed.frames, []);
  equal(bed.conn.reads.length, 1);

  const closed = new Bed();
  closed.connection.close();
  await closed.connection.run();
  equal(closed.conn.reads.length, 0);
});

Deno.test("run() gives no frame to a role that has closed the connection", async () => {
  const bed = new Bed({ limits: { messageBytes: 4 } });
  bed.onFrame = () => bed.connection.close();
  const long = frameBytes({ data: new Uint8Array(5) });
  bed.conn.feed(new Uint8Array([...frameBytes({}), ...frameBytes({}), ...long]));
  await bed.connection.run();
  equal(bed.frames.length, 1);
  deepEqual(bed.tooLong, []);
  deepEqual(bed.ends, [undefined]);
});

Deno.test("the end of input ends the calls in flight as the role has it", async () => {
  const bed = new Bed();
  const call = bed.call(1);
  const { promise, resolve } = Promise.withResolvers<Status>();
  bed.onEndOfInput = () => promise;
  const running = bed.connection.run();
  bed.conn.end();
  equal(await isSettled(running), false);
  equal(bed.inputs, 1);
  equal(bed.connection.closed, false);
  resolve(OVER);
  await running;
  equal(call.status, OVER);
  deepEqual(bed.ends, [undefined]);
  equal(bed.connection.closed, true);
  equal(bed.called("close"), 1);
  equal(bed.timers.running, 0);
});

Deno.test("the end of input inside a frame is a failure", async () => {
  const bed = new Bed();
  const call = bed.call(1);
  bed.conn.feed(frameBytes({}).subarray(0, 9));
  bed.conn.end();
  await bed.connection.run();
  equal(bed.inputs, 0);
  deepEqual(call.status, {
    code: Code.UNAVAILABLE,
    message:
      "connection to unix:///x lost with 1 call in flight: the peer closed it inside a frame",
    cause: undefined,
  });
  deepEqual(bed.ends, [call.status]);
});

Deno.test("a read that fails ends the connection and its calls, with the error as the cause", async () => {
  const bed = new Bed();
  const calls = [bed.call(1), bed.call(3)];
  const cause = new Deno.errors.ConnectionReset("reset");
  bed.conn.fail(cause);
  await bed.connection.run();
  for (const { status } of calls) {
    deepEqual(status, {
      code: Code.UNAVAILABLE,
      message: "connection to unix:///x lost with 2 calls in flight: reset",
      cause,
    });
  }
  deepEqual(bed.ends, [calls[0]!.status]);
  equal(bed.connection.calls, 0);
});

Deno.test("a failure without calls in flight does not speak of any", async () => {
  const bed = new Bed({ name: "" });
  bed.conn.fail("a text");
  await bed.connection.run();
  deepEqual(bed.ends, [
    { code: Code.UNAVAILABLE, message: "connection lost: a text", cause: undefined },
  ]);
});

Deno.test("a failure keeps the code of an RpcError", async () => {
  const bed = new Bed();
  bed.conn.feed(new Uint8Array([1]));
  await bed.connection.run();
  equal(bed.ends[0]?.code, Code.INTERNAL);
  ok(bed.ends[0]?.cause instanceof RpcError);
});

Deno.test("a socket that says it has read nothing, or no number, is a failure", async () => {
  for (const count of [0, -1, NaN, 1.5]) {
    const bed = new Bed();
    bed.conn.return(count);
    await bed.connection.run();
    equal(
      bed.ends[0]?.message,
      `connection to unix:///x lost: the connection reports ${count} bytes read, ` +
        "not a number from 1 to 1024",
    );
  }
});

Deno.test("close() ends the calls with a status, and only the first end counts", async () => {
  const bed = new Bed();
  const call = bed.call(1);
  const running = bed.connection.run();
  bed.connection.close(OVER);
  bed.connection.close();
  bed.connection.fail("late");
  await running;
  equal(call.status, OVER);
  deepEqual(call.ends, [OVER]);
  deepEqual(bed.ends, [undefined]);
  equal(bed.called("close"), 1);
  equal(bed.connection.queue.over, true);
});

Deno.test("close() says that the connection has ended if nothing else is said", () => {
  const bed = new Bed();
  const call = bed.call(1);
  bed.connection.close();
  deepEqual(call.status, ENDED);
});

Deno.test("close() does not mind a socket that is closed already", () => {
  const bed = new Bed();
  bed.conn.close = () => {
    throw new Deno.errors.BadResource("closed");
  };
  bed.connection.close();
  deepEqual(bed.ends, [undefined]);
});

Deno.test("close() ends a connection that does not read because too much waits", async () => {
  const bed = new Bed({ limits: { connectionQueueBytes: 100 } }).deliver();
  const call = bed.call(1);
  const running = bed.connection.run();
  bed.conn.feed(frameBytes({ data: new Uint8Array(100) }));
  await settle();
  equal(bed.connection.queuedBytes, 164);
  equal(bed.conn.reads.length, 1);
  bed.connection.close();
  await running;
  equal(bed.timers.running, 0);
  equal(call.status?.code, Code.CANCELLED);
});

Deno.test("a connection on which too much waits reads again when it is taken", async () => {
  const bed = new Bed({ limits: { connectionQueueBytes: 100 } }).deliver();
  const call = bed.call(1);
  const running = bed.connection.run();
  bed.conn.feed(frameBytes({ data: new Uint8Array(100) }), frameBytes({}));
  await settle();
  equal(bed.frames.length, 1);
  call.take();
  await settle();
  equal(bed.frames.length, 2);
  bed.conn.end();
  await running;
});

Deno.test("a server that reads ahead reads little at once, and drops what holds up others", async () => {
  const limits = { connectionQueueBytes: 100_000, streamQueueBytes: 1_000, stallTimeoutMs: 10 };
  const bed = new Bed({ accepts: true, limits }).deliver();
  const unread = bed.call(1);
  const frame = frameBytes({ data: new Uint8Array(5_000) });
  bed.conn.feed(new Uint8Array(Array(20).fill([...frame]).flat()));
  const running = bed.connection.run();
  await settle();
  const reads = bed.conn.reads.length;
  ok(bed.conn.reads.at(-1)! > 4096);
  await bed.timers.pass(10);
  deepEqual(bed.conn.reads.slice(reads), [4096]);
  equal(unread.overruns, 0);
  bed.conn.feed(frameBytes({ streamId: 3 }));
  await settle();
  equal(unread.overruns, 1);
  ok(bed.conn.reads.at(-1)! > 4096);
  bed.conn.end();
  await running;
});

Deno.test("replies for which nobody waits leave before more is taken", async () => {
  const bed = new Bed();
  bed.onFrame = () => {
    bed.conn.sink.hold();
    bed.send(1 << 18);
    bed.connection.owesReplies = true;
  };
  bed.conn.feed(frameBytes({}));
  const running = bed.connection.run();
  await settle();
  bed.onFrame = () => {};
  bed.conn.feed(frameBytes({}));
  await settle();
  equal(bed.frames.length, 1);
  bed.conn.sink.resume();
  await settle();
  equal(bed.frames.length, 2);
  equal(bed.connection.owesReplies, false);
  equal(bed.connection.bytesOut, 1 << 18);
  bed.conn.end();
  await running;
});

Deno.test("what is sent for somebody who waits holds up no reading", async () => {
  const bed = new Bed();
  bed.onFrame = () => {
    bed.conn.sink.hold();
    bed.send(1 << 18);
  };
  bed.conn.feed(frameBytes({}));
  const running = bed.connection.run();
  await settle();
  equal(bed.conn.reads.length, 2);
  bed.conn.end();
  await running;
  bed.conn.sink.resume();
});

Deno.test("whenIdle() waits for the last call", async () => {
  const bed = new Bed();
  await bed.connection.whenIdle();
  const calls = [bed.call(1), bed.call(3)];
  const idle = Promise.all([bed.connection.whenIdle(), bed.connection.whenIdle()]);
  calls[0]!.end(OK);
  equal(await isSettled(idle), false);
  equal(bed.connection.calls, 1);
  calls[1]!.end(OK);
  await idle;
  equal(bed.connection.calls, 0);
});

Deno.test("whenIdle() does not wait for the call that it is told to leave out", async () => {
  const bed = new Bed();
  const [one, other] = [bed.call(1), bed.call(3)];
  const idle = bed.connection.whenIdle(new Set([one]));
  equal(await isSettled(idle), false);
  other.end(OK);
  await idle;
  const another = new Bed().call(1);
  equal(await isSettled(bed.connection.whenIdle(new Set([another]))), false);
  one.end(OK);
  await bed.connection.whenIdle(new Set([one]));
  const last = bed.call(5);
  equal(await isSettled(bed.connection.whenIdle(new Set([one]))), false);
  last.end(OK);
});

Deno.test("whenIdle() settles when the connection ends", async () => {
  const bed = new Bed();
  bed.call(1);
  const idle = bed.connection.whenIdle();
  bed.connection.close();
  await idle;
  await bed.connection.whenIdle();
});

Deno.test("peerReads() asks a unix socket by writing nothing", async () => {
  const { conn, connection } = new Bed();
  equal(await connection.peerReads(), true);
  deepEqual(conn.sink.writes, [new Uint8Array(0)]);
  conn.writeError = new Deno.errors.BrokenPipe("gone");
  equal(await connection.peerReads(), false);
  equal(connection.writeError, undefined);
});

Deno.test("peerReads() leaves it to a write that is under way", async () => {
  const bed = new Bed();
  bed.conn.sink.hold();
  bed.send(1);
  equal(await bed.connection.peerReads(), true);
  deepEqual(bed.conn.sink.writes, []);
  bed.conn.sink.resume();
});

Deno.test("peerReads() knows nothing of other sockets, until a write has failed", async () => {
  for (
    const remoteAddr of [{ transport: "tcp", hostname: "::1", port: 1 } as const, undefined]
  ) {
    const bed = new Bed();
    if (remoteAddr) bed.conn.remoteAddr = remoteAddr;
    else delete bed.conn.remoteAddr;
    equal(await bed.connection.peerReads(), undefined);
    deepEqual(bed.conn.sink.writes, []);
    bed.conn.writeError = new Error("broken");
    bed.send(1);
    await settle();
    equal(await bed.connection.peerReads(), false);
  }
});
