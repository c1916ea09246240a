// The connections of a client: lost ones, used up ones, and those that follow them.

import { deepEqual, equal, ok } from "node:assert/strict";
import type { ByteConnection } from "../transport.ts";
import type { CallSettings } from "../engine/call_options.ts";
import type { ClientCall } from "../engine/client_call.ts";
import { closedStatus } from "../engine/client_connection.ts";
import { ClientConnections } from "../engine/client_connections.ts";
import { FrameType } from "../framing.ts";
import { resolveLimits } from "../limits.ts";
import { Reconnect } from "../net/reconnect.ts";
import { Code, OK, RpcError } from "../status.ts";
import { clientCall, outline, responseBytes, TestKeeper } from "./client_stand_ins.ts";
import { frameBytes, ScriptedConnection } from "./scripted_connection.ts";
import { FakeTimers, isSettled, settle } from "./stand_ins.ts";

const LARGEST_ID = 2 ** 32 - 1;

interface Setup {
  /** Whether there is a way to connect again. */
  dials?: boolean;
  reconnects?: boolean;
  firstId?: number;
  name?: string | undefined;
  /** Whether an attempt ends when it is given up. */
  heeds?: boolean;
  onClose?: (error?: RpcError) => void;
}

/** A client's connections, whose servers are the test. */
class Bench {
  readonly timers = new FakeTimers();
  readonly keeper = new TestKeeper();
  readonly closes: (string | undefined)[] = [];
  /** How often `deadlines.close()` was called. */
  deadlinesClosed = 0;
  /** The connections, in the order they were made. */
  readonly conns = [new ScriptedConnection()];
  readonly connections: ClientConnections;
  /** How many connections the pauses between attempts know of. */
  connected = 0;
  readonly #attempts: PromiseWithResolvers<ByteConnection>[] = [];

  constructor(setup: Setup = {}) {
    const { dials = true, reconnects = true, heeds = true, ...rest } = setup;
    this.keeper.deadlines.close = () => void this.deadlinesClosed++;
    const dial = (signal: AbortSignal) => {
      const attempt = Promise.withResolvers<ByteConnection>();
      if (heeds) signal.addEventListener("abort", () => attempt.reject(signal.reason));
      this.#attempts.push(attempt);
      return attempt.promise;
    };
    // Without pauses, but for the test of them.
    const again = new Reconnect(dial, { initialDelayMs: 0, maxDelayMs: 0 }, this.timers);
    again.connected = () => void this.connected++;
    this.connections = new ClientConnections(this.conns[0]!, {
      name: "server.sock",
      limits: resolveLimits(undefined),
      timers: this.timers,
      keeper: this.keeper,
      extension: undefined,
      onClose: (error) => void this.closes.push(error?.message),
      reconnects,
      again: dials ? again : undefined,
      ...rest,
    });
  }

  /** How often it was dialled. */
  get attempts(): number {
    return this.#attempts.length;
  }

  /** Lets the last attempt succeed, and does something before anybody knows. */
  async connect(before?: () => void): Promise<ScriptedConnection> {
    const conn = new ScriptedConnection();
    this.conns.push(conn);
    await this.timers.pass(0);
    this.#attempts.at(-1)!.resolve(conn);
    before?.();
    await settle();
    return conn;
  }

  /** Lets the last attempt fail. */
  async refuse(error: unknown): Promise<void> {
    await this.timers.pass(0);
    this.#attempts.at(-1)!.reject(error);
    await settle();
  }

  start(settings: Partial<CallSettings> = {}): ClientCall {
    const call = clientCall("unary", settings, {}, this.keeper);
    this.connections.start(call);
    return call;
  }

  /** Lets a connection be lost. */
  async lose(at = this.conns.length - 1): Promise<void> {
    this.conns[at]!.fail(new Error("reset"));
    await settle();
  }

  /** Closes all, and waits until nothing of it is left. */
  async close(): Promise<void> {
    this.connections.close();
    await this.timers.pass(1_000);
    await this.connections.ended;
  }

  /** The ids of the calls that a connection has got. */
  ids(at: number): number[] {
    return outline(this.conns[at]!.frames()).filter(([, type]) => type === FrameType.Request)
      .map(([id]) => id);
  }
}

function codes(calls: readonly ClientCall[]): (number | undefined)[] {
  return calls.map(({ status }) => status?.code);
}

Deno.test("calls go to the connection that there is", async () => {
  const bench = new Bench();
  bench.start();
  bench.start();
  await settle();
  deepEqual(bench.ids(0), [1, 3]);
  deepEqual(bench.connections.open.map(({ calls }) => calls), [2]);
  equal(bench.connections.name, "server.sock");
  equal(bench.connections.closing, undefined);
  equal(bench.attempts, 0);
  await bench.close();
});

Deno.test("after a loss, calls wait for one new connection, and go to it in order", async () => {
  const bench = new Bench();
  const lost = bench.start();
  await bench.lose();
  equal(lost.status?.code, Code.UNAVAILABLE);
  const calls = [bench.start(), bench.start()];
  deepEqual([...bench.keeper.waiting], calls);
  await settle();
  calls.push(bench.start());
  equal(bench.attempts, 1);
  await bench.connect();
  equal(bench.keeper.waiting.size, 0);
  deepEqual(calls.map(({ id }) => id), [1, 3, 5]);
  deepEqual(bench.ids(1), [1, 3, 5]);
  bench.start();
  await settle();
  deepEqual(bench.ids(1), [1, 3, 5, 7]);
  equal(bench.attempts, 1);
  deepEqual(bench.connections.open.length, 1);
  await bench.close();
});

Deno.test("a loss without a call dials nothing until there is one", async () => {
  const bench = new Bench();
  await bench.lose();
  equal(bench.attempts, 0);
  deepEqual(bench.closes, ["UNAVAILABLE: connection to server.sock lost: reset"]);
  equal(await isSettled(bench.connections.ended), false);
  await bench.close();
});

Deno.test("calls end with why no connection could be made, and later ones try again", async () => {
  const bench = new Bench();
  await bench.lose();
  const calls = [bench.start(), bench.start()];
  await bench.refuse(new RpcError(Code.PERMISSION_DENIED, "no"));
  deepEqual(calls.map(({ status }) => [status?.code, status?.message]), [
    [Code.PERMISSION_DENIED, "no"],
    [Code.PERMISSION_DENIED, "no"],
  ]);
  equal(bench.keeper.waiting.size, 0);
  equal(await isSettled(bench.connections.ended), false);
  const call = bench.start();
  await bench.connect();
  equal(bench.attempts, 2);
  equal(call.id, 1);
  await bench.close();
});

Deno.test("a call that ends while it waits is not sent, and the others are", async () => {
  const bench = new Bench();
  await bench.lose();
  const [over, call] = [bench.start(), bench.start()];
  over.expire();
  deepEqual([...bench.keeper.waiting], [call]);
  await bench.connect();
  deepEqual(bench.ids(1), [1]);
  equal(call.id, 1);
  await bench.close();
});

Deno.test("a new connection that is lost at once is followed by another", async () => {
  const bench = new Bench();
  await bench.lose();
  const first = bench.start();
  await bench.connect();
  await bench.lose();
  equal(first.status?.code, Code.UNAVAILABLE);
  const second = bench.start();
  await bench.connect();
  deepEqual(bench.ids(2), [1]);
  equal(second.status, undefined);
  deepEqual(bench.closes.length, 2);
  await bench.close();
});

Deno.test("without reconnect, a loss is the end", async () => {
  for (const setup of [{ reconnects: false }, { dials: false, reconnects: false }]) {
    const bench = new Bench(setup);
    equal(await isSettled(bench.connections.ended), false);
    await bench.lose();
    await bench.connections.ended;
    equal(bench.deadlinesClosed, 1);
    const call = bench.start();
    equal(call.status?.message, "connection to server.sock lost: reset");
    equal(bench.attempts, 0);
  }
});

Deno.test("without reconnect, calls end when a write has failed, though what comes is read still", async () => {
  const bench = new Bench({ reconnects: false });
  bench.conns[0]!.writeError = new Error("broken pipe");
  const first = bench.start();
  await settle();
  const late = bench.start();
  equal(late.status?.message, "connection to server.sock lost: broken pipe");
  equal(first.status, undefined);
  equal(bench.attempts, 0);
  await bench.close();
});

Deno.test("with reconnect, a failed write sends later calls to a new connection, and the old one is read to its end", async () => {
  const bench = new Bench();
  const [old] = bench.conns;
  const first = bench.start();
  await settle();
  old!.writeError = new Error("broken pipe");
  const second = bench.start();
  await settle();
  const third = bench.start();
  await bench.connect();
  deepEqual(bench.ids(1), [1]);
  deepEqual(codes([first, second, third]), [undefined, undefined, undefined]);
  equal(bench.connections.open.length, 2);
  old!.feed(responseBytes(first.id));
  await settle();
  deepEqual(first.status, OK);
  old!.end();
  await settle();
  equal(second.status?.code, Code.UNAVAILABLE);
  equal(bench.connections.open.length, 1);
  equal(third.status, undefined);
  await bench.close();
});

for (const reconnects of [true, false]) {
  Deno.test(`when stream ids run out, calls go to a new connection, and the old one is closed when it is idle, with reconnect: ${reconnects}`, async () => {
    const bench = new Bench({ firstId: LARGEST_ID, reconnects });
    const [old] = bench.conns;
    const first = bench.start();
    const second = bench.start();
    deepEqual([...bench.keeper.waiting], [second]);
    await bench.connect();
    deepEqual(bench.ids(0), [LARGEST_ID]);
    deepEqual(bench.ids(1), [LARGEST_ID]);
    deepEqual(codes([first, second]), [undefined, undefined]);
    deepEqual(old!.called, []);

    const third = bench.start(); // the second connection has but one id, too
    const newest = await bench.connect();
    deepEqual(bench.ids(2), [LARGEST_ID]);
    equal(bench.connections.open.length, 3);

    old!.feed(responseBytes(LARGEST_ID));
    await settle();
    deepEqual(first.status, OK);
    deepEqual(old!.called, ["closeWrite"]);
    old!.end();
    await settle();
    deepEqual(old!.called, ["closeWrite", "close"]);
    deepEqual(bench.closes, [undefined]);
    equal(bench.connections.open.length, 2);
    equal(await isSettled(bench.connections.ended), false);

    bench.conns[1]!.feed(responseBytes(LARGEST_ID));
    newest.feed(responseBytes(LARGEST_ID));
    await settle();
    deepEqual([second.status, third.status], [OK, OK]);
    await bench.close();
  });
}

Deno.test("when stream ids run out on an idle connection, it is closed once there is another", async () => {
  const bench = new Bench({ firstId: LARGEST_ID, reconnects: false });
  bench.start();
  await settle();
  bench.conns[0]!.feed(responseBytes(LARGEST_ID));
  await settle();
  bench.start();
  await settle();
  deepEqual(bench.conns[0]!.called, []);
  await bench.connect();
  deepEqual(bench.conns[0]!.called, ["closeWrite"]);
  await bench.close();
});

Deno.test("calls that wait for room when the last stream id is taken go to a new connection", async () => {
  const bench = new Bench({ firstId: LARGEST_ID, reconnects: false });
  const { sink } = bench.conns[0]!;
  sink.hold();
  const { queue } = bench.connections.open[0]!;
  queue.writer.bytes(frameBytes({ streamId: 99, data: new Uint8Array(1 << 18) }));
  queue.send(10 + (1 << 18));
  const calls = Array.from({ length: 4 }, () => bench.start());
  calls[1]!.expire();
  await settle();
  equal(bench.attempts, 0);
  sink.resume();
  await settle();
  equal(calls[0]!.id, LARGEST_ID);
  deepEqual([...bench.keeper.waiting], calls.slice(2));
  equal(bench.attempts, 1);
  await bench.connect();
  equal(calls[2]!.id, LARGEST_ID);
  await bench.connect();
  equal(calls[3]!.id, LARGEST_ID);
  deepEqual(codes(calls), [undefined, Code.DEADLINE_EXCEEDED, undefined, undefined]);
  await bench.close();
});

Deno.test("when stream ids run out and no connection can be made, calls say why, and those in flight go on", async () => {
  const bench = new Bench({ firstId: LARGEST_ID, reconnects: false });
  const first = bench.start();
  const second = bench.start();
  await bench.refuse(new RpcError(Code.UNAVAILABLE, "nobody there"));
  equal(second.status?.message, "nobody there");
  bench.conns[0]!.feed(responseBytes(LARGEST_ID));
  await settle();
  deepEqual(first.status, OK);
  await bench.close();
});

Deno.test("without a way to dial, calls for which there is no stream id say so", async () => {
  const bench = new Bench({ firstId: LARGEST_ID, dials: false, reconnects: false });
  const first = bench.start();
  const late = bench.start();
  deepEqual([late.status?.code, late.status?.message], [
    Code.UNAVAILABLE,
    "connection to server.sock has used up its stream ids: connect again",
  ]);
  equal(first.status, undefined);
  equal(bench.keeper.waiting.size, 0);
  bench.conns[0]!.feed(responseBytes(LARGEST_ID));
  await settle();
  deepEqual(first.status, OK);
  equal(await isSettled(bench.connections.ended), false);
  await bench.lose();
  await bench.connections.ended;
});

Deno.test("close() ends the calls in flight, those that wait, and those that come later", async () => {
  const bench = new Bench({ firstId: LARGEST_ID });
  const calls = [bench.start(), bench.start()];
  bench.connections.close();
  calls.push(bench.start());
  deepEqual(calls.map(({ status }) => status), new Array(3).fill(closedStatus("server.sock")));
  deepEqual(bench.connections.closing, closedStatus("server.sock"));
  equal(bench.connections.open.length, 0);
  deepEqual(bench.conns[0]!.called, ["close"]);
  await bench.connections.ended;
  equal(bench.keeper.waiting.size, 0);
  ok(bench.deadlinesClosed > 0);
  equal(bench.timers.running, 0);
});

Deno.test("close() ends all connections that are open, old and new", async () => {
  const bench = new Bench({ firstId: LARGEST_ID });
  const first = bench.start();
  const second = bench.start();
  await bench.connect();
  bench.connections.close();
  deepEqual(codes([first, second]), [Code.CANCELLED, Code.CANCELLED]);
  deepEqual(bench.conns.map(({ called }) => called), [["close"], ["close"]]);
  await bench.connections.ended;
  deepEqual(bench.closes, [undefined, undefined]);
});

Deno.test("close() while there is no connection is the end at once", async () => {
  const bench = new Bench();
  await bench.lose();
  bench.connections.close();
  await bench.connections.ended;
  equal(bench.start().status?.code, Code.CANCELLED);
  equal(bench.attempts, 0);
});

Deno.test("close() during an attempt gives it up, and is over when that is", async () => {
  const bench = new Bench();
  await bench.lose();
  const call = bench.start();
  await bench.timers.pass(0);
  equal(bench.attempts, 1);
  bench.connections.close();
  equal(call.status?.code, Code.CANCELLED);
  equal(await isSettled(bench.connections.ended), true);
});

Deno.test("a connection that is made all the same is closed", async () => {
  for (const heeds of [true, false]) {
    const bench = new Bench({ heeds });
    await bench.lose();
    const call = bench.start();
    const conn = await bench.connect(() => bench.connections.close());
    deepEqual(conn.called, ["closeWrite"]);
    equal(call.status?.code, Code.CANCELLED);
    await bench.timers.pass(100);
    deepEqual(conn.called, ["closeWrite", "close"]);
    await bench.connections.ended;
    deepEqual(bench.ids(1), []);
  }
});

Deno.test("an attempt that does not end when it is given up is waited for", async () => {
  const bench = new Bench({ heeds: false });
  await bench.lose();
  const call = bench.start();
  await bench.timers.pass(0);
  bench.connections.close();
  equal(call.status?.code, Code.CANCELLED);
  equal(await isSettled(bench.connections.ended), false);
  await bench.refuse(new Error("too late"));
  await bench.connections.ended;
});

Deno.test("close() of connections that cannot be followed by others ends them", async () => {
  const bench = new Bench({ dials: false });
  const call = bench.start();
  await bench.close();
  equal(call.status?.code, Code.CANCELLED);
  deepEqual(bench.conns[0]!.called, ["close"]);
});

Deno.test("the pauses between attempts know of every connection, also of the first", async () => {
  const bench = new Bench();
  equal(bench.connected, 1);
  await bench.lose();
  bench.start();
  equal(bench.connected, 1);
  await bench.connect();
  equal(bench.connected, 2);
  await bench.close();
});

Deno.test("close() keeps calls for which there is no stream id from dialling", async () => {
  const bench = new Bench({ firstId: LARGEST_ID });
  const { sink } = bench.conns[0]!;
  sink.hold();
  const { queue } = bench.connections.open[0]!;
  queue.writer.bytes(new Uint8Array(1 << 18));
  queue.send(1 << 18);
  const calls = [bench.start(), bench.start()];
  bench.connections.close();
  sink.resume();
  await settle();
  deepEqual(calls[1]!.status, closedStatus("server.sock"));
  await bench.timers.pass(1_000);
  await bench.connections.ended;
  deepEqual(codes(calls), [Code.CANCELLED, Code.CANCELLED]);
  equal(bench.attempts, 0);
  equal(bench.keeper.waiting.size, 0);
});

Deno.test("ended waits until reads that are under way have returned", async () => {
  const bench = new Bench();
  const [conn] = bench.conns;
  conn!.endsReads = false;
  bench.start();
  bench.connections.close();
  equal(await isSettled(bench.connections.ended), false);
  equal(bench.deadlinesClosed, 0);
  conn!.end();
  await bench.connections.ended;
  equal(bench.deadlinesClosed, 1);
});

Deno.test("unref() and ref() are for all connections, and for those to come", async () => {
  const bench = new Bench({ firstId: LARGEST_ID });
  const told: string[] = [];
  bench.timers.ref = () => void told.push("ref");
  bench.timers.unref = () => void told.push("unref");
  bench.start();
  bench.start();
  await bench.connect();
  deepEqual(bench.conns.map(({ called }) => called), [[], []]);
  bench.connections.unref();
  bench.start();
  await bench.connect();
  deepEqual(bench.conns.map(({ called }) => called), [["unref"], ["unref"], ["unref"]]);
  bench.connections.ref();
  bench.start();
  await bench.connect();
  deepEqual(bench.conns.map(({ called }) => called), [
    ...new Array(3).fill(["unref", "ref"]),
    [],
  ]);
  deepEqual(told, ["unref", "ref"]);
  await bench.close();
});

Deno.test("the bytes of connections that have ended still count", async () => {
  const bench = new Bench();
  bench.start();
  await settle();
  bench.conns[0]!.feed(responseBytes(1));
  await settle();
  const { open } = bench.connections;
  const { bytesReceived, bytesSent } = bench.keeper.tally.stats(open);
  ok(bytesReceived > 0 && bytesSent > 0);
  await bench.lose();
  equal(bench.connections.open.length, 0);
  const after = bench.keeper.tally.stats([]);
  deepEqual([after.bytesReceived, after.bytesSent], [bytesReceived, bytesSent]);
  await bench.close();
});

Deno.test("what onClose throws harms nobody", async () => {
  const bench = new Bench({
    reconnects: false,
    onClose: () => {
      throw new Error("in onClose");
    },
  });
  const call = bench.start();
  await bench.lose();
  await bench.connections.ended;
  equal(call.status?.code, Code.UNAVAILABLE);
});

Deno.test("connections have no name if the client has none", async () => {
  const bench = new Bench({ name: undefined });
  equal(bench.connections.name, undefined);
  const call = bench.start();
  await bench.close();
  equal(call.status?.message, "the connection is closed");
});
