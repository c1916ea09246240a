// Calls that interceptors stand around end as others do, whatever the interceptors do.

import { type Interceptor, RpcError } from "@ttrpc/ttrpc";
import { type LogEntry, logger } from "@ttrpc/ttrpc/logger";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, TestBed } from "./fixture.ts";
import { CountedSignal } from "./kinds.ts";

Deno.test("leaving an intercepted stream releases the call", async () => {
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      yield { value: 1n };
      await aborted(signal);
    },
  });
  const log: LogEntry[] = [];
  const client = await bed.connect({ interceptors: [logger((entry) => void log.push(entry))] });
  const service = client.service(TestService);
  for await (const _ of service.count({})) break;
  const early = service.count({});
  await early.return();
  deepEqual(await early.next(), { done: true, value: undefined });
  await using disposed = service.count({});
  equal((await disposed.next()).value.value, 1n);
  const thrown = service.count({});
  await rejects(thrown.throw(new Error("enough")), /enough/);
  await disposed.return();
  const { openStreams, callsInFlight } = client.stats();
  deepEqual([openStreams, callsInFlight], [0, 0]);
});

const stuck: Interceptor = () => () => new Promise(() => {});

Deno.test("a call ends although an interceptor never does", async () => {
  await using bed = new TestBed();
  const client = await bed.connect({ interceptors: [stuck] });
  const service = client.service(TestService);
  const late = { code: Code.DEADLINE_EXCEEDED };
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = [
    rejects(service.nothing({}, { signal }), { code: Code.CANCELLED }),
    rejects(service.count({}, { signal }).next(), { code: Code.CANCELLED }),
  ];
  await rejects(service.nothing({}, { timeoutMs: 20 }), late);
  await rejects(service.count({}, { timeoutMs: 20 }).next(), late);
  controller.abort();
  await Promise.all(aborted);
  const stream = service.count({});
  const next = stream.next();
  await stream.return();
  deepEqual(await next, { done: true, value: undefined });
  const closed = [
    rejects(service.nothing({}), { code: Code.CANCELLED }),
    rejects(service.count({}).next(), { code: Code.CANCELLED }),
  ];
  client.close();
  await Promise.all(closed);
});

Deno.test("a stream that waits can be left, with and without interceptors, on both sides", async () => {
  const left = Promise.withResolvers<IteratorResult<unknown>>();
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      await aborted(signal);
      yield {};
    },
    sum: async (requests) => {
      const next = requests.next();
      await requests.return();
      left.resolve(await next);
      return {};
    },
  });
  for (const interceptors of [[], [logger(() => {})]]) {
    const service = await bed.service({ interceptors });
    const stream = service.count({});
    const next = stream.next();
    await stream.return();
    deepEqual(await next, { done: true, value: undefined });
    await service.sum(new ReadableStream());
    deepEqual(await left.promise, { done: true, value: undefined });
  }
});

Deno.test("an intercepted stream that fails lets go of its signal", async () => {
  await using bed = new TestBed();
  const failing: Interceptor = (next) => async (request) => {
    if (request.metadata.has("throw")) throw new RpcError(Code.ABORTED, "no");
    return await next(request);
  };
  const service = await bed.service({ interceptors: [failing] });
  for (const metadata of [{ throw: "" }, {}]) {
    const counted = new CountedSignal();
    const unfit = (async function* () {
      yield { text: "x" };
      throw new RpcError(Code.ABORTED, "broken");
    })();
    const stream = service.chat(unfit, { metadata, signal: counted.signal });
    equal(counted.listeners, 1);
    // Not in a loop that would call return() at the end.
    const all = async () => {
      while (!(await stream.next()).done);
    };
    await rejects(all, { code: Code.ABORTED });
    equal(counted.listeners, 0);
  }
});
