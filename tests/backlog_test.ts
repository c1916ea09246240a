// What waits on all streams of a connection, and when the connection may read on.

import { deepEqual, equal, ok } from "node:assert/strict";
import { Backlog, type Waiting } from "../engine/backlog.ts";
import { HeldBytes, SHARE } from "../engine/held_bytes.ts";
import { resolveLimits } from "../limits.ts";
import { isSettled } from "./stand_ins.ts";

const LIMIT = 1600;
const AHEAD = 100; // a sixteenth of it
const LAST_BYTES = 8 << 20;

/** A stream's messages, in numbers. */
class Queue implements Waiting {
  queuedBytes = 0;
  taken = false;
  kept = 0;
  readonly #backlog: Backlog;

  constructor(backlog: Backlog, bytes = 0) {
    this.#backlog = backlog;
    if (bytes > 0) this.change(bytes);
  }

  keep(): void {
    this.kept++;
  }

  change(bytes: number): void {
    this.queuedBytes += bytes;
    if (bytes < 0) this.taken = true;
    this.#backlog.change(this, bytes);
  }
}

function backlogOf(streamQueueBytes = 1000, connectionQueueBytes = LIMIT): Backlog {
  return new Backlog(resolveLimits({ streamQueueBytes, connectionQueueBytes }));
}

Deno.test("bytes is what waits on all streams", () => {
  const backlog = backlogOf();
  equal(backlog.bytes, 0);
  const one = new Queue(backlog, 10);
  const other = new Queue(backlog, 5);
  equal(backlog.bytes, 15);
  one.change(-10);
  other.change(7);
  equal(backlog.bytes, 12);
});

Deno.test("what waits is held by the server, and little may wait while that has no room", () => {
  const whole = new HeldBytes(SHARE);
  const held = new HeldBytes(1, whole);
  const limits = resolveLimits({ connectionQueueBytes: 3 * SHARE });
  const backlog = new Backlog(limits, held);
  const queue = new Queue(backlog, SHARE - 1);
  deepEqual([held.bytes, whole.bytes, backlog.full], [0, SHARE - 1, false]);
  whole.change(1);
  equal(backlog.full, false);
  queue.change(1);
  equal(backlog.full, true);
  whole.change(-2);
  equal(backlog.full, false);
  queue.change(-SHARE);
  deepEqual([held.bytes, whole.bytes], [0, -1]);
  const small = new Backlog(resolveLimits({ connectionQueueBytes: 10 }), held);
  whole.change(2 * SHARE);
  new Queue(small, 10);
  equal(small.full, true);
});

Deno.test("full is true from the limit on", () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, LIMIT - 1);
  equal(backlog.full, false);
  queue.change(1);
  equal(backlog.full, true);
  queue.change(1);
  equal(backlog.full, true);
  queue.change(-2);
  equal(backlog.full, false);
});

Deno.test("room() settles at once below the limit, else when enough was taken", async () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog);
  const room = backlog.room();
  ok(room instanceof Promise);
  await room;
  queue.change(LIMIT + 10);
  const rooms = Promise.race([backlog.room(), backlog.room()]);
  equal(await isSettled(rooms), false);
  queue.change(-10);
  equal(await isSettled(rooms), false);
  const all = Promise.all([backlog.room(), rooms]);
  queue.change(-1);
  equal(await isSettled(all), true);
});

Deno.test("room() is settled by what is taken, not by what comes", async () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, LIMIT);
  const room = backlog.room();
  queue.change(1);
  new Queue(backlog, 1);
  equal(await isSettled(room), false);
});

Deno.test("release() lets the connection read on once, whatever waits", async () => {
  const backlog = backlogOf();
  new Queue(backlog, LIMIT);
  const room = backlog.room();
  backlog.release();
  await room;
  equal(backlog.full, true);
  equal(await isSettled(backlog.room()), false);
});

Deno.test("readToEnd() lets as much more come as a socket can hold, and no more", async () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, LIMIT);
  const room = backlog.room();
  backlog.readToEnd();
  await room;
  equal(backlog.full, false);
  queue.change(LAST_BYTES - 1);
  equal(backlog.full, false);
  await backlog.room();
  queue.change(1);
  equal(backlog.full, true);
  equal(backlog.readsAhead, false);
  backlog.readToEnd();
  equal(backlog.full, true);
});

Deno.test("keep() tells each stream once of what has come since the last time", () => {
  const backlog = backlogOf();
  const one = new Queue(backlog, 10);
  const other = new Queue(backlog, 10);
  one.change(5);
  backlog.keep();
  deepEqual([one.kept, other.kept], [1, 1]);
  backlog.keep();
  deepEqual([one.kept, other.kept], [1, 1]);
  one.change(-5);
  backlog.keep();
  deepEqual([one.kept, other.kept], [1, 1]);
  other.change(1);
  backlog.keep();
  deepEqual([one.kept, other.kept], [1, 2]);
});

Deno.test("keep() does not tell a stream of which all was taken", () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, 10);
  queue.change(-10);
  backlog.keep();
  equal(queue.kept, 0);
});

Deno.test("idle() finds the streams with messages of which none was taken, the longest first", () => {
  const backlog = backlogOf();
  const short = new Queue(backlog, 10);
  const long = new Queue(backlog, 30);
  const middle = new Queue(backlog, 20);
  const busy = new Queue(backlog, 100);
  const empty = new Queue(backlog, 40);
  new Queue(backlog);
  busy.change(-1);
  empty.change(-40);
  deepEqual(backlog.idle(), [long, middle, short]);
});

Deno.test("idle() counts from the last time it was asked", () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, 10);
  queue.change(-1);
  deepEqual(backlog.idle(), []);
  equal(queue.taken, false);
  deepEqual(backlog.idle(), [queue]);
  queue.change(1);
  deepEqual(backlog.idle(), [queue]);
});

Deno.test("idle() forgets a stream when its last message is taken, and finds it again", () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, 10);
  queue.change(-10);
  queue.taken = false;
  deepEqual(backlog.idle(), []);
  queue.change(10);
  deepEqual(backlog.idle(), [queue]);
});

Deno.test("readAhead() lets a sixteenth of the limit more come", async () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, LIMIT + 7);
  equal(backlog.readsAhead, false);
  const room = backlog.room();
  equal(backlog.readAhead(), true);
  await room;
  equal(backlog.readsAhead, true);
  equal(backlog.full, false);
  queue.change(AHEAD - 1);
  equal(backlog.full, false);
  queue.change(1);
  equal(backlog.full, true);
  equal(backlog.readAhead(), true);
  equal(backlog.full, false);
});

Deno.test("readAhead() lets at least a byte more come", () => {
  const backlog = backlogOf(1, 1);
  const queue = new Queue(backlog, 1);
  equal(backlog.readAhead(), true);
  equal(backlog.full, false);
  equal(backlog.readsAhead, true);
  queue.change(-1);
  equal(backlog.readsAhead, false);
});

Deno.test("readAhead() has an end at three quarters over the limit", () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, 1.75 * LIMIT);
  equal(backlog.readAhead(), true);
  equal(backlog.full, false);
  queue.change(AHEAD);
  equal(backlog.full, true);
  equal(backlog.readAhead(), false);
  equal(backlog.full, true);
});

Deno.test("readsAhead ends when less waits than the limit, and then the limit holds again", () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, LIMIT + 1);
  backlog.readAhead();
  queue.change(-1);
  equal(backlog.readsAhead, true);
  equal(backlog.full, false);
  queue.change(-1);
  equal(backlog.readsAhead, false);
  queue.change(1);
  equal(backlog.full, true);
});

Deno.test("worst() names the streams on which much waits", () => {
  const backlog = backlogOf(100);
  const long = new Queue(backlog, 101);
  const just = new Queue(backlog, 100);
  deepEqual([...backlog.worst([long, just])], [long]);
});

Deno.test("worst() names the longest of short queues, until there is room", () => {
  const backlog = backlogOf();
  const idle = [500, 400, 300, 200].map((bytes) => new Queue(backlog, bytes)); // 1400 in all
  const dropped: Queue[] = [];
  for (const queue of backlog.worst(idle)) {
    dropped.push(queue as Queue);
    (queue as Queue).change(-queue.queuedBytes);
  }
  deepEqual(dropped, idle.slice(0, 2));
});

Deno.test("worst() names no short queue when half of the limit waits", () => {
  const backlog = backlogOf();
  const queue = new Queue(backlog, LIMIT / 2);
  deepEqual([...backlog.worst([queue])], []);
  queue.change(1);
  deepEqual([...backlog.worst([queue])], [queue]);
});
