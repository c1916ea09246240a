// The messages of one call, until they are taken.

import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import type { Backlog, Waiting } from "../engine/backlog.ts";
import { Inbox } from "../engine/inbox.ts";
import { isSettled } from "./stand_ins.ts";

const OVERHEAD = 64;

/** An inbox that notes what it tells its connection. */
class TestInbox extends Inbox {
  readonly changes: number[] = [];

  constructor() {
    super();
    const change = (queue: Waiting, bytes: number) => {
      equal(queue, this);
      this.changes.push(bytes);
    };
    this.backlog = { change } as Backlog;
  }
}

/** A message of its own. */
function message(...bytes: number[]): Uint8Array {
  return new Uint8Array(bytes);
}

/** Messages that are parts of one read buffer, 1 KiB apart. */
function borrowed(...messages: number[][]): Uint8Array[] {
  const buffer = new Uint8Array(messages.length << 10);
  return messages.map((bytes, index) => {
    buffer.set(bytes, index << 10);
    return buffer.subarray(index << 10, (index << 10) + bytes.length);
  });
}

function filled(...messages: Uint8Array[]): Inbox {
  const inbox = new Inbox();
  for (const message of messages) inbox.push(message);
  return inbox;
}

function takeAll(inbox: Inbox): number[][] {
  const taken: number[][] = [];
  while (inbox.ready) taken.push([...inbox.take()]);
  return taken;
}

Deno.test("a new inbox has nothing, and nobody who waits", () => {
  const inbox = new Inbox();
  equal(inbox.ready, false);
  equal(inbox.waiting, false);
  equal(inbox.taken, false);
  equal(inbox.complete, false);
  equal(inbox.queuedBytes, 0);
});

Deno.test("receive() gives the messages in the order they came", async () => {
  const inbox = filled(message(1), message(), message(2));
  deepEqual(await inbox.receive(), message(1));
  deepEqual(await inbox.receive(), message());
  inbox.push(message(3));
  deepEqual(await inbox.receive(), message(2));
  deepEqual(await inbox.receive(), message(3));
  equal(inbox.ready, false);
});

Deno.test("receive() waits for the next message", async () => {
  const inbox = new Inbox();
  const received = inbox.receive();
  equal(inbox.waiting, true);
  equal(await isSettled(received), false);
  const sent = message(1);
  inbox.push(sent);
  equal(inbox.waiting, false);
  equal(inbox.ready, false);
  equal(inbox.queuedBytes, 0);
  equal(await received, sent);
});

Deno.test("receive() serves those who wait in turn", async () => {
  const inbox = new Inbox();
  const received = [inbox.receive(), inbox.receive(), inbox.receive(), inbox.receive()];
  for (const byte of [1, 2, 3]) inbox.push(message(byte));
  inbox.close();
  deepEqual(await Promise.all(received), [message(1), message(2), message(3), undefined]);
});

Deno.test("receive() has nothing more after close(), once all is taken", async () => {
  const inbox = filled(message(1), message(2));
  inbox.close();
  deepEqual(await inbox.receive(), message(1));
  deepEqual(await inbox.receive(), message(2));
  ok(inbox.receive() instanceof Promise);
  equal(await inbox.receive(), undefined);
  equal(inbox.waiting, false);
});

Deno.test("close() tells who waits", async () => {
  const inbox = new Inbox();
  const received = inbox.receive();
  inbox.close();
  equal(await received, undefined);
  equal(inbox.waiting, false);
  inbox.close();
});

Deno.test("ignore() drops what waits and what comes", async () => {
  const inbox = new TestInbox();
  inbox.push(message(1, 2));
  inbox.push(message());
  inbox.ignore();
  inbox.push(message(3));
  equal(inbox.ready, false);
  equal(inbox.queuedBytes, 0);
  equal(await inbox.receive(), undefined);
  deepEqual(inbox.changes, [2 + OVERHEAD, OVERHEAD, -(2 + 2 * OVERHEAD)]);
});

Deno.test("ignore() tells who waits, and the connection nothing if nothing waited", async () => {
  const inbox = new TestInbox();
  const received = inbox.receive();
  inbox.ignore();
  equal(await received, undefined);
  deepEqual(inbox.changes, []);
});

Deno.test("ignore() makes a queue incomplete if it drops something, and only then", () => {
  for (const messages of [[], [message()]]) {
    const inbox = filled(...messages);
    inbox.complete = true;
    inbox.ignore();
    equal(inbox.complete, messages.length === 0);
  }
});

Deno.test("ready is false while somebody waits, for whom the next message is", () => {
  const inbox = new Inbox();
  void inbox.receive();
  equal(inbox.ready, false);
  inbox.push(message(1));
  inbox.push(message(2));
  equal(inbox.ready, true);
  deepEqual(takeAll(inbox), [[2]]);
});

Deno.test("queuedBytes counts a message's bytes and what it costs beside them", () => {
  const inbox = new TestInbox();
  inbox.push(message(1, 2, 3));
  equal(inbox.queuedBytes, 3 + OVERHEAD);
  inbox.push(message());
  equal(inbox.queuedBytes, 3 + 2 * OVERHEAD);
  inbox.take();
  equal(inbox.queuedBytes, OVERHEAD);
  inbox.take();
  equal(inbox.queuedBytes, 0);
  deepEqual(inbox.changes, [3 + OVERHEAD, OVERHEAD, -3 - OVERHEAD, -OVERHEAD]);
});

Deno.test("taken is set by whoever takes a message, and by nothing else", async () => {
  const inbox = filled(message(1));
  equal(inbox.taken, false);
  inbox.take();
  equal(inbox.taken, true);
  inbox.taken = false;
  const received = inbox.receive();
  equal(inbox.taken, false);
  inbox.push(message(2));
  equal(inbox.taken, true);
  await received;
  inbox.taken = false;
  inbox.close();
  await inbox.receive();
  equal(inbox.taken, false);
});

Deno.test("keep() leaves alone what was taken", () => {
  const inbox = filled(message(1), message(2));
  const taken = inbox.take();
  inbox.keep();
  deepEqual(taken, message(1));
  deepEqual(takeAll(inbox), [[2]]);
});

Deno.test("take() keeps the order of a queue that is long and never empty", () => {
  const inbox = new TestInbox();
  let pushed = 0;
  let next = 0;
  const push = (count: number) => {
    for (const end = pushed + count; pushed < end; pushed++) {
      inbox.push(message(pushed & 0xff, pushed >> 8));
    }
  };
  const take = (count: number) => {
    for (const end = next + count; next < end; next++) {
      deepEqual(inbox.take(), message(next & 0xff, next >> 8));
    }
  };
  push(3000);
  for (let round = 0; round < 5; round++) {
    take(1600);
    push(1500);
  }
  equal(inbox.queuedBytes, (pushed - next) * (2 + OVERHEAD));
  take(pushed - next);
  equal(inbox.ready, false);
  equal(inbox.queuedBytes, 0);
});

Deno.test("keep() moves the messages of one read into memory of their own, together", () => {
  const inbox = filled(...borrowed([1, 2], [], [3]));
  inbox.keep();
  const [first, second, third] = [inbox.take(), inbox.take(), inbox.take()];
  deepEqual([first, second, third], [message(1, 2), message(), message(3)]);
  equal(first.buffer, third.buffer);
  equal(first.buffer.byteLength, 3);
});

Deno.test("keep() leaves a message that is at least half of its memory", () => {
  const half = new Uint8Array(8).subarray(4);
  const less = new Uint8Array(9).subarray(5);
  const whole = message(1, 2);
  const inbox = filled(half, less, whole);
  inbox.keep();
  equal(inbox.take(), half);
  const moved = inbox.take();
  notEqual(moved, less);
  equal(moved.buffer.byteLength, 4);
  equal(inbox.take(), whole);
});

Deno.test("keep() makes no room for messages without bytes", () => {
  const inbox = filled(...borrowed([], []));
  inbox.keep();
  for (const taken of [inbox.take(), inbox.take()]) equal(taken.buffer.byteLength, 0);
});

Deno.test("keep() does once what it does, and leaves what was taken alone", () => {
  const inbox = filled(...borrowed([1], [2], [3]));
  inbox.take();
  inbox.keep();
  const [later] = borrowed([4]);
  inbox.push(later!);
  inbox.keep();
  const [second, third, fourth] = [inbox.take(), inbox.take(), inbox.take()];
  deepEqual([second, third, fourth], [message(2), message(3), message(4)]);
  for (const { buffer } of [third, fourth]) equal(buffer, second.buffer);
  equal(second.buffer.byteLength, 2 * 3);
});

Deno.test("keep() sees the messages that come after a queue was emptied", () => {
  const inbox = filled(...borrowed([1], [2]));
  inbox.keep();
  takeAll(inbox);
  for (const part of borrowed([3])) inbox.push(part);
  inbox.keep();
  equal(inbox.take().buffer.byteLength, 1);
});

Deno.test("keep() sees the messages that come after a long queue was cut", () => {
  const inbox = filled(...borrowed(...Array.from({ length: 1030 }, (_, index) => [index & 0xff])));
  inbox.keep();
  for (let taken = 0; taken < 1026; taken++) inbox.take();
  for (const part of borrowed([9], [10])) inbox.push(part);
  inbox.keep();
  const rest = Array.from({ length: 6 }, () => inbox.take());
  deepEqual(rest.map(([byte]) => byte), [2, 3, 4, 5, 9, 10]);
  deepEqual(rest.map(({ buffer }) => buffer.byteLength), [1030, 1030, 1030, 1030, 2, 2]);
  ok(!inbox.ready);
});

Deno.test("keep() sees the messages of a long queue that was cut", () => {
  const inbox = filled(...borrowed(...Array.from({ length: 1030 }, (_, index) => [index & 0xff])));
  for (let taken = 0; taken < 1025; taken++) inbox.take();
  inbox.keep();
  const rest = Array.from({ length: 5 }, () => inbox.take());
  deepEqual(rest.map(([byte]) => byte), [1, 2, 3, 4, 5]);
  for (const { buffer } of rest) equal(buffer.byteLength, 5);
});

Deno.test("messages that come one by one share memory, up to 4 KiB or 512 of them", () => {
  for (
    const [length, together] of [[1, 512], [7, 512], [100, 40], [300, 13], [4_096, 1]] as const
  ) {
    const inbox = new Inbox();
    for (let i = 0; i < 2_000; i++) {
      for (const part of borrowed(new Array(length).fill(i & 0xff).slice(0, 1_024))) {
        // Long ones are parts of a buffer, too, of which they are less than half.
        const message = length > 1_024 ? new Uint8Array(3 * length).subarray(0, length) : part;
        inbox.push(message);
      }
      inbox.keep();
    }
    const lengths = new Map<ArrayBufferLike, number>();
    for (let i = 0; i < 2_000; i++) {
      const { buffer } = inbox.take();
      lengths.set(buffer, (lengths.get(buffer) ?? 0) + 1);
    }
    const most = Math.max(...lengths.values());
    equal(most, together, `of ${length} bytes`);
    for (const buffer of lengths.keys()) {
      ok(buffer.byteLength <= Math.max(2 * 4_096, length), `${buffer.byteLength} bytes`);
    }
  }
});

Deno.test("what was kept before is joined only if both are short", () => {
  const inbox = filled(...borrowed([1]));
  inbox.keep();
  inbox.push(new Uint8Array(12_000).subarray(0, 4_095));
  inbox.keep();
  inbox.push(new Uint8Array(12_000).subarray(0, 1));
  inbox.keep();
  const [first, second, third] = [inbox.take(), inbox.take(), inbox.take()];
  equal(first.buffer, second.buffer);
  equal(first.buffer.byteLength, 4_096);
  equal(third.buffer.byteLength, 1);
});

Deno.test("whatever is pushed, kept and taken, each message is taken once, in order, and stays", () => {
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (seed >> 8) % below;
  };
  for (let round = 0; round < 40; round++) {
    const inbox = new TestInbox();
    const waiting: number[][] = [];
    const taken: [Uint8Array, number[]][] = [];
    for (let step = 0; step < 600; step++) {
      const way = random(10);
      if (way < 5) {
        for (let i = random(6); i >= 0; i--) {
          const length = [0, 1, 3, 60, 700, 5_000][random(random(6) + 1)]!;
          const bytes = Array.from({ length }, () => random(256));
          const own = random(4) === 0;
          const space = new Uint8Array(own ? length : 3 * length + 10);
          space.set(bytes);
          inbox.push(space.subarray(0, length));
          waiting.push(bytes);
        }
      } else if (way < 8) inbox.keep();
      else {
        for (let i = random(round < 20 ? 12 : 4); i >= 0 && inbox.ready; i--) {
          taken.push([inbox.take(), waiting.shift()!]);
        }
      }
      equal(inbox.ready, waiting.length > 0);
    }
    const length = waiting.reduce((sum, bytes) => sum + bytes.length, 0);
    equal(inbox.queuedBytes, length + OVERHEAD * waiting.length);
    while (inbox.ready) taken.push([inbox.take(), waiting.shift()!]);
    equal(waiting.length, 0);
    for (const [message, bytes] of taken) deepEqual([...message], bytes);
  }
});

Deno.test("what has waited long shares memory also after a long queue was cut", () => {
  const inbox = new Inbox();
  for (let i = 0; i < 1_100; i++) inbox.push(message(i & 0xff, 0)); // of their own
  inbox.keep();
  for (let i = 0; i < 1_050; i++) inbox.take();
  for (let i = 0; i < 3; i++) {
    for (const part of borrowed([i])) inbox.push(part);
    inbox.keep();
  }
  for (let i = 0; i < 49; i++) inbox.take();
  const [last, ...rest] = [inbox.take(), inbox.take(), inbox.take(), inbox.take()];
  deepEqual(rest.map(([byte]) => byte), [0, 1, 2]);
  for (const { buffer } of rest) equal(buffer, last!.buffer);
});
