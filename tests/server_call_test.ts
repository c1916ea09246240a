// One call on a server: its context, and what interceptors see and make of it.

import { deepEqual, equal, notEqual, ok, rejects, throws } from "node:assert/strict";
import type { InterceptedRequest } from "../interceptor.ts";
import { Metadata } from "../metadata.ts";
import { ServerCall } from "../engine/server_call.ts";
import { Code, OK, RpcError, type Status } from "../status.ts";
import { serverCall } from "./server_stand_ins.ts";
import { isSettled, LOST, settle } from "./stand_ins.ts";

const REFUSAL: Status = { code: Code.UNIMPLEMENTED, message: "method No" };
const HOUR = 3_600_000;

function inAnHour(): number {
  return performance.now() + HOUR;
}

Deno.test("a call is counted and its deadline watched, from its start to its end", () => {
  const { call, host } = serverCall("unary", { deadline: 1e9 });
  deepEqual(host.deadlines.noted, [["add", 1e9]]);
  equal(host.tally.stats([]).callsInFlight, 1);
  call.end(LOST);
  deepEqual(host.deadlines.noted, [["add", 1e9], ["delete", 1e9]]);
  equal(host.tally.stats([]).callsInFlight, 0);
  deepEqual(host.tally.stats([]).callsFailed, { UNAVAILABLE: 1 });
});

Deno.test("a call without a deadline has none to remove", () => {
  const { call, host } = serverCall();
  call.end(OK);
  deepEqual(host.deadlines.noted, [["add", Infinity]]);
  deepEqual(host.tally.stats([]).callsFailed, {});
});

Deno.test("context has what a handler is told, and only that", () => {
  const metadata = new Metadata({ a: "b" });
  const { call, host } = serverCall("unary", { metadata });
  const { context } = call;
  equal(call.context, context);
  equal(context.service, "pkg.Svc");
  equal(context.method, "Do");
  equal(context.connection, host.info);
  equal(context.metadata, metadata);
  equal(context.signal, call.signal);
  equal(context.timeoutMs, undefined);
  const names = ["service", "method", "connection", "signal", "timeoutMs", "metadata"];
  deepEqual(Object.keys(context), names);
  deepEqual(Object.keys({ ...context }), names);
  deepEqual({ ...context }.metadata, metadata);
  for (const name of ["id", "status", "end", "deadline", "release", Symbol.iterator]) {
    equal(Reflect.get(context, name), undefined, String(name));
    equal(name in context, false);
    equal(Object.getOwnPropertyDescriptor(context, name), undefined);
  }
});

Deno.test("context is like an object of its own", () => {
  const { context } = serverCall().call;
  equal(Object.getPrototypeOf(context), Object.prototype);
  equal(`${context}`, "[object Object]");
  ok("toString" in context);
  ok("signal" in context);
  equal(Object.hasOwn(context, "signal"), true);
  equal(Object.hasOwn(context, "toString"), false);
  const { value, ...rest } = Object.getOwnPropertyDescriptor(context, "method")!;
  equal(value, "Do");
  deepEqual(rest, { enumerable: true, configurable: true, writable: false });
});

Deno.test("context cannot be changed", () => {
  const { context } = serverCall().call;
  const open = context as unknown as Record<string, unknown>;
  throws(() => open["method"] = "x", TypeError);
  throws(() => open["other"] = "x", TypeError);
  throws(() => Object.defineProperty(open, "other", { value: 1 }), TypeError);
  throws(() => delete open["method"], TypeError);
  equal(context.method, "Do");
  equal(open["other"], undefined);
});

Deno.test("context shows what it has in a console", () => {
  const { call } = serverCall();
  const inspect = Reflect.get(call, Symbol.for("Deno.customInspect")) as (
    inspect: (value: unknown) => string,
  ) => string;
  const text = inspect.call(call, (value) => Object.keys(value as object).join());
  equal(text, "HandlerContext service,method,connection,signal,timeoutMs,metadata");
});

Deno.test("metadata is there and the same also when none came", () => {
  const { call } = serverCall();
  equal(call.metadata.size, 0);
  equal(call.metadata, call.metadata);
});

Deno.test("timeoutMs is what is left until the deadline", () => {
  const { call } = serverCall("unary", { deadline: inAnHour() });
  for (const left of [call.timeoutMs!, call.context.timeoutMs!]) {
    ok(left > HOUR - 10_000 && left <= HOUR);
  }
});

Deno.test("signal is aborted when the call ends, with how it ended", () => {
  const { call } = serverCall();
  const { signal } = call;
  equal(signal.aborted, false);
  equal(call.signal, signal);
  call.end(LOST);
  ok(signal.aborted);
  ok(signal.reason instanceof RpcError);
  equal(signal.reason.message, "pkg.Svc/Do: UNAVAILABLE: lost");
});

Deno.test("signal of a call that is over is aborted already, also of one that went well", () => {
  const { call } = serverCall();
  call.end(OK);
  ok(call.signal.aborted);
  equal(call.signal.reason.message, "pkg.Svc/Do: CANCELLED: the call is complete");
});

Deno.test("signal of a call whose deadline has passed is like that of AbortSignal.timeout()", () => {
  const { call, host } = serverCall();
  const { signal } = call;
  call.expire();
  deepEqual(host.failed, [{
    code: Code.DEADLINE_EXCEEDED,
    message: "the deadline has passed",
  }]);
  ok(signal.reason instanceof DOMException);
  equal(signal.reason.name, "TimeoutError");
  equal(signal.reason.message, "the deadline has passed");
});

Deno.test("what listeners of the signal throw is reported with the method, and ends nothing else", () => {
  const { call, host } = serverCall();
  const mistake = new Error("in a listener");
  let last = false;
  call.signal.addEventListener("abort", () => {
    throw mistake;
  });
  call.signal.addEventListener("abort", () => last = true);
  call.end(LOST);
  deepEqual(host.reported, [[mistake, "pkg.Svc/Do"]]);
  ok(last);
});

Deno.test("release() drops the messages, and lets the call go on", () => {
  const { call } = serverCall("client_streaming");
  call.push(new Uint8Array(1));
  call.release();
  equal(call.queuedBytes, 0);
  equal(call.status, undefined);
});

Deno.test("overrun() fails a call, and drops the messages of one that is over", () => {
  const { call, host } = serverCall("client_streaming");
  call.overrun();
  deepEqual(host.failed, [{
    code: Code.RESOURCE_EXHAUSTED,
    message: "the handler does not take its messages, which holds up the connection: " +
      "take them faster, or raise limits.connectionQueueBytes",
  }]);
  const { call: over, host: other } = serverCall("client_streaming");
  over.push(new Uint8Array(1));
  over.end(OK);
  over.overrun();
  equal(over.queuedBytes, 0);
  equal(over.status, OK);
  deepEqual(other.failed, []);
});

Deno.test("offer() shows interceptors the call", () => {
  const { call } = serverCall("server_streaming", { deadline: inAnHour() });
  const message = {};
  const sizes = call.sizes = { sent: 0, received: 7 };
  const request = call.offer(message);
  equal(request.method, call.method);
  equal(request.kind, "server_streaming");
  equal(request.message, message);
  equal(request.metadata, call.metadata);
  equal(request.context, call.context);
  equal(request.signal, call.signal);
  ok(request.timeoutMs! > 0);
  equal(request.sizes, sizes);
  equal("address" in request, false);
});

Deno.test("ServerCall.of() finds the call of a request, and of a copy", () => {
  const { call } = serverCall();
  const request = call.offer(undefined);
  equal(ServerCall.of(request), call);
  const copy: InterceptedRequest = { ...request, metadata: new Metadata() };
  equal(ServerCall.of(copy), call);
  equal(copy.signal, call.signal);
});

Deno.test("ServerCall.of() refuses a request without its call's context", () => {
  const { call } = serverCall();
  const request = call.offer(undefined);
  const { method, kind, message, metadata, timeoutMs, signal, sizes } = request;
  const made = { method, kind, message, metadata, timeoutMs, signal, sizes } as InterceptedRequest;
  const other = serverCall().call.context;
  for (const bad of [made, { ...made, context: call.context }, { ...request, context: other }]) {
    throws(() => ServerCall.of(bad), {
      name: "TypeError",
      message: "Cannot serve pkg.Svc/Do: an interceptor has to pass on its request, " +
        "or a copy with the same context",
    });
  }
});

Deno.test("accept() takes what an interceptor has made of the metadata", () => {
  const { call } = serverCall();
  const metadata = new Metadata({ a: "b" });
  call.accept({ ...call.offer(undefined), metadata });
  deepEqual([...call.metadata], [["a", "b"]]);
  equal(call.context.metadata, call.metadata);
  metadata.append("a", "c"); // too late: it is the interceptor's own
  deepEqual([...call.metadata], [["a", "b"]]);
});

Deno.test("accept() leaves metadata that an interceptor has not replaced as it is", () => {
  const metadata = new Metadata({ a: "b" });
  const { call } = serverCall("unary", { metadata });
  const request = call.offer(undefined);
  request.metadata.append("c", "d");
  call.accept(request);
  equal(call.metadata, metadata);
  equal(call.metadata.get("c"), "d");
});

Deno.test("accept() shortens a deadline, and has the new one watched", () => {
  for (const deadline of [inAnHour(), Infinity]) {
    const { call, host } = serverCall("unary", { deadline });
    call.accept({ ...call.offer(undefined), timeoutMs: 60_000 });
    ok(call.deadline < performance.now() + 60_001);
    deepEqual(host.deadlines.noted, [
      ["add", deadline],
      ["delete", deadline],
      ["add", call.deadline],
    ]);
  }
});

Deno.test("accept() neither lengthens nor drops a deadline", () => {
  for (const timeoutMs of [2 * HOUR, Infinity, undefined]) {
    const deadline = inAnHour();
    const { call, host } = serverCall("unary", { deadline });
    call.accept({ ...call.offer(undefined), timeoutMs });
    equal(call.deadline, deadline);
    deepEqual(host.deadlines.noted, [["add", deadline]]);
  }
});

Deno.test("accept() leaves a deadline that no interceptor has changed as it is", () => {
  const deadline = inAnHour();
  const { call } = serverCall("unary", { deadline });
  const request = call.offer(undefined);
  call.accept(request);
  equal(call.deadline, deadline);
});

Deno.test("accept() leaves the deadline of a call that is over alone", () => {
  const deadline = inAnHour();
  const { call, host } = serverCall("unary", { deadline });
  const request = call.offer(undefined);
  call.end(LOST);
  throws(() => call.accept({ ...request, timeoutMs: 1_000 }), { code: LOST.code });
  equal(call.deadline, deadline);
  deepEqual(host.deadlines.noted.map(([what]) => what), ["add", "delete"]);
});

Deno.test("accept() refuses a timeout that is no number", () => {
  for (const timeoutMs of [NaN, "5" as unknown as number]) {
    const { call } = serverCall();
    throws(() => call.accept({ ...call.offer(undefined), timeoutMs }), {
      name: "RangeError",
      message: `Cannot use timeoutMs of ${timeoutMs}: it takes a number of milliseconds`,
    });
  }
});

Deno.test("accept() ends a call whose deadline has passed, before its timer has fired", () => {
  for (const timeoutMs of [0, -1]) {
    const { call, host } = serverCall("unary", { deadline: inAnHour() });
    throws(() => call.accept({ ...call.offer(undefined), timeoutMs }), {
      code: Code.DEADLINE_EXCEEDED,
      message: "pkg.Svc/Do: DEADLINE_EXCEEDED: the deadline has passed",
    });
    equal(host.failed.length, 1);
  }
  const { call } = serverCall("unary", { deadline: performance.now() });
  throws(() => call.accept(call.offer(undefined)), { code: Code.DEADLINE_EXCEEDED });
});

Deno.test("accept() throws what ends a refused call, and how one has ended", () => {
  const { call: refused } = serverCall("unary", { refusal: REFUSAL });
  equal(refused.refusal, REFUSAL);
  throws(() => refused.accept(refused.offer(undefined)), {
    message: "pkg.Svc/Do: UNIMPLEMENTED: method No",
  });
  const { call: over } = serverCall("unary", { refusal: REFUSAL });
  over.end(LOST);
  throws(() => over.accept(over.offer(undefined)), { message: "pkg.Svc/Do: UNAVAILABLE: lost" });
  const { call: complete } = serverCall();
  complete.end(OK);
  throws(() => complete.accept(complete.offer(undefined)), {
    message: "pkg.Svc/Do: CANCELLED: the call is complete",
  });
});

Deno.test("whileRunning() settles as what a handler has returned", async () => {
  const { call, host } = serverCall();
  equal(await call.whileRunning(Promise.resolve(5)), 5);
  const error = new Error("mine");
  await rejects(call.whileRunning(Promise.reject(error)), error);
  deepEqual(host.reported, []);
});

Deno.test("whileRunning() rejects as soon as the call is over, and drops what comes later", async () => {
  const { call, host } = serverCall();
  const { promise, resolve } = Promise.withResolvers<number>();
  const running = call.whileRunning(promise);
  equal(await isSettled(running), false);
  call.end(LOST);
  await rejects(running, { message: "pkg.Svc/Do: UNAVAILABLE: lost" });
  resolve(5);
  await settle();
  deepEqual(host.reported, []);
});

Deno.test("whileRunning() rejects at once for a call that is over", async () => {
  const { call } = serverCall();
  call.end(OK);
  await rejects(call.whileRunning(new Promise(() => {})), {
    message: "pkg.Svc/Do: CANCELLED: the call is complete",
  });
});

Deno.test("whileRunning() reports errors that came after the end, but no status", async () => {
  const { call, host } = serverCall();
  const { promise, reject } = Promise.withResolvers<void>();
  const running = call.whileRunning(promise);
  call.end(LOST);
  await rejects(running);
  const error = new Error("late");
  reject(error);
  await settle();
  deepEqual(host.reported, [[error, "pkg.Svc/Do"]]);
  await rejects(call.whileRunning(Promise.reject(new RpcError(Code.ABORTED, "late"))));
  equal(host.reported.length, 1);
});

Deno.test("a call that has ended does not mind what whileRunning() has settled before", async () => {
  const { call } = serverCall();
  equal(await call.whileRunning(Promise.resolve(1)), 1);
  await rejects(call.whileRunning(Promise.reject(new Error("mine"))));
  call.end(LOST);
  notEqual(call.status, undefined);
});
