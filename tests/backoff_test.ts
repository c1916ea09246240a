// Delays between attempts.

import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { backoff, checkBackoff } from "../async/backoff.ts";

/** Runs something while `Math.random()` returns one number. */
function withRandom<T>(value: number, run: () => T): T {
  const { random } = Math;
  Math.random = () => value;
  try {
    return run();
  } finally {
    Math.random = random;
  }
}

const DELAYS = { initialDelayMs: 20, maxDelayMs: 100 };

function delays(random: number): number[] {
  return withRandom(random, () => [1, 2, 3, 4, 5, 2_000].map((n) => backoff(n, DELAYS)));
}

Deno.test("backoff() doubles from attempt to attempt, up to its bound", () => {
  deepEqual(delays(1), [20, 40, 80, 100, 100, 100]);
});

Deno.test("backoff() is at least half of the delay", () => {
  deepEqual(delays(0), [10, 20, 40, 50, 50, 50]);
});

Deno.test("backoff() is in between at random", () => {
  deepEqual(delays(0.5), [15, 30, 60, 75, 75, 75]);
  const several = new Set(Array.from({ length: 20 }, () => backoff(1, DELAYS)));
  ok(several.size > 1);
});

Deno.test("backoff() can be none", () => {
  equal(backoff(5, { initialDelayMs: 0, maxDelayMs: 100 }), 0);
  equal(backoff(5, { initialDelayMs: 20, maxDelayMs: 0 }), 0);
});

Deno.test("checkBackoff() returns delays that are none, some or without a bound", () => {
  const options = { initialDelayMs: 0, maxDelayMs: Infinity };
  equal(checkBackoff("retry", options), options);
});

Deno.test("checkBackoff() refuses what is no delay, by name and by use", () => {
  for (const delay of [-1, NaN, "a", undefined]) {
    throws(() => checkBackoff("retry", { initialDelayMs: 1, maxDelayMs: delay as number }), {
      name: "RangeError",
      message: `Cannot retry with maxDelayMs of ${delay}: it must be zero or more`,
    });
    throws(() => checkBackoff("reconnect", { initialDelayMs: delay as number, maxDelayMs: 1 }), {
      name: "RangeError",
      message: `Cannot reconnect with initialDelayMs of ${delay}: it must be zero or more`,
    });
  }
});
