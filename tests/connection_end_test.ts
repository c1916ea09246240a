// How one socket ends, in either role: when it cannot be written, and by finish().

import { deepEqual, equal } from "node:assert/strict";
import type { Limits } from "../limits.ts";
import { Code, OK, type Status } from "../status.ts";
import { frameBytes } from "./scripted_connection.ts";
import { isSettled, settle } from "./stand_ins.ts";
import { Bed, LINGER_MS, OVER } from "./connection_bed.ts";

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
