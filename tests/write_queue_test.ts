// What leaves in which write.

import { connect, createConnectionPair, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { checkCount, WriteQueue } from "../engine/write_queue.ts";
import { testHandlers } from "./fixture.ts";
import { isSettled, settle } from "./stand_ins.ts";

/** Takes bytes as a socket does that has room, and counts the writes. */
class Sink {
  readonly writes: number[][] = [];

  write(bytes: Uint8Array): Promise<number> {
    this.writes.push([...bytes]);
    return Promise.resolve(bytes.length);
  }
}

/** Writes as much as the test says, when it says so. */
class SlowSink {
  readonly writes: Uint8Array[] = [];
  #answer: PromiseWithResolvers<number> | undefined;

  write(bytes: Uint8Array): Promise<number> {
    this.writes.push(bytes);
    this.#answer = Promise.withResolvers();
    return this.#answer.promise;
  }

  /** Ends the write that is under way, which has written so much or all; then lets others run. */
  async done(length = this.writes.at(-1)!.length): Promise<void> {
    this.#answer!.resolve(length);
    await settle();
  }

  async fail(cause: unknown): Promise<void> {
    this.#answer!.reject(cause);
    await settle();
  }
}

/** A queue on a slow sink, and the failures that it told of. */
function slowQueue(): { sink: SlowSink; queue: WriteQueue; failures: unknown[] } {
  const failures: unknown[] = [];
  const sink = new SlowSink();
  return { sink, queue: new WriteQueue(sink, (cause) => void failures.push(cause)), failures };
}

const EARLY = 1 << 12;
const HIGH_WATER = 1 << 18;

function add(queue: WriteQueue, byte: number, more?: boolean): void {
  queue.writer.bytes(new Uint8Array([byte]));
  queue.send(1, more);
}

function addMany(queue: WriteQueue, length: number, more?: boolean): void {
  queue.writer.bytes(new Uint8Array(length));
  queue.send(length, more);
}

function queueTo(sink: Sink): WriteQueue {
  return new WriteQueue(sink, (cause) => {
    throw cause;
  });
}

Deno.test("what is added in one turn leaves in one write", async () => {
  const sink = new Sink();
  const queue = queueTo(sink);
  for (const byte of [1, 2, 3]) add(queue, byte);
  equal(sink.writes.length, 0);
  await queue.flushed();
  add(queue, 4);
  await queue.flushed();
  deepEqual(sink.writes, [[1, 2, 3], [4]]);
});

Deno.test("messages of a stream wait for those that follow, and for nothing else", async () => {
  const sink = new Sink();
  const queue = queueTo(sink);
  for (let byte = 0; byte < 100; byte++) {
    add(queue, byte, true);
    for (let turns = 0; turns < 5; turns++) await undefined;
  }
  await queue.flushed();
  deepEqual(sink.writes, [Array.from({ length: 100 }, (_, byte) => byte)]);
});

Deno.test("what ends a call takes the messages that wait with it at once", async () => {
  const sink = new Sink();
  const queue = queueTo(sink);
  add(queue, 1, true);
  await undefined;
  add(queue, 2);
  await undefined;
  await undefined;
  deepEqual(sink.writes, [[1, 2]]);
});

Deno.test("messages of a stream leave after a short pause, though nothing else comes", async () => {
  const sink = new Sink();
  const queue = queueTo(sink);
  add(queue, 1, true);
  for (let turns = 0; turns < 7; turns++) await undefined;
  equal(sink.writes.length, 0);
  for (let turns = 0; turns < 3; turns++) await undefined;
  deepEqual(sink.writes, [[1]]);
});

Deno.test("after a message that was waited with, the next one waits again", async () => {
  const sink = new Sink();
  const queue = queueTo(sink);
  add(queue, 1);
  await queue.flushed();
  await settle();
  add(queue, 2, true);
  for (let turns = 0; turns < 5; turns++) await undefined;
  add(queue, 3, true);
  await queue.flushed();
  deepEqual(sink.writes, [[1], [2, 3]]);
});

Deno.test("what is much leaves at once, and not twice", async () => {
  for (const more of [true, false]) {
    const { sink, queue } = slowQueue();
    addMany(queue, EARLY - 1, more);
    equal(sink.writes.length, 0);
    addMany(queue, 1, more);
    equal(sink.writes.length, 1);
    equal(sink.writes[0]!.length, EARLY);
    await settle();
    await sink.done();
    equal(sink.writes.length, 1);
    await queue.flushed();
  }
});

Deno.test("what comes during a write leaves in the next, also when nobody waits for it", async () => {
  const { sink, queue } = slowQueue();
  add(queue, 1);
  await settle();
  add(queue, 2);
  add(queue, 3);
  await settle();
  equal(sink.writes.length, 1);
  await sink.done();
  deepEqual(sink.writes.map((bytes) => [...bytes]), [[1], [2, 3]]);
  add(queue, 4, true);
  await sink.done();
  deepEqual([...sink.writes[2]!], [4]);
  addMany(queue, EARLY, true);
  await sink.done();
  equal(sink.writes[3]!.length, EARLY);
  await sink.done();
  equal(queue.idle, true);
});

Deno.test("messages of a stream that came during a write wait for others after it, if they are few", async () => {
  const { sink, queue } = slowQueue();
  addMany(queue, EARLY);
  add(queue, 1, true);
  sink.done();
  for (let turns = 0; turns < 6; turns++) await undefined;
  add(queue, 2, true);
  equal(sink.writes.length, 1);
  await settle();
  deepEqual([...sink.writes[1]!], [1, 2]);
  await sink.done();

  addMany(queue, EARLY);
  addMany(queue, EARLY, true);
  sink.done();
  for (let turns = 0; turns < 6; turns++) await undefined;
  equal(sink.writes.length, 4);
  await sink.done();
});

Deno.test("a sink that takes only a part gets the rest, in order", async () => {
  const { sink, queue } = slowQueue();
  queue.writer.bytes(Uint8Array.of(1, 2, 3, 4, 5));
  queue.send(5);
  await settle();
  for (const part of [2, 1]) await sink.done(part);
  deepEqual(sink.writes.map((bytes) => [...bytes]), [[1, 2, 3, 4, 5], [3, 4, 5], [4, 5]]);
  equal(queue.idle, false);
  await sink.done(2);
  equal(queue.idle, true);
  equal(queue.total, 5);
});

Deno.test("buffers are used again only when all of their bytes are written", async () => {
  const { sink, queue } = slowQueue();
  add(queue, 1);
  await settle();
  add(queue, 2);
  await settle();
  const [first] = sink.writes;
  deepEqual([...first!], [1]);
  await sink.done();
  add(queue, 3); // into the first one's memory
  deepEqual([...sink.writes[1]!], [2]);
  await sink.done();
  equal(sink.writes[2]!.buffer, first!.buffer);
  await sink.done();
});

Deno.test("a queue is congested from 256 KiB on, until less waits for the socket", async () => {
  const { sink, queue } = slowQueue();
  const called: string[] = [];
  addMany(queue, HIGH_WATER - 1);
  equal(queue.congested, false);
  queue.whenWritable(() => called.push("early"));
  deepEqual(called, ["early"]);
  add(queue, 1);
  equal(queue.congested, true);
  for (const name of ["a", "b", "c"]) queue.whenWritable(() => called.push(name));
  deepEqual(called, ["early"]);
  await sink.done(1);
  equal(queue.congested, false);
  deepEqual(called, ["early", "a", "b", "c"]);
  await sink.done();
  await sink.done();
  equal(called.length, 4);
});

Deno.test("a write that leaves the queue congested calls nobody back", async () => {
  const { sink, queue } = slowQueue();
  let calls = 0;
  addMany(queue, HIGH_WATER + 10);
  queue.whenWritable(() => calls++);
  await sink.done(10);
  equal(calls, 0);
  await sink.done(1);
  equal(calls, 1);
  queue.close();
});

Deno.test("cancelWritable() takes a callback back", async () => {
  const { sink, queue } = slowQueue();
  const called: string[] = [];
  const [a, b] = [() => called.push("a"), () => called.push("b")];
  addMany(queue, HIGH_WATER);
  queue.whenWritable(a);
  queue.whenWritable(b);
  queue.cancelWritable(a);
  await sink.done(1);
  deepEqual(called, ["b"]);
  queue.close();
  deepEqual(called, ["b"]);
});

Deno.test("who is called back may add so much that others wait again", async () => {
  const { sink, queue } = slowQueue();
  let calls = 0;
  const again = () => {
    if (queue.over) return;
    calls++;
    addMany(queue, HIGH_WATER);
    queue.whenWritable(again);
  };
  addMany(queue, HIGH_WATER);
  queue.whenWritable(again);
  await sink.done(1);
  equal(calls, 1);
  await sink.done();
  equal(calls, 1);
  await sink.done(1);
  equal(calls, 2);
  queue.close();
});

Deno.test("flushed() settles when all is written, and at once if nothing waits", async () => {
  const { sink, queue } = slowQueue();
  await queue.flushed().then(() => {});
  add(queue, 1);
  const [first, second] = [queue.flushed(), queue.flushed()];
  await settle();
  add(queue, 2);
  await sink.done();
  equal(await isSettled(first), false);
  await sink.done();
  await first;
  await second;
  add(queue, 3);
  const third = queue.flushed();
  equal(await isSettled(third), false);
  await sink.done();
  await third;
});

Deno.test("flushed() waits for messages that wait for others", async () => {
  const { sink, queue } = slowQueue();
  addMany(queue, EARLY);
  add(queue, 1, true);
  const flushed = queue.flushed();
  sink.done();
  await undefined;
  await undefined;
  let settled = false;
  flushed.then(() => settled = true);
  for (let turns = 0; turns < 4; turns++) await undefined;
  equal(settled, false);
  await settle();
  await sink.done();
  await flushed;
});

Deno.test("a write that fails is told once, ends all waiting but for close(), and nothing is written any more", async () => {
  const { sink, queue, failures } = slowQueue();
  const called: string[] = [];
  addMany(queue, HIGH_WATER);
  queue.whenWritable(() => called.push(`room, after ${failures.length} failures`));
  const flushed = queue.flushed();
  const cause = new Error("broken pipe");
  await sink.fail(cause);
  await flushed;
  deepEqual(failures, [cause]);
  deepEqual(called, ["room, after 1 failures"]);
  deepEqual([queue.over, queue.idle, queue.congested], [true, true, true]);

  add(queue, 1);
  addMany(queue, EARLY);
  await settle();
  equal(sink.writes.length, 1);
  equal(queue.total, HIGH_WATER);
  equal(queue.idle, true);
  equal(queue.writer.take().length, 0);
  await queue.flushed();
  equal(failures.length, 1);

  queue.whenWritable(() => called.push("closed"));
  equal(called.length, 1);
  queue.close();
  deepEqual(called, ["room, after 1 failures", "closed"]);
  queue.whenWritable(() => called.push("after it"));
  equal(called.length, 3);
});

Deno.test("a write that fails drops what came during it", async () => {
  const { sink, queue, failures } = slowQueue();
  add(queue, 1);
  await settle();
  add(queue, 2);
  await sink.fail(new Error("broken pipe"));
  equal(failures.length, 1);
  equal(sink.writes.length, 1);
  equal(queue.writer.take().length, 0);
});

Deno.test("a sink that says that it has written nothing, or no number, has failed", async () => {
  for (const count of [0, -1, NaN, 1.5, "5", undefined]) {
    const { sink, queue, failures } = slowQueue();
    add(queue, 1);
    await settle();
    const { write } = sink;
    sink.write = () => write.call(sink, new Uint8Array(0)).then(() => count as number);
    add(queue, 2);
    await sink.done();
    await sink.done();
    equal(failures.length, 1);
    equal(queue.over, true);
    equal(sink.writes.length, 2);
  }
});

Deno.test("checkCount() takes numbers from one to what was asked for, and refuses the rest", () => {
  for (const count of [1, 5, 8]) checkCount("read", count, 8);
  for (const count of [0, -1, NaN, Infinity, 0.5, 9, undefined, null, "5", 5n]) {
    throws(() => checkCount("read", count as number, 8), {
      name: "TypeError",
      message: `the connection reports ${count} bytes read, not a number from 1 to 8`,
    });
  }
});

for (const count of [null, 8]) {
  Deno.test(`a connection that says it has written ${count} of three bytes is given up`, async () => {
    const failures: unknown[] = [];
    const queue = new WriteQueue(
      { write: () => Promise.resolve(count as number) },
      (cause) => void failures.push(cause),
    );
    queue.writer.bytes(new Uint8Array(3));
    queue.send(3);
    await settle();
    equal(queue.over, true);
    equal(failures.length, 1);
  });
}

Deno.test("close() drops what waits, and calls everybody back", async () => {
  const { sink, queue, failures } = slowQueue();
  let calls = 0;
  addMany(queue, HIGH_WATER);
  queue.whenWritable(() => calls++);
  const flushed = queue.flushed();
  equal(queue.over, false);
  queue.close();
  deepEqual([queue.over, queue.idle, queue.congested], [true, true, false]);
  equal(calls, 1);
  await flushed;
  await sink.done(5); // the write that was under way
  add(queue, 1);
  await settle();
  equal(sink.writes.length, 1);
  equal(queue.idle, true);
  equal(queue.total, HIGH_WATER);
  equal(queue.writer.take().length, 0);
  queue.whenWritable(() => calls++);
  equal(calls, 2);
  queue.close();
  equal(calls, 2);
  deepEqual(failures, []);
});

Deno.test("close() before anything was written writes nothing", async () => {
  const { sink, queue } = slowQueue();
  add(queue, 1);
  queue.close();
  await settle();
  equal(sink.writes.length, 0);
});

Deno.test("close() makes nothing of a write that fails after it", async () => {
  const { sink, queue, failures } = slowQueue();
  add(queue, 1);
  await settle();
  queue.close();
  await sink.fail(new Error("closed"));
  deepEqual(failures, []);
});

Deno.test("a stream of small messages takes few writes, and a pause holds none of them back", async () => {
  const [near, far] = createConnectionPair();
  let writes = 0;
  const counted = {
    read: (buffer: Uint8Array) => far.read(buffer),
    write: (bytes: Uint8Array) => (writes++, far.write(bytes)),
    close: () => far.close(),
  };
  const pause = Promise.withResolvers<void>();
  await using _server = serve({ connection: counted }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      async *count() {
        for (let value = 0n; value < 500n; value++) yield { value };
        await pause.promise;
        yield { value: 500n };
      },
    }));
  await using client = await connect(near);
  let count = 0n;
  for await (const { value } of client.service(TestService).count({})) {
    equal(value, count++);
    if (value === 499n) pause.resolve(); // which nobody would, if they had to wait for more
  }
  equal(count, 501n);
  ok(writes < 20, `${writes} writes`);
});

Deno.test("a long message leaves in one write with its header", async () => {
  const [near, far] = createConnectionPair();
  const writes: number[] = [];
  const counted = {
    read: (buffer: Uint8Array) => near.read(buffer),
    write: (bytes: Uint8Array) => (writes.push(bytes.length), near.write(bytes)),
    close: () => near.close(),
  };
  await using _server = serve(
    { connection: far },
    (router) => router.service(TestService, testHandlers),
  );
  await using client = await connect(counted);
  const payload = new Uint8Array(20_000);
  await client.service(TestService).echo({ payload }, { timeoutMs: 60_000, metadata: { a: "b" } });
  equal(writes.length, 1);
  ok(writes[0]! > payload.length);
});
