// Calls with interceptors around them, without a client that makes them.

import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { takeOptions } from "../engine/call_options.ts";
import type { ClientCall } from "../engine/client_call.ts";
import { Deadlines } from "../async/deadlines.ts";
import { Guard, interceptedCaller, type InterceptingClient } from "../engine/intercepted.ts";
import type { InterceptedRequest, Interceptor } from "../interceptor.ts";
import { Metadata } from "../metadata.ts";
import type { MethodKind } from "../engine/method.ts";
import type { CallOptions, MessageStream } from "../service.ts";
import { Code, OK, RpcError, type Status } from "../status.ts";
import { clientCall, TestKeeper } from "./client_stand_ins.ts";
import { CountedSignal } from "./counted_signal.ts";
import { FakeClock } from "./fake_clock.ts";
import { NotedDeadlines } from "./server_stand_ins.ts";
import { isSettled, methodOf, settle } from "./stand_ins.ts";

const CLOSED: Status = { code: Code.CANCELLED, message: "the client is closed" };

/** A client whose calls the test answers. */
class TestClient implements InterceptingClient {
  readonly address = "server.sock";
  readonly deadlines: Deadlines;
  readonly guards = new Set<Guard>();
  readonly keeper = new TestKeeper();
  closed: Status | undefined;
  /** The requests that reached the client. */
  readonly requests: InterceptedRequest[] = [];
  /** The attempts that were made of them. */
  readonly calls: ClientCall[] = [];
  /** What an attempt returns. */
  answer: () => unknown = () => "answer";

  constructor(deadlines: Deadlines = new NotedDeadlines()) {
    this.deadlines = deadlines;
  }

  call(guard: Guard, method: { kind: MethodKind }, request: InterceptedRequest): unknown {
    this.requests.push(request);
    const call = clientCall(method.kind, guard.attempt(request), {}, this.keeper);
    guard.attempted(call);
    this.calls.push(call);
    return this.answer();
  }

  guard(options?: CallOptions): Guard {
    return new Guard(takeOptions(options, undefined), this);
  }

  /** How many deadlines are watched. */
  get watched(): number {
    const { noted } = this.deadlines as NotedDeadlines;
    return noted.filter(([what]) => what === "add").length -
      noted.filter(([what]) => what === "delete").length;
  }
}

const UNARY = methodOf("unary");

function caller(client: TestClient, kind: MethodKind, ...interceptors: Interceptor[]) {
  return interceptedCaller(interceptors, methodOf(kind), client);
}

function unary(
  client: TestClient,
  options?: CallOptions,
  ...interceptors: Interceptor[]
): Promise<unknown> {
  return caller(client, "unary", ...interceptors)("message", options, undefined) as Promise<
    unknown
  >;
}

function stream(
  client: TestClient,
  options?: CallOptions,
  ...interceptors: Interceptor[]
): MessageStream<unknown> {
  const call = caller(client, "server_streaming", ...interceptors);
  return call("message", options, undefined) as MessageStream<unknown>;
}

const PASS: Interceptor = (next) => next;

Deno.test("request() is what the caller gave, with a signal of its own", () => {
  const client = new TestClient();
  const counted = new CountedSignal();
  const options = { metadata: { user: "me" }, timeoutMs: 50, signal: counted.signal };
  const guard = client.guard(options);
  const request = guard.request(UNARY, "message");
  deepEqual([request.method, request.kind, request.message], [UNARY, "unary", "message"]);
  deepEqual([...request.metadata], [["user", "me"]]);
  equal(request.timeoutMs, 50);
  ok(request.signal instanceof AbortSignal);
  equal(request.signal === counted.signal, false);
  equal(request.signal.aborted, false);
  equal(request.address, "server.sock");
  equal(request.sizes, guard.sizes);
  deepEqual(guard.sizes, { sent: 0, received: 0 });
  equal(client.guard().request(UNARY, "message").metadata.size, 0);
});

Deno.test("attempt() of a request as it was is what the caller gave", () => {
  using clock = new FakeClock();
  const guard = new TestClient().guard({ timeoutMs: 50, metadata: { a: "b" } });
  const settings = guard.attempt(guard.request(UNARY, ""));
  deepEqual([settings.timeoutMs, settings.deadline], [50, clock.now + 50]);
  deepEqual([...settings.metadata!], [["a", "b"]]);
  equal(settings.signal, undefined); // the guard watches it
  const none = new TestClient().guard();
  deepEqual(none.attempt(none.request(UNARY, "")), {
    metadata: undefined,
    timeoutMs: undefined,
    deadline: Infinity,
    signal: undefined,
  });
});

Deno.test("attempt() copies the metadata", () => {
  const guard = new TestClient().guard();
  const metadata = new Metadata({ a: "b" });
  const settings = guard.attempt({ ...guard.request(UNARY, ""), metadata } as InterceptedRequest);
  metadata.set("a", "c");
  deepEqual([...settings.metadata!], [["a", "b"]]);
});

Deno.test("attempt() takes a signal that an interceptor has passed on", () => {
  const guard = new TestClient().guard();
  const { signal } = new AbortController();
  const request = guard.request(UNARY, "");
  equal(guard.attempt({ ...request, signal } as InterceptedRequest).signal, signal);
  equal(guard.attempt({ ...request, signal: undefined } as InterceptedRequest).signal, undefined);
});

Deno.test("attempt() takes a shorter time, and neither a longer one nor none", async () => {
  using clock = new FakeClock();
  const guard = new TestClient().guard({ timeoutMs: 50 });
  const deadline = clock.now + 50;
  const request = guard.request(UNARY, "");
  const times = (timeoutMs: number | undefined) => {
    const settings = guard.attempt({ ...request, timeoutMs } as InterceptedRequest);
    return [settings.timeoutMs, settings.deadline];
  };
  deepEqual(times(20), [20, clock.now + 20]);
  deepEqual(times(60), [50, deadline]);
  deepEqual(times(undefined), [50, deadline]);
  deepEqual(times(Infinity), [50, deadline]);
  deepEqual(times(0), [0, clock.now]);
  await clock.pass(30);
  deepEqual(times(50), [50, deadline]); // the same, though it would be longer now
  deepEqual(times(30), [50, deadline]);
  deepEqual(times(20), [50, deadline]);
  deepEqual(times(10), [10, clock.now + 10]);
});

Deno.test("attempt() refuses times that are no numbers", () => {
  const guard = new TestClient().guard({ timeoutMs: 50 });
  const request = guard.request(UNARY, "");
  for (const timeoutMs of [NaN, "5", null]) {
    throws(() => guard.attempt({ ...request, timeoutMs } as InterceptedRequest), RangeError);
  }
});

Deno.test("attempt() is refused as soon as the deadline has passed, and its signal is aborted", async () => {
  using clock = new FakeClock();
  const guard = new TestClient().guard({ timeoutMs: 50 });
  const request = guard.request(UNARY, "");
  await clock.pass(49);
  guard.attempt(request);
  await clock.pass(1); // no timer has fired: the guard was not held
  throws(() => guard.attempt(request), {
    code: Code.DEADLINE_EXCEEDED,
    message: "pkg.Svc/Do: DEADLINE_EXCEEDED: the deadline of 50 ms has passed",
  });
  const { reason } = request.signal!;
  deepEqual([reason.name, reason.message], ["TimeoutError", "the deadline of 50 ms has passed"]);
});

Deno.test("attempt() is refused when the call is over", () => {
  const guard = new TestClient().guard();
  guard.end(CLOSED);
  throws(() => guard.attempt(guard.request(UNARY, "")), { code: Code.CANCELLED });
});

Deno.test("hold() watches the deadline, the signal and the client; drop() as often does not", () => {
  const client = new TestClient();
  const counted = new CountedSignal();
  const guard = client.guard({ timeoutMs: 50, signal: counted.signal });
  const state = () => [client.guards.has(guard), client.watched > 0, counted.listeners];
  deepEqual(state(), [false, false, 0]);
  guard.hold();
  deepEqual(state(), [true, true, 1]);
  guard.hold();
  guard.drop();
  deepEqual(state(), [true, true, 1]);
  guard.drop();
  deepEqual(state(), [false, false, 0]);
  guard.hold();
  deepEqual(state(), [true, true, 1]);
  guard.drop();
  deepEqual(state(), [false, false, 0]);
  equal(guard.over, undefined);
});

Deno.test("hold() watches once, however often", () => {
  const client = new TestClient();
  const guard = client.guard({ timeoutMs: 50 });
  for (let i = 0; i < 3; i++) guard.hold();
  equal(client.watched, 1);
});

Deno.test("hold() ends a call at once whose client is closed or whose signal is aborted, in this order", () => {
  const client = new TestClient();
  const reason = new Error("enough");
  const aborted = client.guard({ signal: AbortSignal.abort(reason) });
  aborted.hold();
  deepEqual(aborted.over, {
    code: Code.CANCELLED,
    message: "the caller gave up: enough",
    cause: reason,
  });
  client.closed = CLOSED;
  const closed = client.guard({ signal: AbortSignal.abort(reason) });
  closed.hold();
  equal(closed.over, CLOSED);
  equal(client.guards.size, 0);
});

Deno.test("hold() of a call that is over watches nothing", () => {
  const client = new TestClient();
  const counted = new CountedSignal();
  const guard = client.guard({ signal: counted.signal, timeoutMs: 50 });
  guard.end(CLOSED);
  const { watched } = client;
  guard.hold();
  equal(client.guards.size, 0);
  equal(counted.listeners, 0);
  equal(client.watched, watched);
});

Deno.test("end() ends attempts, the wait and the watch, and aborts the signal last", async () => {
  const client = new TestClient();
  const counted = new CountedSignal();
  const guard = client.guard({ signal: counted.signal });
  const { signal } = guard.request(UNARY, "");
  const call = clientCall();
  guard.hold();
  guard.attempted(call);
  const first = guard.first(new Promise(() => {}));
  const seen: unknown[] = [];
  signal!.addEventListener("abort", () => seen.push(call.status, guard.over, counted.listeners));
  guard.end(CLOSED);
  guard.end({ code: Code.ABORTED, message: "" });
  equal(guard.over, CLOSED);
  deepEqual(seen, [CLOSED, CLOSED, 0]);
  equal(await isSettled(first), true);
  equal(client.guards.size, 0);
});

Deno.test("the signal's reason is the caller's own, or says how the call ended", () => {
  const cause = new Error("mine");
  const reasonOf = (status: Status) => {
    const guard = new TestClient().guard();
    guard.end(status);
    return guard.request(UNARY, "").signal!.reason;
  };
  equal(reasonOf({ code: Code.CANCELLED, message: "", cause }), cause);
  equal(reasonOf({ code: Code.DEADLINE_EXCEEDED, message: "", cause: null }), null);
  for (
    const [code, name] of [[4, "TimeoutError"], [1, "AbortError"], [14, "AbortError"]] as const
  ) {
    const reason = reasonOf({ code, message: "why" });
    ok(reason instanceof DOMException);
    deepEqual([reason.name, reason.message], [name, "why"]);
  }
});

Deno.test("an abort ends the call, and so does the deadline", () => {
  const counted = new CountedSignal();
  const aborted = new TestClient().guard({ signal: counted.signal });
  aborted.hold();
  counted.controller.abort();
  equal(aborted.over?.code, Code.CANCELLED);
  equal(counted.listeners, 0);
  const expired = new TestClient().guard({ timeoutMs: 50 });
  expired.expire();
  deepEqual(expired.over, {
    code: Code.DEADLINE_EXCEEDED,
    message: "the deadline of 50 ms has passed",
  });
});

Deno.test("an attempt is watched until it ends, and its sizes are those of the call", () => {
  const client = new TestClient();
  const guard = client.guard();
  const call = clientCall();
  guard.attempted(call);
  equal(call.sizes, guard.sizes);
  equal(client.guards.size, 1);
  call.end(OK);
  equal(client.guards.size, 0);
  guard.attemptEnded(call); // not twice
  guard.hold();
  equal(client.guards.size, 1);
  guard.drop();
  equal(client.guards.size, 0);
});

Deno.test("an attempt that is over already is not watched", () => {
  const client = new TestClient();
  const guard = client.guard();
  const call = clientCall("unary", { timeoutMs: 0, deadline: 0 });
  guard.attempted(call);
  equal(call.sizes, guard.sizes);
  equal(call.guard, undefined);
  equal(client.guards.size, 0);
});

Deno.test("finish() gives up attempts that are left behind, and does not abort the signal", () => {
  const client = new TestClient();
  const guard = client.guard();
  const [left, done] = [clientCall(), clientCall()];
  guard.attempted(left);
  guard.attempted(done);
  done.end(OK);
  guard.finish();
  deepEqual(left.status, { code: Code.CANCELLED, message: "the caller gave up" });
  deepEqual(done.status, OK);
  equal(guard.request(UNARY, "").signal!.aborted, false);
  equal(client.guards.size, 0);
  throws(() => guard.attempt(guard.request(UNARY, "")), { code: Code.CANCELLED });
});

Deno.test("finish() of a call that is over leaves it so", () => {
  const guard = new TestClient().guard();
  guard.end(CLOSED);
  guard.finish();
  equal(guard.over, CLOSED);
});

Deno.test("first() settles as its promise does", async () => {
  const guard = new TestClient().guard();
  equal(await guard.first(Promise.resolve(5)), 5);
  const error = new Error("no");
  await rejects(guard.first(Promise.reject(error)), error);
});

Deno.test("first() keeps nothing of a promise that has settled", async () => {
  const sets = new Set<Set<unknown>>();
  const { add } = Set.prototype;
  Set.prototype.add = function (value) {
    if (typeof value === "function") add.call(sets, this);
    return add.call(this, value);
  };
  try {
    const guard = new TestClient().guard();
    await guard.first(Promise.resolve());
    await rejects(guard.first(Promise.reject(new Error("no"))));
    deepEqual([...sets].map(({ size }) => size), [0]);
  } finally {
    Set.prototype.add = add;
  }
});

Deno.test("first() settles at once when the call is over, and keeps quiet about what comes later", async () => {
  const guard = new TestClient().guard();
  const { promise, reject } = Promise.withResolvers<never>();
  guard.end(CLOSED);
  equal(typeof await guard.first(promise), "symbol");
  reject(new Error("late"));
  await settle();
});

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
