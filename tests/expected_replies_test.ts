// What calls are expected to be answered.

import { deepEqual, equal } from "node:assert/strict";
import { Expectation, type ExpectedCall, ExpectedReplies } from "../engine/expected_replies.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import { FakeTimers } from "./stand_ins.ts";

Deno.test("the first replies may be as long as they can be, the next ones as the longest of late", () => {
  const replies = new Expectation(1_000);
  deepEqual([replies.bytes, replies.known], [1_000, false]);
  replies.learn(10);
  deepEqual([replies.bytes, replies.known], [10, true]);
  replies.learn(640);
  equal(replies.bytes, 640);
  replies.learn(10);
  equal(replies.bytes, 630);
  for (let i = 0; i < 1_000; i++) replies.learn(10);
  equal(replies.bytes, 10);
  replies.learn(1_001); // it is not sent
  equal(replies.bytes, 9);
  replies.learn(1_000);
  equal(replies.bytes, 1_000);
});

Deno.test("calls without a reply are doubted, until there is one", () => {
  const replies = new Expectation(1_000);
  replies.doubt();
  equal(replies.bytes, 500);
  replies.learn(800);
  replies.doubt();
  equal(replies.bytes, 800);
});

const MOST = 1_000_000;
const LONG = 10_000;

/** A connection of a server, and calls on it. */
function bed() {
  const server = new HeldBytes(2 * MOST);
  const connection = { held: new HeldBytes(10 * MOST, server, MOST), closed: false };
  const timers = new FakeTimers();
  const replies = new ExpectedReplies(connection, timers);
  /** How many calls may begin on the connection. */
  const room = () => {
    let calls = 0;
    while (connection.held.hasRoom) {
      connection.held.begin();
      calls++;
    }
    connection.held.begun(calls);
    return calls;
  };
  const call = (known?: number): ExpectedCall & { replies: Expectation | undefined } => {
    const expectation = new Expectation(MOST);
    if (known !== undefined) expectation.learn(known);
    return { replies: expectation, turn: 0, expectedBytes: 0 };
  };
  return { server, connection, timers, replies, room, call };
}

Deno.test("a call that has just begun takes the room of the longest reply, until it is answered", () => {
  const { replies, room, call } = bed();
  equal(replies.soon, false);
  const calls = [call(10), call(LONG), call()];
  for (const each of calls) replies.begin(each);
  equal(room(), 7);
  equal(replies.soon, true);
  for (const each of calls) replies.answered(each);
  equal(room(), 10);
  equal(replies.soon, false);
  replies.turned();
  for (const each of calls) replies.answered(each); // its handler has settled
  equal(room(), 10);
  replies.end();
});

Deno.test("a call may be answered twice in the turn in which it has begun", () => {
  const { replies, room, call } = bed();
  const [first, second] = [call(10), call(LONG)];
  replies.begin(first);
  replies.begin(second);
  for (const each of [first, first, second, second]) replies.answered(each);
  equal(room(), 10);
  replies.begin(first);
  equal(replies.soon, true);
  equal(room(), 9);
  replies.end();
});

Deno.test("there is one timer for all calls, again after it was needed, and none at the end", async () => {
  const { timers, replies, room, call } = bed();
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 3; i++) replies.begin(call(10));
    equal(timers.running, 1);
    await timers.pass(50);
    equal(timers.running, 0);
    equal(room(), 10);
  }
  for (let round = 0; round < 2; round++) {
    const calls = [call(LONG), call(LONG)];
    for (const each of calls) {
      replies.begin(each);
      replies.turned();
    }
    await timers.pass(50);
    equal(timers.running, 1);
    for (const each of calls) replies.answered(each);
    equal(timers.running, 0);
  }
  replies.begin(call());
  replies.end();
  equal(timers.running, 0);
  bed().replies.end();
});

Deno.test("the server expects of it what is likely, from the beginning", async () => {
  const { server, timers, replies, call } = bed();
  const [little, long, unknown] = [call(10), call(LONG), call()];
  for (const each of [little, long, unknown]) replies.begin(each);
  deepEqual([little, long, unknown].map((each) => each.expectedBytes), [0, LONG, MOST]);
  server.expect(MOST - LONG - 1);
  equal(server.hasRoom, true);
  server.expect(1);
  equal(server.hasRoom, false);
  replies.turned();
  deepEqual([little, long, unknown].map((each) => each.expectedBytes), [0, LONG, MOST]);
  for (const each of [little, long, unknown]) replies.answered(each);
  deepEqual([little, long, unknown].map((each) => each.expectedBytes), [0, 0, 0]);
  equal(server.hasRoom, true);
  await timers.pass(50);
  equal(timers.running, 0);
});

Deno.test("after a turn a call takes the room of its method's replies, and little of little", () => {
  const { replies, room, call } = bed();
  const calls = [call(10), call(4_095), call(MOST / 2), call(MOST / 2)];
  for (const each of calls) replies.begin(each);
  replies.turned();
  equal(room(), 9);
  replies.turned();
  for (const each of calls) replies.answered(each);
  equal(room(), 10);
  replies.end();
});

Deno.test("a turn passes by itself, when nothing tells", async () => {
  const { timers, replies, room, call } = bed();
  replies.begin(call(10));
  await timers.pass(49);
  equal(room(), 9);
  await timers.pass(1);
  equal(room(), 10);
  equal(timers.running, 0);
});

Deno.test("a call that takes long is expected no more: after a second, and sooner if nothing is known", async () => {
  const { timers, replies, room, call } = bed();
  const [known, unknown] = [call(MOST), call()];
  replies.begin(known);
  replies.begin(unknown);
  replies.turned();
  await timers.pass(100);
  equal(room(), 8);
  await timers.pass(100);
  equal(room(), 9);
  equal(unknown.replies!.bytes, MOST / 2);
  await timers.pass(800);
  equal(room(), 9);
  await timers.pass(100);
  equal(room(), 10);
  equal(known.replies!.bytes, MOST);
  equal(timers.running, 0);
});

Deno.test("what a method turns out to answer counts for calls that have begun before", () => {
  const { replies, room, call } = bed();
  const [first, second] = [call(), call()];
  second.replies = first.replies;
  replies.begin(first);
  replies.begin(second);
  first.replies!.learn(10);
  replies.answered(first);
  replies.turned();
  equal(room(), 10);
  equal(second.expectedBytes, 0);
  replies.answered(second);
  replies.end();
});

Deno.test("nothing is expected once a reply is made, or the connection has ended", () => {
  const { connection, replies, room, call } = bed();
  replies.begin({ replies: undefined, turn: 0, expectedBytes: 0 });
  equal(room(), 10);
  const [late, soon] = [call(MOST), call(MOST)];
  replies.begin(late);
  replies.turned();
  replies.begin(soon);
  connection.closed = true;
  replies.end();
  deepEqual([late.expectedBytes, soon.expectedBytes], [0, 0]);
  equal(room(), 10);
  replies.begin(call());
  equal(room(), 10);
  replies.answered(late);
  replies.answered(soon);
  equal(room(), 10);
});
