// What interceptors see of calls and make of them, without a client that makes them.

import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Deadlines } from "../async/deadlines.ts";
import type { InterceptedRequest, Interceptor } from "../interceptor.ts";
import type { CallOptions, MessageStream } from "../service.ts";
import { Code, OK, RpcError } from "../status.ts";
import { CountedSignal } from "./counted_signal.ts";
import { FakeClock } from "./fake_clock.ts";
import { isSettled, settle } from "./stand_ins.ts";
import { caller, CLOSED, PASS, stream, TestClient, unary } from "./guard_bed.ts";

Deno.test("a call of one response returns the message of the response", async () => {
  for (const kind of ["unary", "client_streaming"] as const) {
    const client = new TestClient();
    equal(await caller(client, kind, PASS)("message", undefined, undefined), "answer");
    deepEqual(client.requests.map(({ kind, message }) => [kind, message]), [[kind, "message"]]);
  }
});

Deno.test("interceptors run around a call, the outermost first", async () => {
  const client = new TestClient();
  const order: string[] = [];
  const named = (name: string): Interceptor => (next) => async (request) => {
    order.push(name);
    const response = await next(request);
    order.push(`${name} back`);
    return response;
  };
  await unary(client, undefined, named("a"), named("b"));
  deepEqual(order, ["a", "b", "b back", "a back"]);
});

Deno.test("interceptors are told the kind with the message, and may answer another", async () => {
  const client = new TestClient();
  const answer = await unary(client, undefined, (next) => async (request) => {
    const response = await next(request);
    deepEqual(response, { kind: "unary", message: "answer" });
    return { ...response, message: "another" };
  });
  equal(answer, "another");
});

Deno.test("defaults are for calls that do not say otherwise", async () => {
  const client = new TestClient();
  const call = caller(client, "unary", PASS);
  await call("", undefined, { timeoutMs: 5_000 });
  await call("", { timeoutMs: 1_000 }, { timeoutMs: 5_000 });
  deepEqual(client.requests.map(({ timeoutMs }) => timeoutMs), [5_000, 1_000]);
});

Deno.test("a request that was made up is refused", async () => {
  const client = new TestClient();
  const madeUp: Interceptor = (next) => ({ method, kind, message, metadata }) =>
    next({ method, kind, message, metadata } as InterceptedRequest);
  await rejects(unary(client, undefined, madeUp), {
    name: "RpcError",
    code: Code.UNKNOWN,
    rawMessage: "Cannot call pkg.Svc/Do: an interceptor has to pass on its request, or a copy",
  });
  deepEqual(client.requests, []);
});

Deno.test("a copy of a request is none that was made up", async () => {
  const copies: Interceptor = (next) => (request) => next({ ...request });
  equal(await unary(new TestClient(), undefined, copies), "answer");
});

Deno.test("what interceptors throw reaches the caller as an RpcError", async () => {
  const plain = new Error("in an interceptor");
  const rpc = new RpcError(Code.NOT_FOUND, "none");
  const throwing = (error: unknown): Interceptor => () => () => Promise.reject(error);
  for (
    const call of [
      (error: unknown) => unary(new TestClient(), undefined, throwing(error)),
      (error: unknown) => stream(new TestClient(), undefined, throwing(error)).next(),
    ]
  ) {
    await rejects(call(rpc), rpc);
    await rejects(call(plain), {
      name: "RpcError",
      code: Code.UNKNOWN,
      method: "pkg.Svc/Do",
      rawMessage: "in an interceptor",
      cause: plain,
    });
  }
});

const STUCK: Interceptor = () => () => new Promise(() => {});

Deno.test("a call ends with its client, its signal and its deadline, whatever its interceptors do", async () => {
  for (
    const call of [
      (client: TestClient, options: CallOptions) => unary(client, options, STUCK),
      (client: TestClient, options: CallOptions) => stream(client, options, STUCK).next(),
    ]
  ) {
    using clock = new FakeClock();
    const client = new TestClient(new Deadlines());
    const counted = new CountedSignal();
    const [closed, aborted, expired] = [
      call(client, {}),
      call(client, { signal: counted.signal }),
      call(client, { timeoutMs: 50 }),
    ].map((promise) =>
      rejects(promise, ({ code, method }) => (ends.push(code), method === "pkg.Svc/Do"))
    );
    const ends: Code[] = [];
    for (const guard of [...client.guards].slice(0, 1)) guard.end(CLOSED);
    await closed;
    counted.controller.abort();
    await aborted;
    equal(await isSettled(expired!), false);
    await clock.pass(50);
    await expired;
    deepEqual(ends, [Code.CANCELLED, Code.CANCELLED, Code.DEADLINE_EXCEEDED]);
    equal(client.guards.size, 0);
    client.deadlines.close();
  }
});

Deno.test("a call that has ended is watched no more, and what its interceptors left is given up", async () => {
  const client = new TestClient();
  const counted = new CountedSignal();
  const twice: Interceptor = (next) => async (request) => {
    await next(request);
    return await next(request);
  };
  const signals: AbortSignal[] = [];
  const noted: Interceptor = (next) => (request) => {
    signals.push(request.signal!);
    return next(request);
  };
  await unary(client, { signal: counted.signal, timeoutMs: 5_000 }, noted, twice);
  deepEqual(client.calls.map(({ status }) => status?.code), [Code.CANCELLED, Code.CANCELLED]);
  equal(client.guards.size, 0);
  equal(counted.listeners, 0);
  equal(client.watched, 0);
  equal(signals[0]!.aborted, false);
});

async function* messages(...all: unknown[]): AsyncGenerator<unknown> {
  for (const message of all) yield await Promise.resolve(message);
}

Deno.test("a stream gives the messages of the response, and then no more", async () => {
  for (const all of [messages("a", "b"), ["a", "b"]]) {
    const client = new TestClient();
    client.answer = () => all;
    const seen: unknown[] = [];
    const responses = stream(client, { timeoutMs: 5_000 }, PASS);
    for await (const message of responses) seen.push(message);
    deepEqual(seen, ["a", "b"]);
    deepEqual(await responses.next(), { done: true, value: undefined });
    deepEqual(client.calls.map(({ status }) => status?.code), [Code.CANCELLED]);
    equal(client.guards.size, 0);
    equal(client.watched, 0);
  }
});

Deno.test("a stream makes its call before anybody asks for a message", async () => {
  const client = new TestClient();
  client.answer = () => messages("a");
  const responses = stream(client, undefined, PASS);
  await settle();
  equal(client.requests.length, 1);
  await responses.return();
});

Deno.test("a stream that nobody takes messages of is watched no more when its call has ended", async () => {
  const client = new TestClient();
  const counted = new CountedSignal();
  client.answer = () => messages("a");
  const responses = stream(client, { signal: counted.signal }, PASS);
  await settle();
  equal(counted.listeners, 1);
  client.calls[0]!.end(OK);
  equal(counted.listeners, 0);
  equal(client.guards.size, 0);
  deepEqual(await responses.next(), { done: false, value: "a" });
  await responses.return();
});

Deno.test("a stream that fails between messages says so once", async () => {
  const client = new TestClient();
  client.answer = async function* () {
    yield await Promise.resolve("a");
    throw new Error("no more");
  };
  const responses = stream(client, undefined, PASS);
  equal((await responses.next()).value, "a");
  await rejects(responses.next(), { code: Code.UNKNOWN, rawMessage: "no more" });
  deepEqual(await responses.next(), { done: true, value: undefined });
  deepEqual(client.calls.map(({ status }) => status?.code), [Code.CANCELLED]);
  equal(client.guards.size, 0);
});

Deno.test("a stream that fails before it has begun says so once, and harms nobody who does not ask", async () => {
  const client = new TestClient();
  const fails: Interceptor = () => () => Promise.reject(new Error("no"));
  stream(client, undefined, fails); // and nobody asks
  const responses = stream(client, undefined, fails);
  await settle();
  await rejects(responses.next(), { code: Code.UNKNOWN });
  deepEqual(await responses.next(), { done: true, value: undefined });
  equal(client.guards.size, 0);
});

Deno.test("a stream whose response is none says so", async () => {
  const client = new TestClient();
  client.answer = () => 5;
  await rejects(stream(client, undefined, PASS).next(), { code: Code.UNKNOWN });
});

Deno.test("a stream that is left lets go of all, and tells the iterator", async () => {
  for (
    const leave of [
      (responses: MessageStream<unknown>) => responses.return!(),
      (responses: MessageStream<unknown>) => responses[Symbol.asyncDispose](),
      (responses: MessageStream<unknown>) =>
        rejects(responses.throw!(new Error("enough")), /enough/),
    ]
  ) {
    const client = new TestClient();
    const returned: string[] = [];
    const iterator = {
      next: () => new Promise<IteratorResult<unknown>>(() => {}),
      return: () => (returned.push("return"), Promise.reject(new Error("in return()"))),
    };
    client.answer = () => ({ [Symbol.asyncIterator]: () => iterator });
    const signals: AbortSignal[] = [];
    const responses = stream(client, undefined, (next) => (request) => {
      signals.push(request.signal!);
      return next(request);
    });
    const next = responses.next();
    await settle();
    await leave(responses);
    deepEqual(await next, { done: true, value: undefined });
    await leave(responses);
    await settle();
    deepEqual(returned, ["return"]);
    deepEqual(client.calls.map(({ status }) => status?.code), [Code.CANCELLED]);
    equal(signals[0]!.aborted, true);
    equal(client.guards.size, 0);
    deepEqual(await responses.next(), { done: true, value: undefined });
  }
});

Deno.test("a stream that is left before its interceptors have made its call makes none", async () => {
  const client = new TestClient();
  const gate = Promise.withResolvers<void>();
  let failed: unknown;
  const waits: Interceptor = (next) => async (request) => {
    await gate.promise;
    try {
      return await next(request);
    } catch (error) {
      failed = error;
      throw error;
    }
  };
  const responses = stream(client, undefined, waits);
  await responses.return();
  gate.resolve();
  await settle();
  equal(client.calls.length, 0);
  ok(failed instanceof RpcError && failed.code === Code.CANCELLED);
  equal(client.guards.size, 0);
});

Deno.test("a message that comes after a stream was left is dropped, and so is an error", async () => {
  for (const how of ["resolve", "reject"] as const) {
    const client = new TestClient();
    const answer = Promise.withResolvers<unknown>();
    client.answer = () => ({
      [Symbol.asyncIterator]: () => ({ next: () => answer.promise }),
    });
    const responses = stream(client, undefined, PASS);
    const next = responses.next();
    await settle();
    answer[how](how === "resolve" ? { done: false, value: "late" } : new Error("late"));
    await responses.return();
    deepEqual(await next, { done: true, value: undefined });
  }
});

Deno.test("a stream is watched while somebody waits for a message, and between messages by its attempts only", async () => {
  const client = new TestClient();
  client.answer = () => messages("a", "b");
  const responses = stream(client, { timeoutMs: 5_000 }, PASS);
  await responses.next();
  client.calls[0]!.end(OK);
  equal(client.guards.size, 0);
  const next = responses.next();
  equal(client.guards.size, 1);
  deepEqual(await next, { done: false, value: "b" });
  equal(client.guards.size, 0);
  await responses.return();
});

Deno.test("a stream between whose messages the deadline passes ends with DEADLINE_EXCEEDED", async () => {
  using clock = new FakeClock();
  const client = new TestClient(new Deadlines());
  client.answer = () => messages("a", "b");
  const responses = stream(client, { timeoutMs: 50 }, PASS);
  equal((await responses.next()).value, "a");
  await clock.pass(50);
  equal(client.calls[0]!.status?.code, Code.DEADLINE_EXCEEDED);
  await rejects(responses.next(), { code: Code.DEADLINE_EXCEEDED });
  client.deadlines.close();
});
