// One listener for each signal, however many calls share it; and what listeners throw.

import { deepEqual, equal, throws } from "node:assert/strict";
import {
  abort,
  type Abortable,
  checkSignal,
  unwatchSignal,
  watchSignal,
} from "../async/signals.ts";
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
      message: "Cannot use the signal: it is not an AbortSignal",
    });
  }
});

Deno.test("abort() calls all listeners, also of signals that depend on it, and tells what they throw", () => {
  const controller = new AbortController();
  const { signal } = controller;
  const told: string[] = [];
  signal.addEventListener("abort", () => {
    throw new Error("first");
  });
  signal.onabort = () => {
    throw "a string";
  };
  signal.addEventListener("abort", () => void told.push("last"));
  AbortSignal.any([signal]).addEventListener("abort", () => {
    told.push("dependent");
    throw undefined;
  });
  const thrown: unknown[] = [];
  abort(controller, "why", (error) => {
    deepEqual(told, ["last", "dependent"]);
    thrown.push(error);
  });
  equal(signal.reason, "why");
  deepEqual(thrown, [new Error("first"), "a string", undefined]);
});

Deno.test("abort() without somebody to tell calls all listeners as well", () => {
  const controller = new AbortController();
  let called = 0;
  for (let i = 0; i < 2; i++) {
    controller.signal.addEventListener("abort", () => {
      called++;
      throw new Error("nobody hears this");
    });
  }
  abort(controller, undefined);
  equal(called, 2);
  equal(controller.signal.reason.name, "AbortError");
});

Deno.test("abort() in a listener tells of its own listeners, and the outer one of the others", () => {
  const [outer, inner] = [new AbortController(), new AbortController()];
  const throwing = (text: string) => () => {
    throw text;
  };
  const told: [by: string, error: unknown][] = [];
  inner.signal.addEventListener("abort", throwing("within"));
  outer.signal.addEventListener("abort", throwing("before"));
  outer.signal.addEventListener("abort", () => {
    abort(inner, undefined, (error) => void told.push(["inner", error]));
    throw "after";
  });
  abort(outer, undefined, (error) => void told.push(["outer", error]));
  deepEqual(told, [["inner", "within"], ["outer", "before"], ["outer", "after"]]);
});

Deno.test("abort() leaves errors of others alone, as soon as it is done", () => {
  const controller = new AbortController();
  controller.signal.addEventListener("abort", () => {
    throw new Error("in a listener");
  });
  const thrown: unknown[] = [];
  abort(controller, undefined, (error) => void thrown.push(error));
  const prevented: boolean[] = [];
  const listener = (event: ErrorEvent) => {
    prevented.push(event.defaultPrevented);
    event.preventDefault();
  };
  globalThis.addEventListener("error", listener);
  reportError(new Error("of somebody else"));
  globalThis.removeEventListener("error", listener);
  deepEqual(prevented, [false]);
  deepEqual(thrown, [new Error("in a listener")]);
});
