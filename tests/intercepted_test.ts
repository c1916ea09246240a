// Calls that interceptors stand around end as others do, whatever the interceptors do.

import { type Interceptor, RpcError } from "@ttrpc/ttrpc";
import { type LogEntry, logger } from "@ttrpc/ttrpc/logger";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, TestBed } from "./fixture.ts";
import { callOf, CountedSignal, handlersThat, KINDS, METHODS, rawCallOf } from "./kinds.ts";
import { Place, TRANSPORTS } from "./place.ts";
import { until } from "./wait.ts";

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

Deno.test("an interceptor that drops the signal, or passes on another, does not lose the caller's", async () => {
  for (const transport of TRANSPORTS) {
    for (const other of [undefined, new AbortController().signal]) {
      await using place = new Place(transport);
      await place.serve(handlersThat(({ signal }) => aborted(signal)));
      const client = await place.connect({
        interceptors: [(next) => (request) => next({ ...request, signal: other })],
      });
      const service = client.service(TestService);
      for (const kind of KINDS) {
        const controller = new AbortController();
        const { signal } = controller;
        const call = rejects(callOf(kind, service, { signal }), { code: Code.CANCELLED });
        await until(() => client.stats().callsInFlight === 1);
        controller.abort();
        await call;
        await rejects(callOf(kind, service, { timeoutMs: 5 }), { code: Code.DEADLINE_EXCEEDED });
        equal(client.stats().callsInFlight, 0);
      }
    }
  }
});

Deno.test("a signal that an interceptor passes on ends the call that it makes", async () => {
  await using place = new Place();
  await place.serve(handlersThat(({ signal }) => aborted(signal)));
  let controller = new AbortController();
  const client = await place.connect({
    interceptors: [(next) => (request) => next({ ...request, signal: controller.signal })],
  });
  const service = client.service(TestService);
  for (const kind of KINDS) {
    controller = new AbortController();
    const call = rejects(callOf(kind, service), { code: Code.CANCELLED });
    await until(() => client.stats().callsInFlight === 1);
    controller.abort();
    await call;
    await rejects(callOf(kind, service), { code: Code.CANCELLED }); // aborted already
    equal(client.stats().callsInFlight, 0);
  }
});

Deno.test("calls that an interceptor has left behind are given up when it has answered", async () => {
  for (const transport of TRANSPORTS) {
    await using place = new Place(transport);
    let calls = 0;
    await place.serve(handlersThat(({ signal }) => calls++ % 2 === 0 && aborted(signal)));
    const client = await place.connect({
      interceptors: [(next) => (request) => {
        next(request).catch(() => {}); // hangs
        return next(request);
      }],
    });
    const service = client.service(TestService);
    await callOf("unary", service);
    await callOf("server_streaming", service);
    equal(client.stats().callsInFlight, 0);
  }
});

/** What interceptors may throw, and what is made of it. */
const THROWN: Readonly<Record<string, [thrown: unknown, code: Code, rawMessage: string]>> = {
  "an Error": [new Error("a bug"), Code.UNKNOWN, "a bug"],
  "a TypeError": [new TypeError("no function"), Code.UNKNOWN, "no function"],
  "text": ["just text", Code.UNKNOWN, "just text"],
  "null": [null, Code.UNKNOWN, "null"],
  "a DOMException": [new DOMException("gone", "AbortError"), Code.UNKNOWN, "gone"],
};

for (const [what, [thrown, code, rawMessage]] of Object.entries(THROWN)) {
  /** Ways to throw it: at once, later, after the answer, or among the messages of the answer. */
  const ways: Readonly<Record<string, Interceptor>> = {
    "at once": () => () => {
      throw thrown;
    },
    "later": () => async () => {
      await undefined;
      throw thrown;
    },
    "after the answer": (next) => async (request) => {
      await next(request);
      throw thrown;
    },
    "among the messages": (next) => async (request) => {
      const response = await next(request);
      if (response.kind === "unary" || response.kind === "client_streaming") throw thrown;
      return {
        ...response,
        message: (async function* () {
          yield* response.message;
          throw thrown;
        })(),
      };
    },
  };

  Deno.test(`${what} that a client's interceptor throws is the cause of an RpcError`, async () => {
    await using place = new Place();
    await place.serve();
    for (const [when, interceptor] of Object.entries(ways)) {
      const client = await place.connect({ interceptors: [interceptor] });
      for (const kind of KINDS) {
        const failed = await callOf(kind, client.service(TestService)).catch((error) => error);
        ok(failed instanceof RpcError, `${kind}, ${when}: ${failed}`);
        deepEqual([failed.code, failed.rawMessage], [code, rawMessage]);
        equal(failed.cause, thrown);
        equal(failed.method, `${TestService.typeName}/${METHODS[kind]}`);
        const raw = await rawCallOf(kind, client).catch((error) => error);
        ok(raw instanceof RpcError, `${kind}, ${when}: ${raw}`);
        equal(raw.cause, thrown);
      }
      await until(() => client.stats().callsInFlight === 0);
    }
  });

  Deno.test(`${what} that a server's interceptor throws is UNKNOWN to the caller, and onError hears of it`, async () => {
    for (const interceptor of Object.values(ways)) {
      const heard: unknown[] = [];
      await using place = new Place();
      await place.serve({}, {
        interceptors: [interceptor],
        onError: (error, method) => heard.push([error, method]),
      });
      const service = (await place.connect()).service(TestService);
      for (const kind of KINDS) await rejects(callOf(kind, service), { code, rawMessage });
      deepEqual(heard, KINDS.map((kind) => [thrown, `${TestService.typeName}/${METHODS[kind]}`]));
    }
  });
}

Deno.test("an RpcError that an interceptor throws reaches the caller as it is", async () => {
  const thrown = new RpcError(Code.PERMISSION_DENIED, "no", {
    details: [{ typeUrl: "x/Y", value: new Uint8Array([1]) }],
  });
  await using place = new Place();
  await place.serve();
  const client = await place.connect({
    interceptors: [() => () => {
      throw thrown;
    }],
  });
  for (const kind of KINDS) {
    equal(await callOf(kind, client.service(TestService)).catch((error) => error), thrown);
  }
});

Deno.test("a response with other members beside its message is a response, on both sides", async () => {
  for (const members of [{ outcome: "fine" }, { status: { code: 5 }, error: "x", then: 1 }]) {
    const adding: Interceptor = (next) => async (request) => ({
      ...await next(request),
      ...members,
    });
    await using place = new Place();
    await place.serve({}, { interceptors: [adding] });
    const client = await place.connect({ interceptors: [adding] });
    for (const kind of KINDS) {
      await callOf(kind, client.service(TestService));
      await rawCallOf(kind, client);
    }
  }
});

Deno.test("a listener of an interceptor that throws harms neither its call nor others", async () => {
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      yield { value: 1n };
      await aborted(signal);
    },
  });
  let thrown = 0;
  const throwing: Interceptor = (next) => (request) => {
    request.signal!.addEventListener("abort", () => {
      thrown++;
      throw new Error("in a listener");
    });
    return next(request);
  };
  const client = await bed.connect({ interceptors: [throwing] });
  const service = client.service(TestService);
  const controller = new AbortController();
  const { signal } = controller;
  const late = { code: Code.DEADLINE_EXCEEDED };
  await rejects(service.sleep({ milliseconds: 60_000n }, { timeoutMs: 20 }), late);
  const given = service.sleep({ milliseconds: 60_000n }, { signal });
  controller.abort();
  await rejects(given, { code: Code.CANCELLED });
  for await (const _ of service.count({})) break;
  const closed = rejects(service.sleep({ milliseconds: 60_000n }), { code: Code.CANCELLED });
  client.close();
  await closed;
  equal(thrown, 4);
});
