// logger() tells of every call once, when it is over, and how it has ended.

import { type Interceptor, RpcError } from "@ttrpc/ttrpc";
import { type LogEntry, logger } from "@ttrpc/ttrpc/logger";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, TestBed } from "./fixture.ts";
import { callOf, handlersThat, KINDS, METHODS } from "./kinds.ts";
import { Place, TRANSPORTS } from "./place.ts";
import { until } from "./wait.ts";

Deno.test("logger() tells once of a stream that was left before its first message", async () => {
  const log: LogEntry[] = [];
  await using bed = new TestBed();
  const service = await bed.service({ interceptors: [logger((entry) => void log.push(entry))] });
  await service.count({ count: 3 }).return();
  await until(() => log.length > 0);
  deepEqual(log.map(({ code, responses }) => [code, responses]), [[Code.CANCELLED, 0]]);
});

Deno.test("logger() tells of each call when it has ended", async () => {
  const near: LogEntry[] = [];
  const far: LogEntry[] = [];
  await using bed = new TestBed({}, { interceptors: [logger((entry) => void far.push(entry))] });
  const service = await bed.service({ interceptors: [logger((entry) => void near.push(entry))] });
  await service.nothing({});
  await Array.fromAsync(service.count({ count: 3 }));
  await service.sum([{ value: 1n }, { value: 2n }]);
  await Array.fromAsync(service.chat([{}, {}]));
  await rejects(service.fail({ code: 5, message: "no" }));
  for await (const _ of service.count({ count: 10 })) break;
  for (const log of [near, far]) {
    const entries = log.slice(0, 5).map(({ method, kind, code, requests, responses }) =>
      `${method.split("/")[1]} ${kind} ${Code[code]} ${requests} ${responses}`
    );
    deepEqual(entries, [
      "Nothing unary OK 1 1",
      "Count server_streaming OK 1 3",
      "Sum client_streaming OK 2 1",
      "Chat bidi_streaming OK 2 2",
      "Fail unary NOT_FOUND 1 0",
    ]);
    ok(log.every(({ durationMs }) => durationMs >= 0));
    ok(log[4]!.error instanceof RpcError);
    equal("error" in log[0]!, false);
  }
  deepEqual([near[5]!.code, near[5]!.responses], [Code.CANCELLED, 1]);
});

Deno.test("logger() tells of a stream that fails on its way", async () => {
  const log: LogEntry[] = [];
  await using bed = new TestBed({
    async *count() {
      yield { value: 1n };
      throw new RpcError(Code.DATA_LOSS, "gone");
    },
  });
  const service = await bed.service({ interceptors: [logger((entry) => void log.push(entry))] });
  await rejects(Array.fromAsync(service.count({})), { code: Code.DATA_LOSS });
  equal(log.length, 1);
  deepEqual([log[0]!.code, log[0]!.responses], [Code.DATA_LOSS, 1]);
});

/** A log, and the interceptor that writes it. */
function recording(): { log: LogEntry[]; interceptors: Interceptor[] } {
  const log: LogEntry[] = [];
  return { log, interceptors: [logger((entry) => void log.push(entry))] };
}

for (const transport of TRANSPORTS) {
  Deno.test(`logger() of a server tells of a call that expires when it does, over ${transport}`, async () => {
    const gate = Promise.withResolvers<void>();
    const { log, interceptors } = recording();
    await using place = new Place(transport);
    const server = await place.serve(handlersThat(() => gate.promise), { interceptors });
    const service = (await place.connect()).service(TestService);
    for (const kind of KINDS) {
      const call = callOf(kind, service, { timeoutMs: 15 });
      await rejects(call, { code: Code.DEADLINE_EXCEEDED });
      await until(() => log.length === 1); // though its handler still runs
      const [{ method, code, error, durationMs, responses }] = log.splice(0) as [LogEntry];
      deepEqual([method, code, responses], [
        `${TestService.typeName}/${METHODS[kind]}`,
        Code.DEADLINE_EXCEEDED,
        0,
      ]);
      ok(error === undefined || error.code === Code.DEADLINE_EXCEEDED);
      ok(durationMs >= 0);
    }
    gate.resolve();
    await callOf("unary", service);
    deepEqual(log.map(({ code }) => code), [Code.OK]); // and nothing is told twice
    deepEqual(server.stats().callsFailed, { DEADLINE_EXCEEDED: 4 });
  });

  Deno.test(`logger() of a server tells of calls whose connection is lost, over ${transport}`, async () => {
    const { log, interceptors } = recording();
    await using place = new Place(transport);
    const server = await place.serve(handlersThat(({ signal }) => aborted(signal)), {
      interceptors,
    });
    const client = await place.connect();
    const calls = KINDS.map((kind) =>
      rejects(callOf(kind, client.service(TestService)), { code: Code.CANCELLED })
    );
    await until(() => server.stats().callsInFlight === 4);
    client.close();
    await Promise.all(calls);
    await until(() => log.length === 4);
    deepEqual(log.map(({ kind }) => kind).toSorted(), [...KINDS].toSorted());
    for (const { code } of log) equal(code, Code.CANCELLED);
    deepEqual(server.stats().callsFailed, { CANCELLED: 4 });
  });

  Deno.test(`logger() of a server tells of calls that it ends itself, over ${transport}`, async () => {
    const { log, interceptors } = recording();
    await using place = new Place(transport);
    const server = await place.serve(handlersThat(({ signal }) => aborted(signal)), {
      interceptors,
    });
    const service = (await place.connect()).service(TestService);
    const calls = KINDS.map((kind) => rejects(callOf(kind, service), { code: Code.UNAVAILABLE }));
    await until(() => server.stats().callsInFlight === 4);
    await server.shutdown({ timeoutMs: 0 });
    await Promise.all(calls);
    await until(() => log.length === 4);
    for (const { code } of log) equal(code, Code.UNAVAILABLE);
  });

  Deno.test(`logger() of a client tells how calls were given up, over ${transport}`, async () => {
    const { log, interceptors } = recording();
    await using place = new Place(transport);
    await place.serve(handlersThat(({ signal }) => aborted(signal)));
    const client = await place.connect({ interceptors });
    const service = client.service(TestService);
    const told = async (code: Code) => {
      await until(() => log.length === 4);
      deepEqual(log.splice(0).map((entry) => entry.code), [code, code, code, code]);
    };
    for (const kind of KINDS) await callOf(kind, service, { timeoutMs: 10 }).catch(() => {});
    await told(Code.DEADLINE_EXCEEDED);
    const controller = new AbortController();
    const { signal } = controller;
    const aborting = KINDS.map((kind) => callOf(kind, service, { signal }).catch(() => {}));
    await until(() => client.stats().callsInFlight === 4);
    controller.abort(new Error("changed my mind"));
    await Promise.all(aborting);
    await told(Code.CANCELLED);
    const closing = KINDS.map((kind) => callOf(kind, service).catch(() => {}));
    await until(() => client.stats().callsInFlight === 4);
    client.close();
    await Promise.all(closing);
    await told(Code.CANCELLED);
  });

  Deno.test(`logger() of a client tells of calls whose connection is lost, over ${transport}`, async () => {
    const { log, interceptors } = recording();
    await using place = new Place(transport);
    const server = await place.serve(handlersThat(({ signal }) => aborted(signal)));
    const client = await place.connect({ interceptors, reconnect: true });
    const calls = KINDS.map((kind) => callOf(kind, client.service(TestService)).catch(() => {}));
    await until(() => server.stats().callsInFlight === 4);
    server.close();
    await Promise.all(calls);
    deepEqual(log.map(({ code }) => code), KINDS.map(() => Code.UNAVAILABLE));
  });
}

Deno.test("logger() tells of a handler's own error as the RpcError that its caller gets", async () => {
  const { log, interceptors } = recording();
  const bug = new Error("a bug");
  await using place = new Place();
  await place.serve(handlersThat(() => Promise.reject(bug)), { interceptors });
  const service = (await place.connect()).service(TestService);
  for (const kind of KINDS) await rejects(callOf(kind, service), { code: Code.UNKNOWN });
  equal(log.length, 4);
  for (const { code, error } of log) {
    equal(code, Code.UNKNOWN);
    ok(error instanceof RpcError);
    equal(error.rawMessage, "a bug");
    equal(error.cause, bug);
  }
});

Deno.test("an entry of logger() says as JSON what went wrong", async () => {
  const { log, interceptors } = recording();
  await using place = new Place();
  await place.serve({
    nothing: () => {
      throw new Error("a bug");
    },
  }, { interceptors });
  const client = await place.connect();
  const service = client.service(TestService);
  await rejects(service.nothing({}), { code: Code.UNKNOWN });
  const value = new Uint8Array([1]);
  const details = [{ typeUrl: "x/Y", value }];
  await rejects(service.fail({ code: 5, message: "no such task", details }));
  await rejects(client.callRaw("no.Such", "Do", new Uint8Array(0)), { code: Code.UNIMPLEMENTED });
  const entries = log.map((entry) => JSON.parse(JSON.stringify(entry)));
  deepEqual(entries.map(({ code }) => code), [Code.UNKNOWN, Code.NOT_FOUND, Code.UNIMPLEMENTED]);
  for (const [at, text] of ["a bug", "no such task", "service no.Such"].entries()) {
    const { error } = entries[at];
    equal(error.rawMessage, text, JSON.stringify(entries[at]));
    equal(error.code, entries[at].code);
  }
});
