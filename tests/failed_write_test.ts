// What a client does between a failed write and the end of what can be read: new calls, deadlines,
// uploads, memory, and the connection that follows.

import {
  type Client,
  Code,
  connect,
  type ConnectOptions,
  type Dialer,
  RpcError,
} from "@ttrpc/ttrpc/core";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Bytes, errorOf, pass } from "./everywhere.ts";
import { Controlled, dataFrame, responseFrame } from "./controlled.ts";
import { soon, turn, until } from "./wait.ts";

const X = new Uint8Array([120]);
const KIB = 1 << 10;

/** A client that has a stream, and whose connection cannot be written any more. */
async function broken(options: ConnectOptions = {}) {
  const conn = new Controlled();
  const client = await connect(conn, options);
  const stream = client.service(Bytes).down(X);
  await conn.frame(0);
  const error = await breakWrites(client, conn);
  const lost = new RegExp(/connection to tcp:\/\/192\.0\.2\.1:1024 lost.*nobody reads/);
  return {
    conn,
    client,
    stream,
    error,
    lost,
    service: client.service(Bytes),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

/** Lets a call find out that nothing can be written. */
async function breakWrites(client: Client, conn: Controlled): Promise<Error> {
  const error = new Deno.errors.BrokenPipe("nobody reads");
  conn.failWrites(error);
  void errorOf(client.service(Bytes).one(X));
  await soon(conn.writeFailed, "the failed write");
  await turn();
  return error;
}

function check(found: unknown, code: Code, cause: unknown, message: RegExp): void {
  ok(found instanceof RpcError, String(found));
  deepEqual([found.code, found.cause], [code, cause]);
  match(found.message, message);
}

for (const [variant, options] of [["", {}], [" with interceptors", { interceptors: [pass] }]]) {
  Deno.test(`new calls${variant} fail at once after a failed write, while a stream goes on`, async () => {
    await using bed = await broken(options as ConnectOptions);
    const { conn, client, stream, error, lost, service } = bed;
    let asked = 0;
    const messages = {
      [Symbol.iterator]: () => ({ next: () => ({ done: ++asked > 3, value: X }) }),
    };
    const calls = [service.one(X), service.down(X).next(), service.up(messages)];
    calls.push(service.both(messages).next(), client.callRaw("test.Bytes", "One", X));
    for (const call of calls) {
      check(await soon(errorOf(call), "a new call"), Code.UNAVAILABLE, error, lost);
    }
    equal(asked, 0);
    for (let i = 0; i < 3; i++) {
      conn.deliver(dataFrame(1, X));
      deepEqual((await soon(stream.next(), "a message")).value, X);
    }
    conn.end();
    check(await soon(errorOf(stream.next()), "the end"), Code.UNAVAILABLE, error, lost);
    await client[Symbol.asyncDispose]();
    deepEqual(client.stats().callsFailed, { UNAVAILABLE: 7 });
  });
}

Deno.test("calls that wait for room in the write queue fail as soon as a write has", async () => {
  const conn = new Controlled();
  await using client = await connect(conn);
  const service = client.service(Bytes);
  const stream = service.down(X);
  await conn.frame(0);
  conn.stickWrites();
  const large = new Uint8Array(200 * KIB);
  const calls = Array.from({ length: 10 }, () => errorOf(service.one(large)));
  const late = calls.slice(5); // no room was left for these
  await turn();
  const error = new Deno.errors.BrokenPipe("nobody reads");
  conn.failWrites(error);
  for (const call of late) {
    check(await soon(call, "a call that waited"), Code.UNAVAILABLE, error, /nobody reads/);
  }
  conn.deliver(dataFrame(1, X));
  deepEqual((await soon(stream.next(), "a message")).value, X);
  conn.end();
  for (const call of calls) {
    check(await soon(call, "a call"), Code.UNAVAILABLE, error, /nobody reads/);
  }
  await stream.return();
});

Deno.test("deadlines and signals end calls that wait after a failed write", async () => {
  const conn = new Controlled();
  await using client = await connect(conn);
  const service = client.service(Bytes);
  const controller = new AbortController();
  const aborted = errorOf(service.one(X, { signal: controller.signal }));
  const timed = errorOf(service.one(X, { timeoutMs: 50 }));
  await conn.frame(1);
  await breakWrites(client, conn);
  controller.abort();
  equal((await soon(aborted, "the aborted call") as RpcError).code, Code.CANCELLED);
  equal((await soon(timed, "the timed call") as RpcError).code, Code.DEADLINE_EXCEEDED);
  conn.end();
  await soon(client.finished, "closed");
});

Deno.test("close() ends a connection that is only read any more", async () => {
  const closed: unknown[] = [];
  await using bed = await broken({ onClose: (error) => void closed.push(error) });
  const { conn, client, stream } = bed;
  client.close();
  equal((await soon(errorOf(stream.next()), "the stream") as RpcError).code, Code.CANCELLED);
  await soon(client.finished, "closed");
  equal(conn.closed, true);
  equal(closed.length, 1);
});

Deno.test("a connection that neither takes nor brings anything comes to an end", async () => {
  await using bed = await broken();
  const { client, stream, error, lost } = bed;
  check(await soon(errorOf(stream.next()), "the stream"), Code.UNAVAILABLE, error, lost);
  await soon(client.finished, "closed");
});

Deno.test("the producer of an upload is not asked for more once a write has failed", async () => {
  const conn = new Controlled();
  await using client = await connect(conn);
  let asked = 0;
  const messages = {
    [Symbol.iterator]: () => ({ next: () => ({ done: ++asked > 200_000, value: X }) }),
  };
  const upload = errorOf(client.service(Bytes).up(messages));
  await conn.frame(1);
  await breakWrites(client, conn);
  const before = asked;
  for (let i = 0; i < 50; i++) await turn();
  ok(asked - before <= 1, `it was asked for ${asked - before} messages more`);
  conn.deliver(responseFrame(1));
  equal(await soon(upload, "the answer"), "no error");
});

Deno.test("a peer that reads nothing, but sends on, does not fill the memory", async () => {
  const connectionQueueBytes = 256 * KIB;
  await using bed = await broken({ limits: { connectionQueueBytes } });
  const { conn, client, stream } = bed;
  const message = dataFrame(1, new Uint8Array(128 * KIB));
  conn.deliverAlways(() => message);
  for (let i = 0; i < 600; i++) await turn(); // each could bring a message
  const { queuedBytes } = client.stats();
  ok(queuedBytes <= 32 << 20, `${queuedBytes} bytes wait of ${conn.bytesRead}`);
  await stream.return();
});

Deno.test("whole frames before a reset in the middle of one are delivered", async () => {
  for (const write of [true, false]) {
    const conn = new Controlled();
    const closed: (RpcError | undefined)[] = [];
    await using client = await connect(conn, { onClose: (error) => void closed.push(error) });
    const service = client.service(Bytes);
    const [one, two, stream] = [service.one(X), errorOf(service.one(X)), service.down(X)];
    one.catch(() => {}); // awaited below
    await conn.frame(2);
    const broken = write ? await breakWrites(client, conn) : undefined;
    const reset = new Deno.errors.ConnectionReset("reset by the peer");
    const half = responseFrame(3, { payload: new Uint8Array(1_000) }).subarray(0, 500);
    conn.deliver(dataFrame(5, X), responseFrame(1, { payload: X }), half);
    conn.end(reset);
    deepEqual(await soon(one, "the answer"), X);
    deepEqual((await soon(stream.next(), "the message")).value, X);
    const cause = broken ?? reset;
    const text = write ? /nobody reads/ : /reset by the peer/;
    check(await soon(two, "the call without an answer"), Code.UNAVAILABLE, cause, text);
    check(await soon(errorOf(stream.next()), "the stream"), Code.UNAVAILABLE, cause, text);
    await soon(client.finished, "closed");
    equal(closed.length, 1);
    check(closed[0], Code.UNAVAILABLE, cause, text);
  }
});

/** A client that dials scripted connections. */
async function dialled(options: ConnectOptions = {}) {
  const conns: Controlled[] = [];
  const dialer: Dialer = {
    name: "the test",
    dial: () => {
      conns.push(new Controlled());
      return Promise.resolve(conns.at(-1)!);
    },
  };
  const closed: (RpcError | undefined)[] = [];
  const client = await connect(dialer, {
    reconnect: { initialDelayMs: 1 },
    onClose: (error) => void closed.push(error),
    ...options,
  });
  return {
    conns,
    closed,
    client,
    service: client.service(Bytes),
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

for (const [variant, options] of [["", {}], [" with interceptors", { interceptors: [pass] }]]) {
  Deno.test(`with reconnect, calls${variant} after a failed write go to a new connection`, async () => {
    await using bed = await dialled(options as ConnectOptions);
    const { conns, closed, client, service } = bed;
    const stream = service.down(X);
    const one = service.one(X);
    await conns[0]!.frame(1);
    const error = await breakWrites(client, conns[0]!);
    const two = service.one(X);
    await until(() => conns.length === 2, "a new connection");
    equal((await soon(conns[1]!.frame(0), "the new call")).streamId, 1);
    conns[1]!.deliver(responseFrame(1, { payload: new Uint8Array([2]) }));
    deepEqual([...await soon(two, "the new call's answer")], [2]);
    // The old one still has what is in it.
    conns[0]!.deliver(dataFrame(1, new Uint8Array([0])), responseFrame(3, { payload: X }));
    deepEqual([...(await soon(stream.next(), "a message")).value], [0]);
    deepEqual(await soon(one, "the old call's answer"), X);
    deepEqual(closed, []);
    conns[0]!.end();
    const lost = /connection to the test lost.*nobody reads/;
    check(await soon(errorOf(stream.next()), "the end"), Code.UNAVAILABLE, error, lost);
    await until(() => closed.length === 1, "onClose");
    check(closed[0], Code.UNAVAILABLE, error, lost);
    equal(client.stats().connections, 1);
    await client[Symbol.asyncDispose]();
    equal(closed.length, 2);
    equal(conns.length, 2);
  });
}
