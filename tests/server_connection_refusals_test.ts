// Refused calls on a server's side of one connection, as interceptors and the client see them.

import { deepEqual, equal, ok } from "node:assert/strict";
import { FrameType } from "../framing.ts";
import type { InterceptedRequest, Interceptor } from "../interceptor.ts";
import { Code, RpcError } from "../status.ts";
import { settle } from "./stand_ins.ts";
import { Bed, NEVER, waiting } from "./server_connection_bed.ts";

/** What interceptors have seen. */
function recorder() {
  const seen: [path: string, kind: string, sent: number, received: number, end: unknown][] = [];
  const interceptor: Interceptor = (next) => async (request: InterceptedRequest) => {
    const end = await next(request).catch((error) => error);
    const { sizes, method } = request;
    seen.push([
      method.path,
      method.kind,
      sizes.sent,
      sizes.received,
      end instanceof RpcError ? end.rawMessage : "answered",
    ]);
    if (end instanceof Error) throw end;
    return end;
  };
  return { seen, interceptors: [interceptor] };
}

Deno.test("interceptors see calls that are answered, and every one that is refused", async () => {
  const { seen, interceptors } = recorder();
  await using bed = new Bed({}, { interceptors, limits: { messageBytes: 100 } });
  await bed.request(1, { payload: new Uint8Array([7]) });
  await bed.request(2);
  await bed.request(1);
  await bed.request(3, { service: "pkg.No" });
  await bed.request(5, { method: "No" });
  await bed.send({ streamId: 7, type: FrameType.Request, data: new Uint8Array([0xff]) });
  await bed.send({ streamId: 9, type: FrameType.Request, data: new Uint8Array(101) });
  const reasons = seen.map(([path, kind, , , end]) => [path, kind, end]);
  const answers = bed.answers() as [number, number, string][];
  deepEqual(answers[0], [1, 7]);
  deepEqual(reasons.slice(1).map(([, , end]) => end), answers.slice(1).map(([, , text]) => text));
  deepEqual(reasons.map(([path]) => path), [
    "pkg.Svc/Get",
    "/",
    "/",
    "pkg.No/Get",
    "pkg.Svc/No",
    "/",
    "/",
  ]);
  deepEqual(seen[0], ["pkg.Svc/Get", "unary", 0, 1, "answered"]);
  equal(bed.tally.stats([]).callsStarted, 7);
});

Deno.test("interceptors see a call whose time is over when it comes, which has no deadline", async () => {
  const { seen, interceptors } = recorder();
  await using bed = new Bed({}, { interceptors });
  await bed.request(1, { timeoutNano: -1n });
  deepEqual(seen, [["pkg.Svc/Get", "unary", 0, 0, "the deadline has passed"]]);
  deepEqual(bed.answers(), [[1, Code.DEADLINE_EXCEEDED, "the deadline has passed"]]);
  deepEqual(bed.deadlines.noted, [["add", Infinity]]);
});

Deno.test("interceptors find no message of a refused call, or no messages", async () => {
  const messages: unknown[] = [];
  const interceptors: Interceptor[] = [(next) => (request) => {
    messages.push(request.message);
    return next(request);
  }];
  await using bed = new Bed({ get: NEVER }, { interceptors, limits: { concurrentCalls: 1 } });
  await bed.request(1);
  await bed.request(3);
  await bed.request(5, { method: "Chat" });
  deepEqual(messages.slice(1), [undefined, []]);
});

Deno.test("interceptors find the bytes of a response when it is sent", async () => {
  let seen: InterceptedRequest | undefined;
  const interceptors: Interceptor[] = [(next) => (request) => next(seen = request)];
  await using bed = new Bed({ get: () => new Uint8Array(3) }, { interceptors });
  await bed.request(1, { payload: new Uint8Array(2) });
  deepEqual(seen!.sizes, { sent: 3, received: 2 });
});

Deno.test("interceptors see of a refused call which method it names", async () => {
  const { seen, interceptors } = recorder();
  const limits = { concurrentCalls: 1 };
  await using bed = new Bed({ get: NEVER }, { interceptors, limits });
  await bed.request(1);
  await bed.request(3, { method: "Chat" });
  deepEqual(seen.map(([path, kind]) => [path, kind]), [["pkg.Svc/Chat", "bidi_streaming"]]);
  equal((bed.answers() as number[][])[0]![1], Code.RESOURCE_EXHAUSTED);
});

Deno.test("an interceptor may answer another error than the one of a refusal", async () => {
  const interceptors: Interceptor[] = [
    () => () => Promise.reject(new RpcError(Code.UNAUTHENTICATED, "who are you?")),
  ];
  await using bed = new Bed({}, { interceptors });
  await bed.request(1, { method: "No" });
  deepEqual(bed.answers(), [[1, Code.UNAUTHENTICATED, "who are you?"]]);
});

Deno.test("data for a call that is refused is dropped until it is answered", async () => {
  const { bed, waits } = waiting({ messageBytes: 50 });
  await using _bed = bed;
  await bed.request(1, { method: "No" });
  await bed.data(1, 0, 1);
  await bed.send({ streamId: 1, data: new Uint8Array(51) });
  deepEqual(bed.answers(), []);
  equal(bed.streams.size, 0);
  waits[0]!.resolve();
  await settle();
  deepEqual(bed.answers(), [[1, Code.UNIMPLEMENTED, "method No"]]);
  await bed.data(1, 0, 1);
  deepEqual(bed.answers(), [[1, Code.INVALID_ARGUMENT, "StreamID is no longer active"]]);
});

Deno.test("a refused call does not take the place of another one with its id", async () => {
  const { bed, waits } = waiting();
  await using _bed = bed;
  await bed.request(1);
  await bed.request(1);
  waits[0]!.resolve();
  await settle();
  deepEqual(bed.answers(), [[1]]);
  const notActive = "StreamID is no longer active";
  const even = "StreamID must be odd for client initiated streams";
  for (const id of [1, 0]) await bed.data(id, 0);
  deepEqual(bed.answers(), [
    [1, Code.INVALID_ARGUMENT, notActive],
    [0, Code.INVALID_ARGUMENT, even],
  ]);
  waits[1]!.resolve();
  await settle();
  equal(bed.answers().length, 1);
});

Deno.test("refused calls that share an id end with the connection, all of them", async () => {
  const { bed, waits } = waiting();
  for (const id of [1, 1, 2, 2, 2]) await bed.request(id, { method: "No" });
  equal(waits.length, 5);
  bed.connection.connection.close();
  await bed.reading;
  deepEqual(bed.tally.stats([]).callsFailed, { CANCELLED: 5 });
  for (const wait of waits) wait.resolve();
  await settle();
});

Deno.test("a refused call has its deadline, and learns how its connection was lost", async () => {
  let signal: AbortSignal | undefined;
  const { promise, resolve } = Promise.withResolvers<void>();
  const bed = new Bed({}, {
    interceptors: [(next) => async (request) => {
      signal = request.signal;
      await promise;
      return next(request);
    }],
  });
  await bed.request(1, { method: "No", timeoutNano: 3_600_000_000_000n });
  await bed.send({ streamId: 3, type: FrameType.Request, data: new Uint8Array([0xff]) });
  const [[, deadline], [, never]] = bed.deadlines.noted as [[string, number], [string, number]];
  ok(deadline <= performance.now() + 3_600_000);
  equal(never, Infinity);
  bed.conn.fail(new Deno.errors.ConnectionReset("reset"));
  await bed.reading;
  equal(signal!.reason.code, Code.UNAVAILABLE);
  resolve();
  await settle();
});

Deno.test("no more refused calls wait for interceptors than calls may be in flight", async () => {
  const { bed, waits } = waiting({ concurrentCalls: 2 });
  await using _bed = bed;
  for (const id of [1, 3, 5]) await bed.request(id, { method: "No" });
  equal(waits.length, 2);
  deepEqual(bed.answers(), [[5, Code.UNIMPLEMENTED, "method No"]]);
  for (const wait of waits) wait.resolve();
  await settle();
  equal(bed.answers().length, 2);
});

Deno.test("a refused call whose interceptors wait ends with the connection", async () => {
  const { bed, waits } = waiting();
  await bed.request(1, { method: "No" });
  equal(bed.tally.stats([]).callsInFlight, 1);
  bed.connection.connection.close();
  await bed.reading;
  deepEqual(bed.tally.stats([]).callsFailed, { CANCELLED: 1 });
  waits[0]!.resolve();
  await settle();
});
