// What is held and what is expected, of one connection and of its server.

import { deepEqual, equal } from "node:assert/strict";
import { HeldBytes } from "../engine/held_bytes.ts";

const SHARE = 1 << 16;

function never(): never {
  throw new Error("nobody has to know");
}

Deno.test("a connection may begin calls until it holds its limit", () => {
  const held = new HeldBytes(10, new HeldBytes(1_000));
  held.change(9);
  equal(held.mayBegin(never), true);
  held.change(1);
  equal(held.mayBegin(never), false);
  held.change(-1);
  equal(held.mayBegin(never), true);
  equal(held.bytes, 9);
});

Deno.test("what is expected counts, and is not held", () => {
  const held = new HeldBytes(10, new HeldBytes(1_000));
  held.expect(10);
  equal(held.mayBegin(never), false);
  equal(held.bytes, 0);
  held.expect(-1);
  equal(held.mayBegin(never), true);
});

Deno.test("a connection that holds little may begin what is little while its server has no room", () => {
  const server = new HeldBytes(SHARE);
  const [large, small] = [new HeldBytes(2 * SHARE, server), new HeldBytes(2 * SHARE, server)];
  large.change(SHARE);
  equal(server.hasRoom, false);
  equal(large.full, server);
  equal(server.full, server);
  equal(large.mayBegin(() => 1), false);
  equal(small.mayBegin(() => SHARE), true);
  equal(small.mayBegin(() => SHARE + 1), false);
  small.expect(1);
  equal(small.mayBegin(() => SHARE), false);
  equal(small.mayReceive(SHARE), false);
  small.expect(-1);
  equal(small.mayReceive(SHARE), true);
  large.change(-1);
  equal(small.mayReceive(SHARE + 1), true);
  equal(large.mayBegin(never), true);
});

Deno.test("what has a limit of its own counts for the server only", () => {
  const server = new HeldBytes(10);
  const held = new HeldBytes(10, server);
  held.changeWhole(10);
  deepEqual([held.bytes, server.bytes], [0, 10]);
  deepEqual([held.hasRoom, server.hasRoom], [true, false]);
});

Deno.test("without a whole there is nothing else to heed", () => {
  const held = new HeldBytes(10);
  held.changeWhole(100);
  equal(held.bytes, 0);
  equal(held.mayBegin(never), true);
});

Deno.test("those who wait are told in turn, each when the one before has done", () => {
  const server = new HeldBytes(10);
  const told: string[] = [];
  server.change(10);
  const waits = ["first", "second"].map((name) => server.wait(() => void told.push(name)));
  deepEqual(told, []);
  server.change(-1);
  server.change(-1);
  deepEqual(told, ["first", "second"]);
  for (const over of waits) over();
  equal(server.awaited, false);
});

Deno.test("whoever has waited tells the next one, if there is still room", () => {
  for (const taken of [0, 1]) {
    const server = new HeldBytes(10);
    const told: string[] = [];
    server.change(10);
    const first = server.wait(() => void told.push("first"));
    const second = server.wait(() => void told.push("second"));
    server.change(-1);
    deepEqual(told, ["first"]);
    server.change(taken);
    first();
    deepEqual(told, taken ? ["first"] : ["first", "second"]);
    second();
  }
});

Deno.test("nobody is told while there is no room", () => {
  const held = new HeldBytes(10);
  held.change(15);
  let told = 0;
  const over = held.wait(() => void told++);
  held.change(-5);
  equal(told, 0);
  held.expect(3);
  held.change(-1);
  equal(told, 0);
  held.expect(-3);
  equal(told, 1);
  over();
});

Deno.test("a connection that waits for its server is told of its room, and of less that it holds itself", () => {
  for (const [own, whole] of [[0, 1], [1, 0]] as const) {
    const server = new HeldBytes(10);
    const held = new HeldBytes(10, server);
    const other = new HeldBytes(10, server);
    held.change(2);
    other.change(9);
    let told = 0;
    const over = held.wait(() => void told++);
    other.change(-0);
    equal(told, 0);
    held.change(-own);
    other.change(-2 * whole);
    equal(told, 1);
    held.change(-1);
    equal(told, 1);
    over();
    equal(server.awaited || held.awaited, false);
  }
});

Deno.test("a server hears that somebody waits", () => {
  const server = new HeldBytes(10);
  let heard = 0;
  server.onAwaited = () => void heard++;
  const over = server.wait(() => {});
  equal(heard, 1);
  equal(server.awaited, true);
  over();
  equal(server.awaited, false);
});

Deno.test("a call that has just begun counts for the longest reply, until it is answered", () => {
  const server = new HeldBytes(10);
  const held = new HeldBytes(25, server, 10);
  held.begin();
  held.begin();
  equal(held.mayBegin(never), true);
  held.begin();
  equal(held.mayBegin(never), false);
  equal(held.bytes, 0);
  let told = 0;
  const over = held.wait(() => void told++);
  held.begun(1);
  equal(told, 1);
  over();
  equal(server.hasRoom, true); // many calls of many connections are hardly answered at once
});
