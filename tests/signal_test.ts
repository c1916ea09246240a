// One listener for each signal, however many calls share it.

import { deepEqual, equal, throws } from "node:assert/strict";
import { type Abortable, checkSignal, unwatchSignal, watchSignal } from "../signal.ts";
import { CountedSignal } from "./counted_signal.ts";

function entries(...names: string[]): { all: Abortable[]; told: string[] } {
  const told: string[] = [];
  return { all: names.map((name) => ({ aborted: () => void told.push(name) })), told };
}

Deno.test("watchSignal() tells everything that watches a signal, in order, with one listener", () => {
  const counted = new CountedSignal();
  const { all, told } = entries("a", "b", "c");
  for (const entry of all) watchSignal(counted.signal, entry);
  equal(counted.listeners, 1);
  deepEqual(told, []);
  counted.controller.abort();
  deepEqual(told, ["a", "b", "c"]);
});

Deno.test("watchSignal() tells signals apart", () => {
  const [one, other] = [new CountedSignal(), new CountedSignal()];
  const { all: [a, b], told } = entries("a", "b");
  watchSignal(one.signal, a!);
  watchSignal(other.signal, b!);
  other.controller.abort();
  deepEqual(told, ["b"]);
});

Deno.test("watchSignal() tells once what was added twice", () => {
  const counted = new CountedSignal();
  const { all: [a], told } = entries("a");
  watchSignal(counted.signal, a!);
  watchSignal(counted.signal, a!);
  counted.controller.abort();
  deepEqual(told, ["a"]);
});

Deno.test("unwatchSignal() tells no more, and the last one takes the listener away", () => {
  const counted = new CountedSignal();
  const { all: [a, b], told } = entries("a", "b");
  watchSignal(counted.signal, a!);
  watchSignal(counted.signal, b!);
  unwatchSignal(counted.signal, a!);
  equal(counted.listeners, 1);
  unwatchSignal(counted.signal, b!);
  equal(counted.listeners, 0);
  watchSignal(counted.signal, a!);
  equal(counted.listeners, 1);
  counted.controller.abort();
  deepEqual(told, ["a"]);
});

Deno.test("unwatchSignal() of what does not watch does nothing", () => {
  const counted = new CountedSignal();
  const { all: [a, b], told } = entries("a", "b");
  unwatchSignal(counted.signal, a!);
  equal(counted.listeners, 0);
  watchSignal(counted.signal, a!);
  unwatchSignal(counted.signal, b!);
  equal(counted.listeners, 1);
  counted.controller.abort();
  deepEqual(told, ["a"]);
});

Deno.test("what is told may stop watching, for itself and for others", () => {
  const counted = new CountedSignal();
  const told: string[] = [];
  const late: Abortable = { aborted: () => void told.push("late") };
  const first: Abortable = {
    aborted: () => {
      told.push("first");
      unwatchSignal(counted.signal, first);
      unwatchSignal(counted.signal, late);
    },
  };
  watchSignal(counted.signal, first);
  watchSignal(counted.signal, late);
  counted.controller.abort();
  deepEqual(told, ["first"]);
  equal(counted.listeners, 0);
});

Deno.test("checkSignal() takes a signal or none, and nothing else", () => {
  checkSignal(undefined);
  checkSignal(new AbortController().signal);
  for (const other of [new AbortController(), null, {}, "signal", { aborted: false }]) {
    throws(() => checkSignal(other), {
      name: "TypeError",
      message: "Cannot use what was given as a signal: it is not an AbortSignal",
    });
  }
});
