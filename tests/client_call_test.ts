// A call of a client, without a client and without a connection.

import { deepEqual, equal, ok } from "node:assert/strict";
import { type ClientCall, deadlineStatus } from "../engine/client_call.ts";
import { FrameFlag, FrameType } from "../framing.ts";
import { Code, OK, RpcError } from "../status.ts";
import { clientCall, outline, TestKeeper } from "./client_stand_ins.ts";
import { CountedSignal } from "./counted_signal.ts";
import { Host, KINDS, settle } from "./stand_ins.ts";

const CANCEL = [7, FrameType.Cancel, 0];
const HALF_CLOSE = [7, FrameType.Data, FrameFlag.RemoteClosed | FrameFlag.NoData];

/** A call that was sent. */
function sentCall(...args: Parameters<typeof clientCall>): { call: ClientCall; host: Host } {
  const host = new Host();
  const call = clientCall(...args);
  call.attach(host);
  call.open(7);
  return { call, host };
}

Deno.test("a call counts as started, and watches its deadline and its signal", () => {
  const keeper = new TestKeeper();
  const counted = new CountedSignal();
  const settings = { deadline: 123, timeoutMs: 5, signal: counted.signal };
  const payload = Uint8Array.of(1);
  const call = clientCall("unary", settings, { payload }, keeper);
  equal(call.status, undefined);
  equal(call.request?.payload, payload);
  equal(call.deadline, 123);
  equal(keeper.tally.stats([]).callsInFlight, 1);
  deepEqual(keeper.deadlines.noted, [["add", 123]]);
  equal(counted.listeners, 1);
});

Deno.test("a call with an aborted signal is over at once, and watches nothing", () => {
  const keeper = new TestKeeper();
  const reason = new Error("enough");
  const settings = { signal: AbortSignal.abort(reason), deadline: 123, timeoutMs: 5 };
  const call = clientCall("unary", settings, {}, keeper);
  deepEqual(call.status, {
    code: Code.CANCELLED,
    message: "the caller gave up: enough",
    cause: reason,
  });
  deepEqual(keeper.deadlines.noted, [["delete", 123]]);
  deepEqual(keeper.tally.stats([]).callsFailed, { CANCELLED: 1 });
});

Deno.test("a call without time is over at once, and watches nothing", () => {
  for (const timeoutMs of [0, -1, -Infinity]) {
    const keeper = new TestKeeper();
    const counted = new CountedSignal();
    const call = clientCall(
      "unary",
      { timeoutMs, deadline: 1, signal: counted.signal },
      {},
      keeper,
    );
    deepEqual(call.status, deadlineStatus(timeoutMs));
    deepEqual(keeper.deadlines.noted, [["delete", 1]]);
    equal(counted.listeners, 0);
  }
  equal(clientCall("unary", { timeoutMs: 0.5, deadline: 1 }).status, undefined);
});

Deno.test("an aborted signal comes before a time that is over", () => {
  const settings = { signal: AbortSignal.abort(), timeoutMs: 0, deadline: 0 };
  equal(clientCall("unary", settings).status?.code, Code.CANCELLED);
});

Deno.test("expire() ends a call, and tells the time that its caller gave", () => {
  const { call } = sentCall("unary", { timeoutMs: 5, deadline: 123 });
  call.expire();
  deepEqual(call.status, {
    code: Code.DEADLINE_EXCEEDED,
    message: "the deadline of 5 ms has passed",
  });
});

Deno.test("an abort ends a call with the signal's reason, and a timeout with DEADLINE_EXCEEDED", () => {
  for (const [name, code] of [["AbortError", 1], ["TimeoutError", 4]] as const) {
    const counted = new CountedSignal();
    const { call } = sentCall("unary", { signal: counted.signal });
    const reason = new DOMException("it was", name);
    counted.controller.abort(reason);
    equal(call.status?.code, code);
    equal(call.status?.cause, reason);
    equal(counted.listeners, 0);
  }
});

Deno.test("a call that ends is forgotten by all that it was known to", () => {
  const keeper = new TestKeeper();
  const counted = new CountedSignal();
  const settings = { deadline: 123, timeoutMs: 5, signal: counted.signal };
  const { call, host } = sentCall("unary", settings, {}, keeper);
  const ends: ClientCall[] = [];
  call.guard = { attemptEnded: (ended) => void ends.push(ended) };
  call.end({ code: Code.NOT_FOUND, message: "" });
  call.end(OK);
  equal(call.request, undefined);
  deepEqual(ends, [call]);
  equal(call.guard, undefined);
  deepEqual(keeper.deadlines.noted, [["add", 123], ["delete", 123]]);
  equal(counted.listeners, 0);
  deepEqual(host.forgotten, [call]);
  const { callsFailed, callsInFlight } = keeper.tally.stats([]);
  deepEqual([callsFailed, callsInFlight], [{ NOT_FOUND: 1 }, 0]);
});

Deno.test("a call without a deadline has none to take back", () => {
  const keeper = new TestKeeper();
  const { call } = sentCall("unary", {}, {}, keeper);
  call.end(OK);
  deepEqual(keeper.deadlines.noted, [["add", Infinity]]);
});

Deno.test("a call that ends while it waits for a connection waits no more", () => {
  const keeper = new TestKeeper();
  const [call, other] = [0, 1].map(() => clientCall("unary", {}, {}, keeper));
  keeper.waiting.add(call!).add(other!);
  call!.expire();
  deepEqual([...keeper.waiting], [other]);
});

Deno.test("cancel() tells the server once, and then half-closes what is open", async () => {
  for (const kind of KINDS) {
    const { call, host } = sentCall(kind);
    call.cancel({ code: Code.ABORTED, message: "" });
    call.cancel({ code: Code.CANCELLED, message: "" });
    equal(call.status?.code, Code.ABORTED);
    const open = kind === "client_streaming" || kind === "bidi_streaming";
    deepEqual(outline(await host.frames()), open ? [CANCEL, HALF_CLOSE] : [CANCEL], kind);
  }
});

Deno.test("cancel() says why only if that is the deadline", async () => {
  for (
    const [code, data] of [[Code.ABORTED, []], [Code.DEADLINE_EXCEEDED, [10, 2, 8, 4]]] as const
  ) {
    const { call, host } = sentCall();
    call.cancel({ code, message: "nobody else's business" });
    const [frame] = await host.frames();
    deepEqual([...frame!.data], data);
  }
});

Deno.test("cancel() only half-closes where the extension is not used", async () => {
  for (const kind of KINDS) {
    const { call, host } = sentCall(kind);
    Object.assign(host, { cancels: false });
    call.cancel({ code: Code.ABORTED, message: "" });
    const open = kind === "client_streaming" || kind === "bidi_streaming";
    deepEqual(outline(await host.frames()), open ? [HALF_CLOSE] : [], kind);
  }
});

Deno.test("cancel() of a call that was not sent sends nothing", async () => {
  const host = new Host();
  const call = clientCall("bidi_streaming");
  call.attach(host);
  call.cancel({ code: Code.ABORTED, message: "" });
  deepEqual(await host.frames(), []);
  clientCall("bidi_streaming").cancel({ code: Code.ABORTED, message: "" });
});

Deno.test("cancel() drops the messages that wait, also when the call has ended before", async () => {
  for (const ended of [false, true]) {
    const { call, host } = sentCall("server_streaming");
    call.push(Uint8Array.of(1));
    ok(host.backlog.bytes > 0);
    if (ended) call.end(OK);
    call.cancel({ code: Code.ABORTED, message: "" });
    equal(host.backlog.bytes, 0);
    equal(await call.receive(), undefined);
    equal(call.status?.code, ended ? Code.OK : Code.ABORTED);
  }
});

Deno.test("release() gives a call up", () => {
  const { call } = sentCall("server_streaming");
  call.release();
  deepEqual(call.status, { code: Code.CANCELLED, message: "the caller gave up" });
});

Deno.test("overrun() ends a call, and says what to do", async () => {
  const { call, host } = sentCall("bidi_streaming");
  call.push(Uint8Array.of(1));
  call.overrun();
  equal(call.status?.code, Code.RESOURCE_EXHAUSTED);
  equal(
    call.status?.message,
    "its messages are not taken, which holds up other calls on the connection: take them " +
      "faster, make the other calls on another connection, or raise " +
      "limits.connectionQueueBytes",
  );
  equal(host.backlog.bytes, 0);
  deepEqual(outline(await host.frames()), [CANCEL, HALF_CLOSE]);
});

Deno.test("overrun() of a call that has ended tells of messages that are lost, if there are any", () => {
  for (const messages of [0, 1]) {
    const { call } = sentCall("server_streaming");
    if (messages > 0) call.push(Uint8Array.of(1));
    call.end(OK);
    call.overrun();
    equal(call.status?.code, messages > 0 ? Code.RESOURCE_EXHAUSTED : Code.OK);
  }
});

Deno.test("sendAll() sends the messages and half-closes", async () => {
  const { call, host } = sentCall("client_streaming");
  await call.sendAll([Uint8Array.of(1), Uint8Array.of(2)]);
  equal(call.status, undefined);
  const frames = await host.frames();
  deepEqual(outline(frames), [[7, FrameType.Data, 0], [7, FrameType.Data, 0], HALF_CLOSE]);
  deepEqual(frames.map(({ data }) => [...data]), [[1], [2], []]);
});

Deno.test("sendAll() sends no more after the call has ended, and does not half-close", async () => {
  const { call, host } = sentCall("bidi_streaming");
  const sent = call.sendAll((function* () {
    yield Uint8Array.of(1);
    call.end(OK);
  })());
  await sent;
  deepEqual(outline(await host.frames()), [[7, FrameType.Data, 0]]);
});

Deno.test("sendAll() ends the call with what its messages throw", async () => {
  const plain = new Error("no more");
  for (
    const [error, code, message] of [
      [plain, Code.UNKNOWN, "no more"],
      [new RpcError(Code.ABORTED, "enough"), Code.ABORTED, "enough"],
    ] as const
  ) {
    const { call, host } = sentCall("client_streaming");
    await call.sendAll((function* () {
      yield Uint8Array.of(1);
      throw error;
    })());
    deepEqual([call.status?.code, call.status?.message], [code, message]);
    deepEqual(outline(await host.frames()), [[7, FrameType.Data, 0], CANCEL, HALF_CLOSE]);
  }
});

Deno.test("sendAll() ends the call when there is nothing to iterate, or no message", async () => {
  for (const messages of [5, [undefined]]) {
    const { call } = sentCall("client_streaming");
    await call.sendAll(messages as Iterable<unknown>);
    ok(call.status && call.status.code !== Code.OK);
  }
});

Deno.test("sendAll() leaves the messages alone that come after an abort", async () => {
  const counted = new CountedSignal();
  const { call, host } = sentCall("bidi_streaming", { signal: counted.signal });
  const { promise, resolve } = Promise.withResolvers<IteratorResult<Uint8Array>>();
  const returned: string[] = [];
  const iterator = {
    next: () => promise,
    return: () => {
      returned.push("return");
      return Promise.resolve({ done: true as const, value: undefined });
    },
  };
  const sent = call.sendAll({ [Symbol.asyncIterator]: () => iterator });
  await settle();
  counted.controller.abort();
  deepEqual(returned, ["return"]);
  resolve({ done: false, value: Uint8Array.of(1) });
  await sent;
  deepEqual(outline(await host.frames()), [CANCEL, HALF_CLOSE]);
});

Deno.test("deadlineStatus() tells the time", () => {
  equal(deadlineStatus(1.5).message, "the deadline of 1.5 ms has passed");
});
