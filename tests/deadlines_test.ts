// Many deadlines on one timer, by a clock that the test moves.

import { deepEqual, equal, ok } from "node:assert/strict";
import { Deadlines, type Expirable } from "../async/deadlines.ts";
import { FakeClock } from "./fake_clock.ts";

/** Deadlines, the clock they go by, and what has expired. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly deadlines = new Deadlines();
  readonly expired: string[] = [];

  /** Something that ends in so many milliseconds. */
  entry(ms: number, expire: () => void = () => {}): Expirable {
    return {
      deadline: this.clock.now + ms,
      expire: () => {
        this.expired.push(`${ms}`);
        expire();
      },
    };
  }

  add(ms: number, expire?: () => void): Expirable {
    const entry = this.entry(ms, expire);
    this.deadlines.add(entry);
    return entry;
  }

  [Symbol.dispose](): void {
    this.deadlines.close();
    this.clock[Symbol.dispose]();
  }
}

Deno.test("add() ends what was added at its deadline, not before, and once", async () => {
  using bench = new Bench();
  bench.add(50);
  await bench.clock.pass(49);
  deepEqual(bench.expired, []);
  await bench.clock.pass(1);
  deepEqual(bench.expired, ["50"]);
  await bench.clock.pass(1_000);
  deepEqual(bench.expired, ["50"]);
  deepEqual(bench.clock.delays, []);
});

Deno.test("many deadlines share one timer, and end in their order", async () => {
  using bench = new Bench();
  for (const ms of [30, 10, 20, 40]) {
    bench.add(ms);
    equal(bench.clock.delays.length, 1);
  }
  const seen: string[][] = [];
  for (let i = 0; i < 4; i++) {
    await bench.clock.pass(10);
    seen.push([...bench.expired]);
  }
  deepEqual(seen, [["10"], ["10", "20"], ["10", "20", "30"], ["10", "20", "30", "40"]]);
});

Deno.test("a timer is started only for a deadline before the one it was set for", () => {
  using bench = new Bench();
  bench.add(20);
  for (const ms of [20, 25, 21]) bench.add(ms);
  equal(bench.clock.started, 1);
  bench.add(19);
  equal(bench.clock.started, 2);
  deepEqual(bench.clock.delays, [19]);
});

Deno.test("a deadline is not missed because the timer was set for a later one", async () => {
  using bench = new Bench();
  for (const ms of [500, 30]) bench.add(ms);
  await bench.clock.pass(10);
  bench.add(5);
  await bench.clock.pass(5);
  deepEqual(bench.expired, ["5"]);
  await bench.clock.pass(15);
  deepEqual(bench.expired, ["5", "30"]);
  deepEqual(bench.clock.delays, [470]);
});

Deno.test("a deadline that has passed when it is added ends soon, and not at once", async () => {
  using bench = new Bench();
  bench.add(-5);
  deepEqual(bench.expired, []);
  deepEqual(bench.clock.delays, [1]);
  await bench.clock.pass(1);
  deepEqual(bench.expired, ["-5"]);
});

Deno.test("a part of a millisecond is waited for, too", async () => {
  using bench = new Bench();
  bench.add(10.25);
  deepEqual(bench.clock.delays, [11]);
  await bench.clock.pass(11);
  deepEqual(bench.expired, ["10.25"]);
});

Deno.test("what never ends is not watched, and starts no timer", () => {
  using bench = new Bench();
  bench.add(Infinity);
  equal(bench.clock.started, 0);
  bench.deadlines.delete(bench.add(10));
  bench.add(Infinity);
  equal(bench.clock.holds, false);
});

Deno.test("a deadline further away than a timer can count ends at its time", async () => {
  using bench = new Bench();
  bench.add(2 ** 32);
  await bench.clock.pass(2 ** 32 - 1);
  deepEqual(bench.expired, []);
  await bench.clock.pass(1);
  deepEqual(bench.expired, [`${2 ** 32}`]);
});

Deno.test("delete() lets nothing expire, and no timer keep the process alive", async () => {
  using bench = new Bench();
  const [first, second] = [bench.add(10), bench.add(20)];
  bench.deadlines.delete(first);
  equal(bench.clock.holds, true);
  bench.deadlines.delete(second);
  equal(bench.clock.holds, false);
  await bench.clock.pass(30);
  deepEqual(bench.expired, []);
  deepEqual(bench.clock.delays, []);
});

Deno.test("delete() of what was never added does nothing", async () => {
  using bench = new Bench();
  bench.deadlines.delete(bench.entry(10));
  bench.add(20);
  bench.deadlines.delete(bench.entry(10));
  equal(bench.clock.holds, true);
  await bench.clock.pass(20);
  deepEqual(bench.expired, ["20"]);
});

Deno.test("calls that come and go one after another cost one timer, which holds while there is one", async () => {
  using bench = new Bench();
  for (let i = 0; i < 10; i++) {
    const entry = bench.add(100);
    equal(bench.clock.holds, true);
    bench.deadlines.delete(entry);
    equal(bench.clock.holds, false);
    await bench.clock.pass(5);
  }
  equal(bench.clock.started, 1);
});

Deno.test("the timer that has fired is followed by one for the next deadline only", async () => {
  using bench = new Bench();
  for (const ms of [10, 300, 100, 200]) bench.add(ms);
  await bench.clock.pass(10);
  deepEqual(bench.clock.delays, [90]);
  equal(bench.clock.holds, true);
});

Deno.test("what expires may add another, which is not missed", async () => {
  using bench = new Bench();
  bench.add(10, () => {
    bench.add(15);
  });
  bench.add(40);
  await bench.clock.pass(10);
  deepEqual(bench.clock.delays, [15]);
  await bench.clock.pass(15);
  deepEqual(bench.expired, ["10", "15"]);
  await bench.clock.pass(15);
  deepEqual(bench.expired, ["10", "15", "40"]);
});

Deno.test("what expires may delete others, which do not expire", async () => {
  using bench = new Bench();
  const late: Expirable[] = [];
  bench.add(10, () => late.forEach((entry) => bench.deadlines.delete(entry)));
  late.push(bench.add(10), bench.add(20));
  await bench.clock.pass(30);
  deepEqual(bench.expired, ["10"]);
  deepEqual(bench.clock.delays, []);
});

Deno.test("what expires is no longer watched when it is told", async () => {
  using bench = new Bench();
  const entry: Expirable = bench.add(10, () => bench.deadlines.delete(entry));
  bench.add(20);
  await bench.clock.pass(10);
  equal(bench.clock.holds, true);
});

Deno.test("unref() lets the process end, ref() does not, whenever the deadlines come", async () => {
  using bench = new Bench();
  bench.add(30);
  bench.deadlines.unref();
  equal(bench.clock.holds, false);
  const early = bench.add(20); // which sets the timer anew
  equal(bench.clock.holds, false);
  bench.deadlines.ref();
  equal(bench.clock.holds, true);
  bench.deadlines.delete(early);
  bench.deadlines.unref();
  await bench.clock.pass(25); // the timer sets itself anew
  equal(bench.clock.holds, false);
  bench.deadlines.ref();
  equal(bench.clock.holds, true);
});

Deno.test("ref() holds nothing while there are no deadlines", () => {
  using bench = new Bench();
  bench.deadlines.ref();
  bench.deadlines.unref();
  const entry = bench.add(10);
  bench.deadlines.delete(entry);
  bench.deadlines.ref();
  equal(bench.clock.holds, false);
  bench.add(20);
  equal(bench.clock.holds, true);
});

Deno.test("after unref(), one deadline after another lets the process end", () => {
  using bench = new Bench();
  bench.deadlines.delete(bench.add(10));
  bench.deadlines.unref();
  bench.add(20);
  equal(bench.clock.holds, false);
});

Deno.test("close() stops the timer, and nothing expires any more", async () => {
  using bench = new Bench();
  for (const ms of [10, 20]) bench.add(ms);
  bench.deadlines.close();
  deepEqual(bench.clock.delays, []);
  bench.add(5);
  bench.deadlines.ref();
  deepEqual(bench.clock.delays, []);
  await bench.clock.pass(30);
  deepEqual(bench.expired, []);
});

Deno.test("what expires may close, and what is due with it does not expire", async () => {
  using bench = new Bench();
  bench.add(10, () => bench.deadlines.close());
  bench.add(10);
  await bench.clock.pass(10);
  deepEqual(bench.expired, ["10"]);
  deepEqual(bench.clock.delays, []);
});

Deno.test("deadlines go by the real clock and timers, too", async () => {
  const deadlines = new Deadlines();
  const { promise, resolve } = Promise.withResolvers<void>();
  const deadline = performance.now() + 5;
  deadlines.add({ deadline, expire: resolve });
  await promise;
  ok(performance.now() >= deadline);
  deadlines.close();
});

for (const what of ["delete", "close"] as const) {
  Deno.test(`what expires may ${what} what would expire later: no timer is left for it`, async () => {
    using clock = new FakeClock();
    const deadlines = new Deadlines();
    const late = { deadline: clock.now + 50, expire() {} };
    deadlines.add(late);
    deadlines.add({
      deadline: clock.now + 10,
      expire: () => what === "close" ? deadlines.close() : deadlines.delete(late),
    });
    await clock.pass(10);
    equal(clock.holds, false);
  });
}
