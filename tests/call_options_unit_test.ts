// What a call is given, over what holds for all calls.

import { deepEqual, equal, throws } from "node:assert/strict";
import { deadlineAfter, takeDefaults, takeOptions } from "../engine/call_options.ts";
import { Metadata } from "../metadata.ts";
import type { CallOptions } from "../service.ts";
import { FakeClock } from "./fake_clock.ts";

function pairs(metadata: Iterable<[string, string]> | undefined): [string, string][] | undefined {
  return metadata && [...metadata];
}

Deno.test("takeOptions() of nothing is no metadata, no deadline and no signal", () => {
  const nothing = {
    metadata: undefined,
    timeoutMs: undefined,
    deadline: Infinity,
    signal: undefined,
  };
  deepEqual(takeOptions(undefined, undefined), nothing);
  deepEqual(takeOptions({}, undefined), nothing);
  deepEqual(takeOptions(undefined, {}), nothing);
});

Deno.test("takeOptions() takes the call's own time, else that of all calls", () => {
  using clock = new FakeClock();
  const times = (options?: CallOptions, timeoutMs?: number) => {
    const settings = takeOptions(options, { timeoutMs });
    return [settings.timeoutMs, settings.deadline];
  };
  deepEqual(times({ timeoutMs: 5 }, 7), [5, clock.now + 5]);
  deepEqual(times({}, 7), [7, clock.now + 7]);
  deepEqual(times(undefined, 7), [7, clock.now + 7]);
  deepEqual(times({ timeoutMs: 0 }, 7), [0, clock.now]);
  deepEqual(times({ timeoutMs: undefined }, 7), [7, clock.now + 7]);
  deepEqual(times({ timeoutMs: Infinity }, 7), [Infinity, Infinity]);
  deepEqual(times({}), [undefined, Infinity]);
});

Deno.test("takeOptions() takes the signal", () => {
  const { signal } = new AbortController();
  equal(takeOptions({ signal }, undefined).signal, signal);
  equal(takeOptions({ signal }, { timeoutMs: 5 }).signal, signal);
});

Deno.test("takeOptions() copies the metadata, the call's own keys over those of all calls", () => {
  const own = new Metadata({ a: "own", b: "own" });
  const all = new Metadata({ B: "all", c: "all" });
  const { metadata } = takeOptions({ metadata: own }, { metadata: all });
  for (const given of [own, all]) {
    given.set("a", "changed");
    given.set("c", "changed");
  }
  deepEqual(pairs(metadata)?.toSorted(), [["a", "own"], ["b", "own"], ["c", "all"]]);
});

Deno.test("takeOptions() keeps all values of a key", () => {
  const own = new Metadata([["a", "1"], ["a", "2"]]);
  const all = new Metadata([["a", "0"], ["b", "1"], ["b", "2"]]);
  const { metadata } = takeOptions({ metadata: own }, { metadata: all });
  deepEqual(pairs(metadata), [["b", "1"], ["b", "2"], ["a", "1"], ["a", "2"]]);
});

Deno.test("takeOptions() copies also what only one of both has", () => {
  const given = new Metadata({ a: "b" });
  for (
    const { metadata } of [
      takeOptions({ metadata: given }, {}),
      takeOptions({}, { metadata: given }),
    ]
  ) {
    deepEqual(pairs(metadata), [["a", "b"]]);
    equal(metadata === given, false);
  }
});

Deno.test("takeOptions() takes a record, pairs and metadata", () => {
  for (
    const metadata of [{ a: "b" }, [["a", "b"]] as [string, string][], new Metadata({ a: "b" })]
  ) {
    deepEqual(pairs(takeOptions({ metadata }, undefined).metadata), [["a", "b"]]);
  }
});

Deno.test("takeOptions() refuses what makes no sense", () => {
  const { signal } = new AbortController();
  throws(() => takeOptions({ timeoutMs: NaN }, undefined), RangeError);
  throws(() => takeOptions({ timeoutMs: "5" as unknown as number }, undefined), RangeError);
  throws(() => takeOptions({ signal: {} as typeof signal }, undefined), TypeError);
  throws(() => takeOptions({ metadata: { a: 5 as unknown as string } }, undefined), TypeError);
});

Deno.test("takeDefaults() puts one above the other, and copies", () => {
  equal(takeDefaults(undefined), undefined);
  const under = takeDefaults({ timeoutMs: 7, metadata: { a: "under", b: "under" } })!;
  deepEqual([under.timeoutMs, pairs(under.metadata as Metadata)], [
    7,
    [["a", "under"], ["b", "under"]],
  ]);
  equal(takeDefaults(undefined, under), under);
  const given = new Metadata({ b: "own" });
  const both = takeDefaults({ metadata: given }, under)!;
  given.set("b", "changed");
  deepEqual([both.timeoutMs, pairs(both.metadata as Metadata)], [
    7,
    [["a", "under"], ["b", "own"]],
  ]);
  equal(takeDefaults({ timeoutMs: 0 }, under)!.timeoutMs, 0);
  equal(takeDefaults({}, undefined)!.timeoutMs, undefined);
});

Deno.test("takeDefaults() refuses a time that is no number", () => {
  throws(() => takeDefaults({ timeoutMs: NaN }), {
    name: "RangeError",
    message: /timeoutMs of NaN/,
  });
});

Deno.test("deadlineAfter() is a moment from now on, or never", () => {
  using clock = new FakeClock();
  equal(deadlineAfter(undefined), Infinity);
  equal(deadlineAfter(Infinity), Infinity);
  equal(deadlineAfter(5.5), clock.now + 5.5);
  equal(deadlineAfter(-5), clock.now - 5);
  throws(() => deadlineAfter(NaN), RangeError);
});
