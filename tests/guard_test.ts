// What watches over a call that has interceptors: its deadline, its signal, and its attempts.

import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import type { InterceptedRequest } from "../interceptor.ts";
import { Metadata } from "../metadata.ts";
import { Code, OK, type Status } from "../status.ts";
import { clientCall } from "./client_stand_ins.ts";
import { CountedSignal } from "./counted_signal.ts";
import { FakeClock } from "./fake_clock.ts";
import { isSettled, settle } from "./stand_ins.ts";
import { CLOSED, TestClient, UNARY } from "./guard_bed.ts";

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
