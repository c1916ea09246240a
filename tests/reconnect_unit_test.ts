// Attempts to connect again, and the pauses between them, by a clock that the test moves.

import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import type { ByteConnection } from "../transport.ts";
import { Reconnect, type ReconnectOptions } from "../net/reconnect.ts";
import { Timers } from "../async/timer.ts";
import { FakeClock } from "./fake_clock.ts";
import { ScriptedConnection } from "./scripted_connection.ts";
import { isSettled } from "./stand_ins.ts";

/** Connects again by a clock that the test moves, after the longest pauses there can be. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  /** When it was dialled, in milliseconds since the start. */
  readonly dialled: number[] = [];
  readonly signals: AbortSignal[] = [];
  readonly again: Reconnect;
  dial: () => Promise<ByteConnection> = () => Promise.reject(new Error("nobody there"));
  readonly #start = this.clock.now;
  readonly #random = Math.random;

  constructor(options: ReconnectOptions = {}) {
    Math.random = () => 1;
    this.again = new Reconnect(
      (signal) => {
        this.dialled.push(this.clock.now - this.#start);
        this.signals.push(signal);
        return this.dial();
      },
      options,
      new Timers(),
    );
  }

  /** Makes an attempt, however long its pause, and has the connection if it succeeds. */
  async attempt(): Promise<void> {
    const attempt = this.again.attempt().then(() => this.again.connected(), () => {});
    while (!await isSettled(attempt)) await this.clock.pass(1);
  }

  [Symbol.dispose](): void {
    Math.random = this.#random;
    this.clock[Symbol.dispose]();
  }
}

Deno.test("attempt() returns the connection, and dials without a pause at first", async () => {
  using bench = new Bench();
  const conn = new ScriptedConnection();
  bench.dial = () => Promise.resolve(conn);
  equal(await bench.again.attempt(), conn);
  equal(bench.signals[0]!.aborted, false);
  deepEqual(bench.dialled, [0]);
});

Deno.test("attempt() rejects with what dialling rejects with", async () => {
  using bench = new Bench();
  await rejects(bench.again.attempt(), /nobody there/);
});

Deno.test("attempts that fail follow each other after pauses that grow", async () => {
  using bench = new Bench({ initialDelayMs: 10, maxDelayMs: 50 });
  for (let i = 0; i < 6; i++) await bench.attempt();
  deepEqual(bench.dialled, [0, 10, 30, 70, 120, 170]);
});

Deno.test("the pauses are 20 milliseconds at first and two seconds at most, by default", async () => {
  using bench = new Bench();
  for (let i = 0; i < 10; i++) await bench.attempt();
  const pauses = bench.dialled.slice(1).map((time, at) => time - bench.dialled[at]!);
  deepEqual(pauses, [20, 40, 80, 160, 320, 640, 1_280, 2_000, 2_000]);
});

Deno.test("a connection that lasted longer than the longest pause is followed at once", async () => {
  using bench = new Bench({ initialDelayMs: 10, maxDelayMs: 50 });
  for (let i = 0; i < 3; i++) await bench.attempt();
  bench.dial = () => Promise.resolve(new ScriptedConnection());
  await bench.attempt();
  await bench.clock.pass(51);
  await bench.attempt();
  deepEqual(bench.dialled, [0, 10, 30, 70, 121]);
  await bench.attempt();
  equal(bench.dialled.at(-1), 131); // the pauses begin anew
});

Deno.test("a connection that was lost soon counts as a failure", async () => {
  using bench = new Bench({ initialDelayMs: 10, maxDelayMs: 50 });
  bench.dial = () => Promise.resolve(new ScriptedConnection());
  await bench.attempt();
  await bench.clock.pass(50);
  await bench.attempt();
  await bench.attempt();
  deepEqual(bench.dialled, [0, 60, 80]);
});

Deno.test("time without a connection does not count as one that lasted", async () => {
  using bench = new Bench({ initialDelayMs: 10, maxDelayMs: 50 });
  bench.again.connected();
  await bench.clock.pass(100);
  await bench.attempt();
  await bench.clock.pass(100);
  await bench.attempt();
  deepEqual(bench.dialled, [100, 210]);
});

Deno.test("before there was any connection, pauses follow failures", async () => {
  using bench = new Bench({ initialDelayMs: 10, maxDelayMs: 50 });
  await bench.attempt();
  await bench.clock.pass(1_000);
  await bench.attempt();
  deepEqual(bench.dialled, [0, 1_010]);
});

Deno.test("close() gives up an attempt, and ends the pause before one", async () => {
  using bench = new Bench({ initialDelayMs: 10 });
  await bench.attempt();
  const attempt = bench.again.attempt();
  equal(await isSettled(attempt), false);
  bench.again.close();
  await rejects(attempt);
  ok(bench.signals.every(({ aborted }) => aborted));
  deepEqual(bench.clock.delays, []);
});

Deno.test("close() also ends an attempt whose listener throws", async () => {
  using bench = new Bench();
  let called = false;
  bench.dial = () => {
    const { promise, reject } = Promise.withResolvers<never>();
    bench.signals[0]!.addEventListener("abort", () => {
      reject(new Error("left"));
      called = true;
      throw new Error("in a listener");
    });
    return promise;
  };
  const attempt = bench.again.attempt();
  bench.again.close();
  await rejects(attempt, /left/);
  ok(called);
});

Deno.test("delays that are none are refused", () => {
  for (const options of [{ initialDelayMs: -1 }, { maxDelayMs: NaN }]) {
    throws(() => new Reconnect(() => Promise.reject(), options, new Timers()), {
      name: "RangeError",
      message: /^Cannot reconnect with/,
    });
  }
});
