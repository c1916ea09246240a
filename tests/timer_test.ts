// Timers, pauses and turns, by a clock that the test moves.

import { deepEqual, equal, throws } from "node:assert/strict";
import { checkTime, delay, spend, Timers, turn, turnIfDue } from "../async/timer.ts";
import { CountedSignal } from "./counted_signal.ts";
import { FakeClock } from "./fake_clock.ts";
import { isSettled } from "./stand_ins.ts";

Deno.test("checkTime() takes numbers of milliseconds, and no bound for none", () => {
  equal(checkTime("timeoutMs", undefined), Infinity);
  for (const ms of [Infinity, 0, -1, 1.5, 2 ** 40]) equal(checkTime("timeoutMs", ms), ms);
});

Deno.test("checkTime() refuses what is no number, by name", () => {
  for (const ms of [NaN, "5", null, {}, 5n]) {
    throws(() => checkTime("timeoutMs", ms as number), {
      name: "RangeError",
      message: `Cannot use timeoutMs of ${ms}: it takes a number of milliseconds`,
    });
  }
});

Deno.test("delay() is the next whole millisecond that a timer can count", () => {
  deepEqual(
    [-5, -0.5, 0, 0.1, 1, 1.5, 2 ** 31 - 1, 2 ** 31, 2 ** 40, Infinity].map((ms) => delay(ms) + 0),
    [0, 0, 0, 1, 1, 2, 2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1],
  );
});

Deno.test("start() calls back once, at its time", async () => {
  using clock = new FakeClock();
  let calls = 0;
  new Timers().start(10.5, () => calls++);
  deepEqual(clock.delays, [11]);
  await clock.pass(10);
  equal(calls, 0);
  await clock.pass(20);
  equal(calls, 1);
});

Deno.test("start() and repeat() never call back after an infinite time", () => {
  using clock = new FakeClock();
  const timers = new Timers();
  for (const timer of [timers.start(Infinity, fail), timers.repeat(Infinity, fail)]) timer.stop();
  equal(clock.started, 0);
});

Deno.test("stop() stops a timer, and does nothing to one that has fired", async () => {
  using clock = new FakeClock();
  const timers = new Timers();
  const stopped = timers.start(5, fail);
  let calls = 0;
  const fired = timers.start(10, () => calls++);
  stopped.stop();
  deepEqual(clock.delays, [10]);
  await clock.pass(10);
  fired.stop();
  stopped.stop();
  equal(calls, 1);
});

Deno.test("stop() of a timer that has fired leaves alone a later one of the same number", async () => {
  using clock = new FakeClock();
  const timers = new Timers();
  const cleared: unknown[] = [];
  const { clearTimeout } = globalThis;
  globalThis.clearTimeout = (id) => {
    cleared.push(id);
    clearTimeout(id);
  };
  const timer = timers.start(5, () => {});
  await clock.pass(5);
  timer.stop();
  deepEqual(cleared, []);
});

Deno.test("repeat() calls back again and again, until it is stopped", async () => {
  using clock = new FakeClock();
  let calls = 0;
  const timer = new Timers().repeat(9.5, () => calls++);
  deepEqual(clock.delays, [10]);
  await clock.pass(35);
  equal(calls, 3);
  timer.stop();
  await clock.pass(35);
  equal(calls, 3);
  deepEqual(clock.delays, []);
});

Deno.test("unref() lets the process end before timers fire, also later ones; ref() does not", () => {
  using clock = new FakeClock();
  const timers = new Timers();
  timers.start(5, () => {});
  timers.repeat(5, () => {});
  equal(clock.holds, true);
  timers.unref();
  equal(clock.holds, false);
  timers.start(5, () => {});
  timers.repeat(5, () => {});
  equal(clock.holds, false);
  timers.ref();
  equal(clock.holds, true);
});

Deno.test("ref() is for the timers that are to come, too", () => {
  using clock = new FakeClock();
  const timers = new Timers();
  timers.unref();
  timers.ref();
  timers.start(5, () => {});
  equal(clock.holds, true);
});

Deno.test("ref() and unref() touch no timer that is over", async () => {
  using clock = new FakeClock();
  const touched: unknown[] = [];
  Deno.refTimer = Deno.unrefTimer = (id) => void touched.push(id);
  const timers = new Timers();
  timers.start(5, () => {});
  timers.start(50, () => {}).stop();
  timers.repeat(50, () => {}).stop();
  await clock.pass(5);
  timers.unref();
  timers.ref();
  deepEqual(touched, []);
});

Deno.test("pause() waits for its time", async () => {
  using clock = new FakeClock();
  const pause = new Timers().pause(10);
  await clock.pass(9);
  equal(await isSettled(pause), false);
  await clock.pass(1);
  await pause;
});

Deno.test("pause() ends with its signal, and leaves no timer and no listener", async () => {
  using clock = new FakeClock();
  const counted = new CountedSignal();
  const pause = new Timers().pause(10, counted.signal);
  equal(counted.listeners, 1);
  counted.controller.abort();
  await pause;
  equal(counted.listeners, 0);
  deepEqual(clock.delays, []);
});

Deno.test("pause() that has taken its time leaves no listener", async () => {
  using clock = new FakeClock();
  const counted = new CountedSignal();
  const pause = new Timers().pause(10, counted.signal);
  await clock.pass(10);
  await pause;
  equal(counted.listeners, 0);
});

Deno.test("pause() does not wait with a signal that is aborted", async () => {
  using clock = new FakeClock();
  await new Timers().pause(10, AbortSignal.abort());
  equal(clock.started, 0);
});

Deno.test("settled() waits for the promise, and leaves no timer", async () => {
  using clock = new FakeClock();
  const { promise, resolve } = Promise.withResolvers<void>();
  const settled = new Timers().settled(promise, 10);
  await clock.pass(9);
  equal(await isSettled(settled), false);
  resolve();
  await settled;
  equal(await isSettled(settled), true);
  deepEqual(clock.delays, []);
});

Deno.test("settled() waits no longer than it may", async () => {
  using clock = new FakeClock();
  const settled = new Timers().settled(new Promise(() => {}), 10);
  await clock.pass(9);
  equal(await isSettled(settled), false);
  await clock.pass(1);
  await settled;
});

Deno.test("settled() without a bound waits for the promise alone", async () => {
  using clock = new FakeClock();
  await new Timers().settled(Promise.resolve(), Infinity);
  equal(clock.started, 0);
});

Deno.test("turn() lets the event loop go round more often than it needs to look for what comes", async () => {
  let turns = 0;
  let over = false;
  const count = () => {
    if (over) return;
    turns++;
    setImmediate(count);
  };
  setImmediate(count);
  await turn();
  over = true;
  equal(turns > 61, true, `${turns}`);
  equal(turns < 100, true, `${turns}`);
});

Deno.test("turn() is one for all who wait at the same time, and anew for those who come later", async () => {
  const first = turn();
  equal(turn(), first);
  await first;
  const second = turn();
  equal(second === first, false);
  await second;
});

Deno.test("spend() asks to wait once two milliseconds of work are done, and counts anew after that", async () => {
  await turn();
  equal(spend(1_000), undefined);
  equal(spend(999), undefined);
  const wait = spend(1);
  equal(wait, turn());
  equal(spend(1), wait);
  await wait;
  equal(spend(1_999), undefined);
  await spend(1);
});

function fail(): void {
  throw new Error("a timer has fired that should not");
}

Deno.test("turnIfDue() asks to wait for a turn when the last one was two milliseconds ago", async () => {
  await turn();
  const now = performance.now();
  equal(turnIfDue(now), undefined);
  const wait = turnIfDue(now + 2);
  equal(wait, turn());
  await wait;
  equal(turnIfDue(performance.now()), undefined);
});
