// Peers that read nothing while a server has no room for others.

import { deepEqual, equal } from "node:assert/strict";
import { HeldBytes } from "../engine/held_bytes.ts";
import { Pressure } from "../engine/pressure.ts";
import { WriteQueue } from "../engine/write_queue.ts";
import { FakeTimers, settle, Sink } from "./stand_ins.ts";

/** A connection with something to send. */
class Peer {
  readonly sink = new Sink();
  readonly queue = new WriteQueue(this.sink, () => {});
  readonly held = new HeldBytes(Infinity);
  readonly failures: unknown[] = [];
  bytesIn = 0;
  awaitsFrame = false;

  send(bytes: number): void {
    this.queue.writer.bytes(new Uint8Array(bytes));
    this.queue.send(bytes);
  }

  fail(cause: unknown): void {
    this.failures.push(cause);
  }
}

function bed(timeoutMs = 3_000) {
  const timers = new FakeTimers();
  const held = new HeldBytes(10);
  const peers = [new Peer(), new Peer(), new Peer()];
  new Pressure(held, timers, timeoutMs, () => peers);
  return { timers, held, peers };
}

Deno.test("a peer that reads nothing is given up while others wait for room, and they are not", async () => {
  const { timers, held, peers: [stuck, idle] } = bed();
  stuck!.sink.hold();
  stuck!.send(1_000);
  await settle();
  held.change(10);
  const over = held.wait(() => {});
  await timers.pass(3_999);
  deepEqual(stuck!.failures, []);
  await timers.pass(1);
  deepEqual(stuck!.failures, [
    "the peer reads nothing, while the server has no memory left for other calls " +
    "(limits.serverHeldBytes)",
  ]);
  deepEqual(idle!.failures, []);
  over();
});

Deno.test("a peer that reads a little now and then is not given up", async () => {
  const { timers, held, peers: [slow] } = bed();
  held.change(10);
  const over = held.wait(() => {});
  for (let i = 0; i < 10; i++) {
    slow!.sink.hold();
    slow!.send(1_000);
    await timers.pass(2_000);
    slow!.sink.resume();
    await slow!.queue.flushed();
  }
  deepEqual(slow!.failures, []);
  over();
});

Deno.test("a peer that reads nothing is left alone while there is room, or nobody waits", async () => {
  const { timers, held, peers: [stuck] } = bed();
  stuck!.sink.hold();
  stuck!.send(1_000);
  await settle();
  const over = held.wait(() => {}); // for room of its own connection
  equal(timers.running, 0);
  await timers.pass(10_000);
  held.change(10);
  over();
  await timers.pass(10_000);
  deepEqual(stuck!.failures, []);
  equal(timers.running, 0);
});

Deno.test("the time begins when somebody waits, each time anew", async () => {
  const { timers, held, peers: [stuck] } = bed();
  stuck!.sink.hold();
  stuck!.send(1_000);
  await settle();
  held.change(10);
  for (let i = 0; i < 5; i++) {
    const over = held.wait(() => {});
    await timers.pass(2_000);
    over();
    await timers.pass(1_000);
  }
  deepEqual(stuck!.failures, []);
});

Deno.test("without a limit nobody is given up", async () => {
  const { timers, held, peers: [stuck] } = bed(0);
  stuck!.sink.hold();
  stuck!.send(1_000);
  await settle();
  held.change(10);
  const over = held.wait(() => {});
  await timers.pass(1_000_000);
  deepEqual(stuck!.failures, []);
  over();
});

Deno.test("of several that read nothing the one that holds most is given up first, one at a time", async () => {
  const { timers, held, peers } = bed();
  for (const [at, peer] of peers.entries()) {
    peer.sink.hold();
    peer.send(1_000);
    peer.held.change([2, 3, 1][at]!);
  }
  await settle();
  held.change(10);
  const over = held.wait(() => {});
  await timers.pass(4_000);
  deepEqual(peers.map(({ failures }) => failures.length), [0, 1, 0]);
  peers.splice(1, 1);
  await timers.pass(1_000);
  deepEqual(peers.map(({ failures }) => failures.length), [1, 0]);
  over();
});

Deno.test("a peer that sends a long frame too slowly is given up while others wait, and no other", async () => {
  const { timers, held, peers: [slow, fast] } = bed();
  slow!.awaitsFrame = fast!.awaitsFrame = true;
  held.change(10);
  const over = held.wait(() => {});
  for (let second = 0; second < 3; second++) {
    deepEqual(slow!.failures, []);
    slow!.bytesIn += (1 << 16) - 1;
    fast!.bytesIn += 1 << 16;
    await timers.pass(1_000);
  }
  deepEqual(slow!.failures, [
    "the peer sends a long frame too slowly, while the server has no memory left for other " +
    "calls (limits.serverHeldBytes)",
  ]);
  deepEqual(fast!.failures, []);
  fast!.awaitsFrame = false; // it is not being read
  await timers.pass(10_000);
  deepEqual(fast!.failures, []);
  over();
});

Deno.test("a peer that sends a long frame slowly is not one that reads nothing", async () => {
  const { timers, held, peers: [peer] } = bed();
  held.change(10);
  const over = held.wait(() => {});
  const again = held.wait(() => {});
  equal(timers.running, 1);
  for (let second = 0; second < 10; second++) {
    peer!.awaitsFrame = true;
    peer!.bytesIn += 1 << 16;
    await timers.pass(1_000);
  }
  deepEqual(peer!.failures, []);
  over();
  again();
});
