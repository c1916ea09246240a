// What happens while a connection does not read, because too much waits.

import { deepEqual, equal } from "node:assert/strict";
import { Stall, type StallHost } from "../engine/stall.ts";
import type { Stream } from "../engine/stream.ts";
import { FakeTimers, Host, isSettled, TestStream } from "./stand_ins.ts";

const LIMIT = 16_000;
const STREAM_LIMIT = 4_000;
const STALL_MS = 300;
const PROBE_MS = 1_000;

/** A connection that does not read. */
class Paused extends Host implements StallHost {
  /** How often the peer was told that this side is there. */
  told = 0;
  readonly streams = new Map<number, Stream>();
  readonly timers = new FakeTimers();
  readonly stall: Stall;
  closed = false;
  peer: boolean | undefined = true;
  asked = 0;

  constructor(accepts: boolean, stallTimeoutMs = STALL_MS, connectionQueueBytes = LIMIT) {
    super({ connectionQueueBytes, streamQueueBytes: STREAM_LIMIT, stallTimeoutMs });
    this.stall = new Stall(this, this.timers, accepts);
  }

  stillHere(): void {
    this.told++;
  }

  peerReads(): Promise<boolean | undefined> {
    this.asked++;
    return Promise.resolve(this.peer);
  }

  /** Adds a stream on which so many bytes wait, in messages of 1,000. */
  stream(id: number, bytes = 0): TestStream {
    const stream = new TestStream("client");
    stream.attach(this);
    stream.open(id);
    this.streams.set(id, stream);
    for (; bytes > 0; bytes -= 1_000) stream.push(new Uint8Array(1_000 - 64));
    return stream;
  }
}

const client = () => new Paused(false);
const server = () => new Paused(true);

Deno.test("pause() ends when there is room, and leaves no timer", async () => {
  const paused = client();
  const stream = paused.stream(1, LIMIT);
  const pause = paused.stall.pause();
  equal(await isSettled(pause), false);
  equal(paused.timers.running, 2);
  stream.take();
  await pause;
  equal(paused.timers.running, 0);
  equal(stream.overruns, 0);
});

Deno.test("pause() drops a stream that nobody reads while another one waits", async () => {
  const paused = client();
  const unread = paused.stream(1, LIMIT);
  const other = paused.stream(3);
  void other.receive();
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS - 1);
  equal(unread.overruns, 0);
  await paused.timers.pass(1);
  equal(unread.overruns, 1);
  equal(other.overruns, 0);
  await pause;
});

Deno.test("pause() counts what is taken from its start on", async () => {
  const paused = client();
  const unread = paused.stream(1, LIMIT + 1_000);
  unread.take();
  void paused.stream(3).receive();
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS);
  equal(unread.overruns, 1);
  await pause;
});

Deno.test("pause() drops no stream that is read, however slowly", async () => {
  const paused = client();
  const slow = paused.stream(1, LIMIT + 10_000);
  void paused.stream(3).receive();
  const pause = paused.stall.pause();
  for (let taken = 0; taken < 10; taken++) {
    await paused.timers.pass(STALL_MS - 1);
    slow.take();
    await paused.timers.pass(1);
  }
  equal(slow.overruns, 0);
  equal(await isSettled(pause), false);
  slow.take();
  await pause;
});

Deno.test("pause() drops no stream of a client while nobody else waits", async () => {
  const paused = client();
  const unread = paused.stream(1, LIMIT);
  const pause = paused.stall.pause();
  await paused.timers.pass(100 * STALL_MS);
  equal(unread.overruns, 0);
  equal(paused.backlog.readsAhead, false);
  equal(await isSettled(pause), false);
  unread.ignore();
  await pause;
});

Deno.test("pause() never drops a stream if the stall timeout is zero", async () => {
  const paused = new Paused(true, 0);
  const unread = paused.stream(1, LIMIT);
  void paused.stream(3).receive();
  const pause = paused.stall.pause();
  equal(paused.timers.running, 1);
  await paused.timers.pass(1_000_000);
  equal(unread.overruns, 0);
  equal(paused.backlog.readsAhead, false);
  unread.ignore();
  await pause;
});

Deno.test("pause() drops streams when the peer does not read, which may wait to be read", async () => {
  const paused = client();
  const unread = paused.stream(1, LIMIT);
  paused.congest();
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS);
  equal(unread.overruns, 1);
  await pause;
  paused.sink.resume();
});

Deno.test("pause() drops all long queues, and of short ones no more than makes room", async () => {
  const paused = client();
  const unread = [5_000, 4_500, 4_000, 3_000].map((bytes, at) => paused.stream(2 * at + 1, bytes));
  void paused.stream(99).receive();
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS);
  deepEqual(unread.map(({ overruns }) => overruns), [1, 1, 0, 0]);
  await pause;
});

Deno.test("pause() lets a server read ahead, to see who is held up", async () => {
  const paused = server();
  const unread = paused.stream(1, LIMIT);
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS - 1);
  equal(paused.backlog.readsAhead, false);
  await paused.timers.pass(1);
  await pause;
  equal(paused.backlog.readsAhead, true);
  equal(unread.overruns, 0);
  equal(paused.timers.running, 0);
});

Deno.test("pause() lets a server read ahead only while a stream takes nothing", async () => {
  const paused = server();
  const slow = paused.stream(1, LIMIT + 2_000);
  const pause = paused.stall.pause();
  slow.take();
  await paused.timers.pass(STALL_MS);
  equal(paused.backlog.readsAhead, false);
  equal(await isSettled(pause), false);
  slow.ignore();
  await pause;
});

Deno.test("pause() drops a server's stream at once when another one is known to wait", async () => {
  const paused = server();
  const unread = paused.stream(1, LIMIT);
  void paused.stream(3).receive();
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS);
  equal(unread.overruns, 1);
  equal(paused.backlog.readsAhead, false);
  await pause;
});

Deno.test("pause() drops a server's stream when too much waits to read ahead", async () => {
  const paused = server();
  const unread = paused.stream(1, 1.75 * LIMIT + 1_000);
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS);
  equal(unread.overruns, 1);
  await pause;
});

Deno.test("pause() asks every second whether the peer is there", async () => {
  const paused = client();
  const stream = paused.stream(1, LIMIT);
  const pause = paused.stall.pause();
  await paused.timers.pass(PROBE_MS - 1);
  equal(paused.asked, 0);
  await paused.timers.pass(1);
  equal(paused.asked, 1);
  paused.peer = undefined;
  await paused.timers.pass(2 * PROBE_MS);
  equal(paused.asked, 3);
  equal(await isSettled(pause), false);
  stream.take();
  await pause;
});

Deno.test("pause() ends when the peer is gone, and what it has sent is read to its end", async () => {
  const paused = client();
  const stream = paused.stream(1, LIMIT);
  paused.peer = false;
  const pause = paused.stall.pause();
  await paused.timers.pass(PROBE_MS);
  await pause;
  equal(paused.backlog.full, false);
  equal(paused.timers.running, 0);
  equal(stream.overruns, 0);
});

/** A server that reads ahead, because nobody reads stream 1. */
async function readingAhead(bytes = LIMIT) {
  const paused = server();
  const unread = paused.stream(1, bytes);
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS);
  await pause;
  equal(paused.backlog.readsAhead, true);
  return { paused, unread };
}

Deno.test("frame() drops a stream that holds up a frame of another call", async () => {
  const { paused, unread } = await readingAhead();
  paused.stall.frame(3);
  equal(unread.overruns, 1);
});

Deno.test("frame() drops no stream for its own frames", async () => {
  const { paused, unread } = await readingAhead();
  paused.stall.frame(1);
  equal(unread.overruns, 0);
  paused.stall.frame(3);
  equal(unread.overruns, 1);
});

Deno.test("frame() drops no stream for the frames of another one that nobody reads, either", async () => {
  const paused = server();
  const unread = [paused.stream(1, LIMIT), paused.stream(3, 1_000)];
  const pause = paused.stall.pause();
  await paused.timers.pass(STALL_MS);
  await pause;
  paused.stall.frame(3);
  paused.stall.frame(1);
  deepEqual(unread.map(({ overruns }) => overruns), [0, 0]);
});

Deno.test("frame() drops no stream of which something was taken meanwhile", async () => {
  const { paused, unread } = await readingAhead(LIMIT + 5_000);
  unread.take();
  equal(paused.backlog.readsAhead, true);
  paused.stall.frame(3);
  equal(unread.overruns, 0);
});

Deno.test("frame() drops no stream of which something was taken before another pause", async () => {
  const { paused, unread } = await readingAhead(LIMIT + 5_000);
  unread.take();
  unread.push(new Uint8Array(3_000));
  equal(paused.backlog.full, true);
  const pause = paused.stall.pause();
  paused.backlog.readAhead();
  await pause;
  paused.stall.frame(3);
  equal(unread.overruns, 0);
});

Deno.test("frame() drops a stream of which nothing was taken before another pause", async () => {
  const { paused, unread } = await readingAhead();
  unread.push(new Uint8Array(3_000));
  equal(paused.backlog.full, true);
  const pause = paused.stall.pause();
  paused.backlog.readAhead();
  await pause;
  paused.stall.frame(3);
  equal(unread.overruns, 1);
});

Deno.test("frame() drops nothing once less waits than the limit", async () => {
  const { paused, unread } = await readingAhead();
  unread.take();
  unread.taken = false;
  equal(paused.backlog.readsAhead, false);
  paused.stall.frame(3);
  unread.push(new Uint8Array(2_000));
  paused.backlog.readAhead();
  paused.stall.frame(3);
  equal(unread.overruns, 0);
});

Deno.test("frame() drops a stream once", async () => {
  const paused = server();
  const busy = paused.stream(1, LIMIT + 5_000);
  const unread = paused.stream(3, 1_000);
  const pause = paused.stall.pause();
  busy.take();
  await paused.timers.pass(STALL_MS);
  await pause;
  paused.stall.frame(5);
  equal(paused.backlog.readsAhead, true);
  paused.stall.frame(5);
  deepEqual([busy.overruns, unread.overruns], [0, 1]);
});

Deno.test("frame() drops nothing while nobody has found a stream that is not read", () => {
  const paused = server();
  const unread = paused.stream(1, LIMIT);
  paused.backlog.readAhead();
  paused.stall.frame(3);
  equal(unread.overruns, 0);
});

Deno.test("pause() ends when the server has room again, for which little may wait until then", async () => {
  const paused = new Paused(true, STALL_MS, 20 * LIMIT);
  const { whole } = paused.held;
  paused.stream(1, 5 * LIMIT);
  equal(paused.backlog.full, false);
  whole!.change(1 << 30);
  equal(paused.backlog.full, true);
  const pause = paused.stall.pause();
  equal(await isSettled(pause), false);
  whole!.change(-(1 << 30));
  await pause;
  equal(paused.timers.running, 0);
  equal(whole!.awaited, false);
});

Deno.test("pause() ends with the connection", async () => {
  const paused = server();
  paused.stream(1, LIMIT);
  const pause = paused.stall.pause();
  paused.closed = true;
  paused.backlog.release();
  await pause;
});
