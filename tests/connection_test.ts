// One socket in either role: what is read, and every way in which it ends.

import { deepEqual, equal, ok } from "node:assert/strict";
import { Connection, type Role } from "../engine/connection.ts";
import { type Frame, FrameType } from "../framing.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import { type Limits, resolveLimits } from "../limits.ts";
import { Code, OK, RpcError, type Status } from "../status.ts";
import { NotedDeadlines } from "./server_stand_ins.ts";
import { frameBytes, ScriptedConnection } from "./scripted_connection.ts";
import { FakeTimers, isSettled, settle, TestStream } from "./stand_ins.ts";

const LINGER_MS = 1_000;
const ENDED: Status = { code: Code.CANCELLED, message: "the connection has ended" };
const OVER: Status = { code: Code.UNAVAILABLE, message: "over" };

/** A connection with a role that notes what it is told. */
class Bed implements Role {
  readonly conn = new ScriptedConnection();
  readonly timers = new FakeTimers();
  readonly deadlines = new NotedDeadlines();
  readonly connection: Connection<TestStream>;
  readonly accepts: boolean;
  readonly begins = false;
  readonly frames: Frame[] = [];
  readonly tooLong: [streamId: number, type: number, flags: number, length: number][] = [];
  readonly ends: (Status | undefined)[] = [];
  inputs = 0;
  onFrame: (frame: Frame) => void = () => {};
  onEndOfInput: () => Promise<Status> = () => Promise.resolve(OVER);

  constructor({ accepts = false, name = "unix:///x", limits = {} }: {
    accepts?: boolean;
    name?: string | undefined;
    limits?: Partial<Limits>;
  } = {}) {
    this.accepts = accepts;
    const owner = {
      limits: resolveLimits(limits),
      timers: this.timers,
      held: new HeldBytes(Infinity),
      deadlines: this.deadlines,
      extension: { keepalive: undefined },
    };
    this.connection = new Connection(this.conn, name || undefined, owner, this);
  }

  frame(streamId: number, type: number, flags: number, data: Uint8Array): void {
    const frame = { streamId, type, flags, data };
    this.frames.push(frame);
    this.onFrame(frame);
  }

  oversized(streamId: number, type: number, flags: number, length: number): void {
    this.tooLong.push([streamId, type, flags, length]);
  }

  admits(): boolean {
    return true;
  }

  turned(): void {}

  overtaken(): void {}

  endOfInput(): Promise<Status> {
    this.inputs++;
    return this.onEndOfInput();
  }

  ended(failure: Status | undefined): void {
    this.ends.push(failure);
  }

  /** Adds a call. */
  call(id: number): TestStream {
    const call = new TestStream("client");
    call.attach(this.connection);
    call.open(id);
    this.connection.streams.set(id, call);
    return call;
  }

  /** Gives frames to the calls they are for. */
  deliver(): this {
    this.onFrame = ({ streamId, flags, data }) =>
      void this.connection.streams.get(streamId)?.data(flags, data);
    return this;
  }

  /** Sends so many bytes. */
  send(length: number): void {
    const { queue } = this.connection;
    queue.writer.bytes(new Uint8Array(length));
    queue.send(length);
  }

  /** How often something was called on the socket. */
  called(name: string): number {
    return this.conn.called.filter((called) => called === name).length;
  }
}

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

/** A connection to a peer that reads no more. */
async function deaf(limits?: Partial<Limits>) {
  const bed = new Bed({ limits: limits ?? {} }).deliver();
  const cause = new Deno.errors.BrokenPipe("broken pipe");
  bed.conn.writeError = cause;
  bed.send(1);
  await settle();
  equal(bed.connection.writeError?.cause, cause);
  return { bed, cause };
}

Deno.test("a write that fails ends the writing only: what the peer has sent is delivered", async () => {
  const { bed, cause } = await deaf();
  const [answered, lost] = [bed.call(1), bed.call(3)];
  bed.onFrame = ({ streamId }) => bed.connection.streams.get(streamId)?.end(OK);
  bed.conn.feed(frameBytes({ streamId: 1 }));
  bed.conn.end();
  equal(bed.connection.closed, false);
  await bed.connection.run();
  equal(answered.status, OK);
  deepEqual(lost.status, {
    code: Code.UNAVAILABLE,
    message: "connection to unix:///x lost with 1 call in flight: broken pipe",
    cause,
  });
  deepEqual(bed.ends, [lost.status]);
  equal(bed.timers.running, 0);
});

Deno.test("a write that failed is no failure when all was answered", async () => {
  const { bed } = await deaf();
  bed.conn.end();
  await bed.connection.run();
  deepEqual(bed.ends, [undefined]);
});

Deno.test("a read that fails after a write has the write's error as its cause", async () => {
  const { bed, cause } = await deaf();
  bed.conn.fail(new Deno.errors.ConnectionReset("reset"));
  await bed.connection.run();
  equal(bed.ends[0]?.cause, cause);
  equal(bed.ends[0]?.message, "connection to unix:///x lost: broken pipe");
});

Deno.test("a connection that cannot write ends when nothing has come for a second", async () => {
  const { bed, cause } = await deaf();
  const running = bed.connection.run();
  await bed.timers.pass(LINGER_MS - 1);
  equal(bed.connection.closed, false);
  bed.conn.feed(frameBytes({}));
  await bed.timers.pass(LINGER_MS);
  bed.conn.feed(frameBytes({}));
  await bed.timers.pass(LINGER_MS);
  equal(bed.connection.closed, false);
  await bed.timers.pass(LINGER_MS);
  equal(bed.ends[0]?.cause, cause);
  await running;
  equal(bed.timers.running, 0);
});

Deno.test("a connection that cannot write reads to the end, whatever waits", async () => {
  const { bed } = await deaf({ connectionQueueBytes: 100 });
  const call = bed.call(1);
  for (let i = 0; i < 3; i++) bed.conn.feed(frameBytes({ data: new Uint8Array(100) }));
  bed.conn.end();
  await bed.connection.run();
  equal(bed.frames.length, 3);
  equal(call.status?.code, Code.UNAVAILABLE);
  for (let i = 0; i < 3; i++) equal(call.take().length, 100);
});

Deno.test("a connection that cannot write owes no replies any more", async () => {
  const { bed } = await deaf();
  bed.onFrame = () => void (bed.connection.owesReplies = true);
  bed.conn.feed(frameBytes({}), frameBytes({}));
  bed.conn.end();
  await bed.connection.run();
  equal(bed.frames.length, 2);
});

Deno.test("finish() sends what waits, half-closes, and closes when the peer has", async () => {
  const bed = new Bed();
  const running = bed.connection.run();
  bed.conn.sink.hold();
  bed.send(10);
  const finished = bed.connection.finish();
  equal(await isSettled(finished), false);
  deepEqual(bed.conn.called, []);
  bed.conn.sink.resume();
  equal(await isSettled(finished), false);
  deepEqual(bed.conn.called, ["closeWrite"]);
  equal(bed.conn.sink.writes.length, 1);
  bed.conn.end();
  await finished;
  await running;
  deepEqual(bed.conn.called, ["closeWrite", "close"]);
  equal(bed.inputs, 0);
  deepEqual(bed.ends, [undefined]);
  equal(bed.timers.running, 0);
});

Deno.test("finish() waits a second for the peer, or as long as it is told", async () => {
  for (const lingerMs of [undefined, 50]) {
    const bed = new Bed();
    const running = bed.connection.run();
    const finished = bed.connection.finish(Infinity, lingerMs);
    await bed.timers.pass((lingerMs ?? LINGER_MS) - 1);
    equal(bed.connection.closed, false);
    await bed.timers.pass(1);
    await finished;
    equal(bed.connection.closed, true);
    await running;
    deepEqual(bed.ends, [undefined]);
  }
});

Deno.test("finish() waits for the write queue no longer than it is told", async () => {
  const bed = new Bed();
  const running = bed.connection.run();
  bed.conn.sink.hold();
  bed.send(10);
  const finished = bed.connection.finish(20);
  await bed.timers.pass(19);
  equal(bed.connection.closed, false);
  await bed.timers.pass(1);
  await finished;
  await running;
  deepEqual(bed.conn.called, ["close"]);
  bed.conn.sink.resume();
});

Deno.test("finish() drops what still comes, however much and whatever it is", async () => {
  const bed = new Bed({ limits: { connectionQueueBytes: 100, messageBytes: 100 } }).deliver();
  bed.call(1);
  const running = bed.connection.run();
  bed.conn.feed(frameBytes({ data: new Uint8Array(100) }));
  await settle();
  const finished = bed.connection.finish();
  bed.conn.feed(frameBytes({ data: new Uint8Array(100) }));
  bed.conn.feed(frameBytes({ data: new Uint8Array(200) }));
  bed.conn.feed(frameBytes({}).subarray(0, 3));
  bed.conn.end();
  await finished;
  await running;
  equal(bed.frames.length, 1);
  deepEqual(bed.tooLong, []);
  deepEqual(bed.ends, [undefined]);
});

Deno.test("finish() takes no error of the peer for a failure", async () => {
  const bed = new Bed();
  const running = bed.connection.run();
  const finished = bed.connection.finish();
  bed.conn.fail(new Deno.errors.ConnectionReset("reset"));
  await finished;
  await running;
  deepEqual(bed.ends, [undefined]);
});

Deno.test("finish() waits no longer for the write queue when reading fails", async () => {
  const bed = new Bed();
  const running = bed.connection.run();
  bed.conn.sink.hold();
  bed.send(10);
  const finished = bed.connection.finish();
  bed.conn.fail(new Deno.errors.ConnectionReset("reset"));
  await finished;
  await running;
  deepEqual(bed.ends, [undefined]);
  bed.conn.sink.resume();
});

Deno.test("finish() closes at once when the half-close fails", async () => {
  const bed = new Bed();
  const running = bed.connection.run();
  bed.conn.halfCloseError = new Deno.errors.NotConnected("gone");
  await bed.connection.finish();
  await running;
  deepEqual(bed.conn.called, ["closeWrite", "close"]);
  deepEqual(bed.ends, [undefined]);
});

Deno.test("finish() closes at once a socket that cannot be half-closed", async () => {
  const bed = new Bed();
  Object.assign(bed.conn, { closeWrite: undefined });
  const running = bed.connection.run();
  await bed.connection.finish();
  await running;
  deepEqual(bed.conn.called, ["close"]);
});

Deno.test("finish() closes at once when the peer has half-closed", async () => {
  const bed = new Bed();
  const { promise, resolve } = Promise.withResolvers<Status>();
  bed.onEndOfInput = () => promise;
  const running = bed.connection.run();
  bed.conn.end();
  await settle();
  await bed.connection.finish();
  deepEqual(bed.conn.called, ["close"]);
  resolve(OVER);
  await running;
  deepEqual(bed.ends, [undefined]);
});

Deno.test("finish() closes at once when a write has failed", async () => {
  const { bed } = await deaf();
  const running = bed.connection.run();
  await bed.connection.finish();
  await running;
  deepEqual(bed.conn.called, ["close"]);
  equal(bed.timers.running, 0);
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
