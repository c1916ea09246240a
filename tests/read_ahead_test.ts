// The reads of a connection, some of them ahead of time, by a connection that the test scripts.

import { deepEqual, equal, rejects } from "node:assert/strict";
import { HeldBytes } from "../engine/held_bytes.ts";
import { ReadAhead } from "../engine/read_ahead.ts";
import { encodeFrame, FrameDecoder, FrameType } from "../framing.ts";
import { ScriptedConnection } from "./scripted_connection.ts";
import { isSettled, settle } from "./stand_ins.ts";

const SINK = { frame() {}, oversized() {} };

function cancel(streamId: number, data = new Uint8Array(0)): Uint8Array {
  return encodeFrame({ streamId, type: FrameType.Cancel, flags: 0, data });
}

function data(length: number): Uint8Array {
  return encodeFrame({ streamId: 1, type: FrameType.Data, flags: 0, data: new Uint8Array(length) });
}

class Bed {
  readonly conn = new ScriptedConnection();
  readonly decoder = new FrameDecoder();
  readonly whole = new HeldBytes(1 << 20);
  readonly reads = new ReadAhead(this.conn, this.decoder, new HeldBytes(1 << 20, this.whole), {
    heard: () => void this.heard++,
    cancelled: (streamId, data) => void this.cancelled.push([streamId, data.length]),
  });
  readonly cancelled: [streamId: number, length: number][] = [];
  heard = 0;

  /** The decoder has taken these bytes already. */
  took(bytes: Uint8Array): void {
    const space = this.decoder.space();
    space.set(bytes);
    this.decoder.push(bytes.length, SINK);
  }

  /** Reads all that is there, up to a number of bytes. */
  async read(most: number, space = 1 << 16): Promise<number[]> {
    const found: number[] = [];
    while (found.length < most) {
      const buffer = new Uint8Array(space);
      const length = await this.reads.read(buffer);
      if (length === null) break;
      found.push(...buffer.subarray(0, length));
    }
    return found;
  }
}

Deno.test("read() reads from the connection when nothing was read ahead", async () => {
  const bed = new Bed();
  bed.conn.feed(Uint8Array.of(1, 2));
  deepEqual(await bed.read(2), [1, 2]);
  deepEqual(bed.conn.reads, [1 << 16]);
  equal(bed.heard, 0);
});

Deno.test("during() reads ahead until what is waited for has settled, and no bytes are lost", async () => {
  const bed = new Bed();
  const { promise, resolve } = Promise.withResolvers<void>();
  const during = bed.reads.during(promise);
  bed.conn.feed(Uint8Array.of(1, 2), Uint8Array.of(3));
  await settle();
  equal(bed.heard, 2);
  equal(bed.whole.bytes, 3);
  equal(bed.reads.reading, true);
  resolve();
  await during;
  // The read that is under way is the next one.
  bed.conn.feed(Uint8Array.of(4), Uint8Array.of(5));
  deepEqual(await bed.read(5, 2), [1, 2, 3, 4, 5]);
  equal(bed.whole.bytes, 0);
  equal(bed.reads.reading, false);
});

Deno.test("during() reads no more than 64 KiB ahead, and 16 KiB while the server has no room", async () => {
  for (const full of [false, true]) {
    const bed = new Bed();
    if (full) bed.whole.change(1 << 20);
    const before = bed.whole.bytes;
    const { promise, resolve } = Promise.withResolvers<void>();
    const during = bed.reads.during(promise);
    for (let i = 0; i < 40; i++) bed.conn.feed(new Uint8Array(4_096));
    await settle();
    equal(bed.whole.bytes - before, full ? 1 << 14 : 1 << 16);
    equal(bed.reads.reading, false);
    equal(await isSettled(during), false);
    resolve();
    await during;
    bed.reads.drop();
    equal(bed.whole.bytes, before);
  }
});

for (const size of [1, 3, 4_096]) {
  Deno.test(`cancels are found ahead of time, in pieces of ${size} bytes, wherever the decoder stands`, async () => {
    const frames = [data(0), cancel(3), data(50), cancel(5, new Uint8Array(4)), data(2), cancel(7)];
    const all = new Uint8Array(frames.flatMap((frame) => [...frame]));
    for (const taken of [0, 1, 9, 10, 25, 60]) {
      const bed = new Bed();
      bed.took(all.subarray(0, taken));
      const { promise, resolve } = Promise.withResolvers<void>();
      const during = bed.reads.during(promise);
      for (let at = taken; at < all.length; at += size) bed.conn.feed(all.subarray(at, at + size));
      await settle();
      await settle();
      resolve();
      await during;
      const passed = taken >= 20 ? 1 : 0; // the decoder has had the first
      deepEqual(bed.cancelled, [[3, 0], [5, 4], [7, 0]].slice(passed), `${taken}`);
    }
  });
}

Deno.test("cancels behind a long frame are found, and what is in it is not", async () => {
  const bed = new Bed();
  const long = encodeFrame({
    streamId: 1,
    type: FrameType.Data,
    flags: 0,
    data: new Uint8Array(20_000).fill(0).map((_, at) => cancel(9)[at % 10]!),
  });
  bed.took(long.subarray(0, 900));
  const { promise, resolve } = Promise.withResolvers<void>();
  const during = bed.reads.during(promise);
  bed.conn.feed(long.subarray(900), cancel(3));
  await settle();
  resolve();
  await during;
  deepEqual(bed.cancelled, [[3, 0]]);
});

Deno.test("a cancel of much data is left for its turn", async () => {
  const bed = new Bed();
  const { promise, resolve } = Promise.withResolvers<void>();
  const during = bed.reads.during(promise);
  bed.conn.feed(cancel(1, new Uint8Array(1_025)), cancel(3, new Uint8Array(1_024)));
  await settle();
  resolve();
  await during;
  deepEqual(bed.cancelled, [[3, 1_024]]);
});

Deno.test("bytes that are no frames are left for their turn", async () => {
  const bed = new Bed();
  const { promise, resolve } = Promise.withResolvers<void>();
  const during = bed.reads.during(promise);
  bed.conn.feed(new Uint8Array(5_000).fill(255));
  await settle();
  resolve();
  await during;
  deepEqual(bed.cancelled, []);
  equal((await bed.read(5_000)).length, 5_000);
});

Deno.test("each wait goes on where the last one has stopped", async () => {
  const bed = new Bed();
  for (const streamId of [1, 3]) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const during = bed.reads.during(promise);
    bed.conn.feed(cancel(streamId));
    await settle();
    resolve();
    await during;
  }
  deepEqual(bed.cancelled, [[1, 0], [3, 0]]);
  equal((await bed.read(20)).length, 20);
});

Deno.test("the end, and an error, come after what came before them", async () => {
  for (const error of [undefined, new Deno.errors.ConnectionReset("reset")]) {
    const bed = new Bed();
    const { promise, resolve } = Promise.withResolvers<void>();
    const during = bed.reads.during(promise);
    bed.conn.feed(Uint8Array.of(1, 2, 3));
    if (error) bed.conn.fail(error);
    else bed.conn.end();
    await settle();
    resolve();
    await during;
    deepEqual(await bed.read(3), [1, 2, 3]);
    if (error) await rejects(bed.read(1), error);
    else deepEqual(await bed.read(1), []);
    await bed.reads.during(Promise.resolve()); // nothing is read after that
  }
});

Deno.test("a read ahead that fails after the wait is told when somebody reads", async () => {
  const bed = new Bed();
  const { promise, resolve } = Promise.withResolvers<void>();
  const during = bed.reads.during(promise);
  await settle();
  resolve();
  await during;
  bed.conn.return(0);
  await rejects(bed.read(1), /reports 0 bytes read/);
});
