// Attempts to open a connection, by a clock that the test moves.

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import type { ParsedAddress } from "../address.ts";
import type { ByteConnection } from "../transport.ts";
import { dial, type Dialer, type DialOptions, isDialer, open } from "../net/dial.ts";
import { Code, RpcError } from "../status.ts";
import { Timers } from "../async/timer.ts";
import { CountedSignal } from "./counted_signal.ts";
import { FakeClock } from "./fake_clock.ts";
import { ScriptedConnection } from "./scripted_connection.ts";
import { isSettled, settle } from "./stand_ins.ts";

type Answer = ByteConnection | Error | "nothing";

/** Answers attempts one by one, the last answer again and again. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  /** When it was dialled, in milliseconds since the start. */
  readonly dialled: number[] = [];
  readonly signals: AbortSignal[] = [];
  readonly #start = this.clock.now;
  readonly #answers: Answer[];

  constructor(...answers: Answer[]) {
    this.#answers = answers;
  }

  dial(options: DialOptions = {}, name: string | undefined = "x.sock"): Promise<ByteConnection> {
    const dialer: Dialer = {
      name,
      dial: (signal) => {
        this.dialled.push(this.clock.now - this.#start);
        this.signals.push(signal);
        const answer = this.#answers.length > 1 ? this.#answers.shift()! : this.#answers[0]!;
        if (answer === "nothing") return new Promise(() => {});
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    };
    const conn = dial(dialer, options, new Timers());
    conn.catch(() => {});
    return conn;
  }

  [Symbol.dispose](): void {
    this.clock[Symbol.dispose]();
  }
}

const CONN = new ScriptedConnection();
const NOT_FOUND = new Deno.errors.NotFound("no such file");
const BUSY = new Deno.errors.WouldBlock("busy");

Deno.test("isDialer() tells dialers from addresses", () => {
  for (const dialer of [{ dial: () => {} }, { dial() {}, name: "x" }]) ok(isDialer(dialer));
  for (const other of [undefined, null, "x", 5, {}, { dial: 5 }, { path: "x" }, () => {}]) {
    equal(isDialer(other), false);
  }
});

Deno.test("dial() returns the connection, and leaves no timer and no listener", async () => {
  using bench = new Bench(CONN);
  const counted = new CountedSignal();
  equal(await bench.dial({ connectTimeoutMs: 50, signal: counted.signal }), CONN);
  equal(bench.signals[0]!.aborted, false);
  deepEqual(bench.clock.delays, []);
  equal(counted.listeners, 0);
  deepEqual(bench.dialled, [0]);
});

Deno.test("dial() does not abort its signal later on", async () => {
  using bench = new Bench(CONN);
  await bench.dial({ connectTimeoutMs: 50 });
  await bench.clock.pass(100);
  equal(bench.signals[0]!.aborted, false);
});

Deno.test("a dialer whose listener throws when the time is up harms nobody", async () => {
  using bench = new Bench("nothing");
  const late = bench.dial({ connectTimeoutMs: 50 });
  let called = false;
  bench.signals[0]!.addEventListener("abort", () => {
    called = true;
    throw new Error("in a listener");
  });
  await bench.clock.pass(50);
  await rejects(late, { code: Code.DEADLINE_EXCEEDED });
  ok(called);
});

const REASONS: [error: Error, code: Code, reason: string][] = [
  [NOT_FOUND, Code.UNAVAILABLE, "there is no such socket"],
  [new Deno.errors.ConnectionRefused("os error"), Code.UNAVAILABLE, "no server listens there"],
  [new Deno.errors.ConnectionReset("reset"), Code.UNAVAILABLE, "reset"],
  [new Deno.errors.PermissionDenied("not yours"), Code.PERMISSION_DENIED, "not yours"],
  [new RpcError(Code.UNAUTHENTICATED, "who?"), Code.UNAUTHENTICATED, "who?"],
  [new Error("anything"), Code.UNAVAILABLE, "anything"],
];

for (const [error, code, reason] of REASONS) {
  Deno.test(`dial() says that ${reason}`, async () => {
    using bench = new Bench(error);
    await rejects(bench.dial(), {
      name: "RpcError",
      code,
      rawMessage: `cannot connect to x.sock: ${reason}`,
      cause: error,
    });
    deepEqual(bench.dialled, [0]);
    deepEqual(bench.clock.delays, []);
  });
}

Deno.test("dial() passes on that Deno does not allow it, whatever else is wrong", async () => {
  const error = new Deno.errors.NotCapable("run again with --allow-net");
  using bench = new Bench(error);
  await rejects(bench.dial(), error);
  await rejects(bench.dial({ waitForReady: true }), error);
});

Deno.test("dial() refuses what is no connection", async () => {
  using bench = new Bench({} as ByteConnection);
  await rejects(bench.dial(), {
    name: "TypeError",
    message: "Cannot connect to x.sock: dial() has not returned a connection",
  });
});

Deno.test("dial() refuses options that make no sense", async () => {
  using bench = new Bench(CONN);
  await rejects(bench.dial({ connectTimeoutMs: NaN }), RangeError);
  await rejects(bench.dial({ signal: {} as AbortSignal }), {
    name: "TypeError",
    message: "Cannot use the signal: it is not an AbortSignal",
  });
  deepEqual(bench.dialled, []);
});

Deno.test("dial() with waitForReady tries again after pauses that grow up to a quarter of a second", async () => {
  using bench = new Bench(...new Array(10).fill(NOT_FOUND), CONN);
  const conn = bench.dial({ waitForReady: true });
  await bench.clock.pass(2_000);
  equal(await conn, CONN);
  const pauses = bench.dialled.slice(1).map((time, at) => time - bench.dialled[at]!);
  deepEqual(pauses, [5, 10, 20, 40, 80, 160, 250, 250, 250, 250]);
  deepEqual(bench.clock.delays, []);
});

const TRANSIENT = [
  NOT_FOUND,
  new Deno.errors.ConnectionRefused(),
  new Deno.errors.ConnectionReset(),
  BUSY,
  new RpcError(Code.UNAVAILABLE, "not yet"),
];

Deno.test("dial() with waitForReady waits for what may be there soon, and for nothing else", async () => {
  for (const error of TRANSIENT) {
    using bench = new Bench(error, CONN);
    const conn = bench.dial({ waitForReady: true });
    await bench.clock.pass(5);
    equal(await conn, CONN);
  }
  const others = [
    new Error("x"),
    new Deno.errors.PermissionDenied(),
    new RpcError(Code.NOT_FOUND, "x"),
    Object.assign(new Error("x"), { code: Code.UNAVAILABLE }),
    new Deno.errors.TimedOut(),
  ];
  for (const error of others) {
    using bench = new Bench(error);
    await rejects(bench.dial({ waitForReady: true }));
    deepEqual(bench.dialled, [0]);
  }
});

Deno.test("dial() without waitForReady waits for a server that is busy only, and not for long", async () => {
  for (const error of TRANSIENT) {
    using bench = new Bench(error);
    const conn = bench.dial();
    await bench.clock.pass(10_000);
    await rejects(conn);
    deepEqual(bench.dialled, error === BUSY ? [0, 5, 15, 35, 75, 155, 315] : [0]);
  }
});

Deno.test("dial() ends after its time, and says what came of the last try", async () => {
  using bench = new Bench(NOT_FOUND);
  const conn = bench.dial({ waitForReady: true, connectTimeoutMs: 100 });
  await bench.clock.pass(99);
  equal(await isSettled(conn), false);
  await bench.clock.pass(1);
  await rejects(conn, {
    code: Code.DEADLINE_EXCEEDED,
    rawMessage: "cannot connect to x.sock: the connectTimeoutMs of 100 ms has passed; " +
      "the last attempt: there is no such socket",
    cause: NOT_FOUND,
  });
  deepEqual(bench.dialled, [0, 5, 15, 35, 75]);
  deepEqual(bench.clock.delays, []);
});

Deno.test("dial() without time does not dial", async () => {
  for (const timeoutMs of [0, -5]) {
    using bench = new Bench(CONN);
    await rejects(bench.dial({ connectTimeoutMs: timeoutMs }), ({ code, cause, rawMessage }) => {
      equal(code, Code.DEADLINE_EXCEEDED);
      equal(
        rawMessage,
        `cannot connect to x.sock: the connectTimeoutMs of ${timeoutMs} ms has passed`,
      );
      equal(cause.name, "TimeoutError");
      return true;
    });
    deepEqual(bench.dialled, []);
    deepEqual(bench.clock.delays, []);
  }
});

Deno.test("dial() with little time dials", async () => {
  using bench = new Bench(CONN);
  equal(await bench.dial({ connectTimeoutMs: 1 }), CONN);
});

Deno.test("dial() has a name for a server that has none", async () => {
  const conn = dial({ dial: () => Promise.reject(new Error("no")) }, {}, new Timers());
  await rejects(conn, { rawMessage: /^cannot connect to \w[\w ]+: no$/ });
  await rejects(conn, ({ rawMessage }) => !rawMessage.includes("undefined"));
});

Deno.test("dial() with a signal that is aborted does not dial", async () => {
  using bench = new Bench(CONN);
  const reason = new Error("enough");
  await rejects(bench.dial({ signal: AbortSignal.abort(reason), connectTimeoutMs: 50 }), {
    code: Code.CANCELLED,
    rawMessage: "cannot connect to x.sock: the caller gave up: enough",
    cause: reason,
  });
  deepEqual(bench.dialled, []);
  deepEqual(bench.clock.delays, []);
});

Deno.test("dial() leaves an attempt that does not settle, at its time and by its signal", async () => {
  using bench = new Bench("nothing");
  const { signal, controller } = new CountedSignal();
  const [late, left] = [bench.dial({ connectTimeoutMs: 50 }), bench.dial({ signal })];
  await bench.clock.pass(50);
  await rejects(late, { code: Code.DEADLINE_EXCEEDED });
  equal(await isSettled(left), false);
  controller.abort();
  await rejects(left, { code: Code.CANCELLED });
  ok(bench.signals.every(({ aborted }) => aborted));
  deepEqual(bench.clock.delays, []);
});

Deno.test("the reason of an abort is no try that has failed", async () => {
  using bench = new Bench("nothing");
  const { signal, controller } = new CountedSignal();
  const conn = bench.dial({ signal, waitForReady: true });
  await settle();
  const reason = new RpcError(Code.UNAVAILABLE, "over");
  controller.abort(reason);
  await rejects(conn, {
    rawMessage: "cannot connect to x.sock: the caller gave up: over",
    cause: reason,
  });
});

Deno.test("attempts that have failed do not listen to the signal any more", async () => {
  using clock = new FakeClock();
  let attempts = 0;
  let listeners = 1; // of the first attempt
  const watch = (signal: AbortSignal) => {
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...given: Parameters<typeof addEventListener>) => {
      listeners++;
      addEventListener.apply(signal, given);
    };
    signal.removeEventListener = (...given: Parameters<typeof removeEventListener>) => {
      listeners--;
      removeEventListener.apply(signal, given);
    };
  };
  const dialer = {
    dial: (signal: AbortSignal) => {
      if (attempts++ === 0) watch(signal);
      equal(listeners, 1);
      return attempts < 5 ? Promise.reject(NOT_FOUND) : Promise.resolve(CONN);
    },
  };
  const conn = dial(dialer, { waitForReady: true }, new Timers());
  await clock.pass(1_000);
  equal(await conn, CONN);
  equal(listeners, 0);
});

Deno.test("dial() is left during a pause", async () => {
  using bench = new Bench(NOT_FOUND);
  const { signal, controller } = new CountedSignal();
  const conn = bench.dial({ signal, waitForReady: true });
  await settle();
  controller.abort();
  await rejects(conn, { code: Code.CANCELLED, cause: NOT_FOUND });
  deepEqual(bench.dialled, [0]);
  deepEqual(bench.clock.delays, []);
});

Deno.test("a connection of an attempt that was left is closed", async () => {
  const { promise, resolve } = Promise.withResolvers<ByteConnection>();
  const { signal, controller } = new CountedSignal();
  const conn = dial({ dial: () => promise }, { signal }, new Timers());
  conn.catch(() => {});
  await settle();
  controller.abort();
  await rejects(conn);
  const late = new ScriptedConnection();
  resolve(late);
  await settle();
  deepEqual(late.called, ["close"]);
});

Deno.test("what else comes of an attempt that was left concerns nobody", async () => {
  for (const how of ["resolve", "reject"] as const) {
    const attempt = Promise.withResolvers<ByteConnection>();
    const { signal, controller } = new CountedSignal();
    const conn = dial({ dial: () => attempt.promise }, { signal }, new Timers());
    conn.catch(() => {});
    await settle();
    controller.abort();
    await rejects(conn);
    if (how === "resolve") attempt.resolve({} as ByteConnection);
    else attempt.reject(new Error("late"));
    await settle();
  }
});

Deno.test("what a dialer throws at once is what it rejects with", async () => {
  const conn = dial(
    {
      dial: () => {
        throw new Error("at once");
      },
    },
    {},
    new Timers(),
  );
  await rejects(conn, { code: Code.UNAVAILABLE, message: /at once/ });
});

Deno.test("open() connects to an address as it is, and sends small packets over TCP at once", async () => {
  const { connect } = Deno;
  const { signal } = new AbortController();
  const asked: unknown[] = [];
  const noDelay: unknown[] = [];
  const conn = { setNoDelay: (...given: unknown[]) => void noDelay.push(given) };
  Deno.connect = ((options: unknown) => {
    asked.push(options);
    return Promise.resolve(conn);
  }) as typeof Deno.connect;
  try {
    const unix: ParsedAddress = { transport: "unix", path: "/run/x.sock" };
    const tcp: ParsedAddress = { transport: "tcp", hostname: "::1", port: 1024 };
    const vsock: ParsedAddress = { transport: "vsock", cid: 3, port: 1024 };
    for (const address of [unix, vsock]) equal(await open(address, signal), conn);
    deepEqual(noDelay, []);
    equal(await open(tcp, signal), conn);
    deepEqual(asked, [unix, vsock, { ...tcp, signal }]);
    deepEqual(noDelay, [[true]]);
  } finally {
    Deno.connect = connect;
  }
});
