// A deadline is kept whatever stands around the call, on both sides.

import { type InterceptedRequest, type Interceptor, type MethodKind, RpcError } from "@ttrpc/ttrpc";
import { retry } from "@ttrpc/ttrpc/retry";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, type TestHandlers } from "./fixture.ts";
import { callOf, handlersThat, KINDS, METHODS, rawCallOf } from "./kinds.ts";
import { Place, type Transport, TRANSPORTS } from "./place.ts";
import { sleep, until } from "./wait.ts";

const LATE = { code: Code.DEADLINE_EXCEEDED };

/** Handlers that count how often each kind was called, and what they were told is left. */
function counting(run: (signal: AbortSignal) => unknown = () => {}) {
  const left: (number | undefined)[] = [];
  const called: MethodKind[] = [];
  const handlers = handlersThat(({ signal, timeoutMs }, kind) => {
    called.push(kind);
    left.push(timeoutMs);
    return run(signal);
  });
  return { left, called, handlers };
}

/** An interceptor that passes something else on than the `timeoutMs` that it was given. */
function giving(timeoutMs: unknown): Interceptor {
  return (next) => (request) => next({ ...request, timeoutMs } as InterceptedRequest);
}

const dropping: Interceptor = (next) => ({ timeoutMs: _, ...request }) =>
  next(request as InterceptedRequest);

/** What an interceptor cannot do: make a deadline longer, or go without. */
const LONGER: Readonly<Record<string, Interceptor>> = {
  "drops the deadline": giving(undefined),
  "leaves the deadline out": dropping,
  "lengthens the deadline": giving(1e6),
  "makes the deadline infinite": giving(Infinity),
};

/** A client and a server, of which one has an interceptor. */
async function between(
  transport: Transport,
  side: string,
  interceptor: Interceptor,
  handlers: Partial<TestHandlers>,
) {
  const place = new Place(transport);
  const interceptors = [interceptor];
  const server = await place.serve(handlers, side === "server" ? { interceptors } : {});
  const client = await place.connect(side === "client" ? { interceptors } : {});
  const service = client.service(TestService);
  return { server, client, service, [Symbol.asyncDispose]: () => place[Symbol.asyncDispose]() };
}

for (const transport of TRANSPORTS) {
  Deno.test(`after the deadline an interceptor's next() rejects, and no call is made, over ${transport}`, async () => {
    await using place = new Place(transport);
    const { called, handlers } = counting();
    const server = await place.serve(handlers);
    const outcomes: Promise<unknown>[] = [];
    const slow: Interceptor = (next) => async (request) => {
      if (request.timeoutMs === undefined) return await next(request);
      await aborted(request.signal!);
      const outcome = next(request);
      outcomes.push(rejects(outcome, { ...LATE, method: request.method.path }));
      return await outcome;
    };
    const client = await place.connect({ interceptors: [slow] });
    const service = client.service(TestService);
    for (const kind of KINDS) {
      await rejects(callOf(kind, service, { timeoutMs: 10 }), LATE);
      await rejects(rawCallOf(kind, client, { timeoutMs: 10 }), LATE);
    }
    await until(() => outcomes.length === 8);
    await Promise.all(outcomes);
    await callOf("unary", service); // whatever was sent before has come, too
    deepEqual(called, ["unary"]);
    equal(server.stats().callsStarted, 1);
    equal(client.stats().callsInFlight, 0);
  });

  Deno.test(`a server is told what an interceptor has left of the deadline, over ${transport}`, async () => {
    await using place = new Place(transport);
    const { left, handlers } = counting();
    await place.serve(handlers);
    let passedOn = 0;
    const slow: Interceptor = (next) => async (request) => {
      const start = performance.now();
      await sleep(50);
      passedOn = performance.now() - start;
      return await next(request);
    };
    const service = (await place.connect({ interceptors: [slow] })).service(TestService);
    for (const kind of KINDS) {
      await callOf(kind, service, { timeoutMs: 60_000 });
      ok(left.at(-1)! <= 60_000 - passedOn, `${kind}: ${left.at(-1)} after ${passedOn}`);
      ok(left.at(-1)! > 0);
    }
  });

  for (const [what, interceptor] of Object.entries(LONGER)) {
    for (const side of ["client", "server"]) {
      Deno.test(`a ${side}'s interceptor that ${what} changes nothing, over ${transport}`, async () => {
        const { left, called, handlers } = counting((signal) => late && aborted(signal));
        let late = false;
        await using bed = await between(transport, side, interceptor, handlers);
        const { client, service, server } = bed;
        for (const kind of KINDS) await callOf(kind, service, { timeoutMs: 60_000 });
        deepEqual(called, KINDS);
        for (const timeoutMs of left) ok(timeoutMs! <= 60_000, `${timeoutMs}`);
        late = true;
        for (const kind of KINDS) await rejects(callOf(kind, service, { timeoutMs: 15 }), LATE);
        equal(client.stats().callsInFlight, 0);
        await until(() => server.stats().callsInFlight === 0); // it knows the deadline, too
      });
    }
  }

  for (const side of ["client", "server"]) {
    Deno.test(`a ${side}'s interceptor can shorten the deadline, or set one, over ${transport}`, async () => {
      const { left, called, handlers } = counting((signal) => late && aborted(signal));
      let late = false;
      const shortening: Interceptor = (next) => (request) =>
        next({ ...request, timeoutMs: late ? 15 : 30_000 });
      await using bed = await between(transport, side, shortening, handlers);
      const { client, service, server } = bed;
      for (const options of [{}, { timeoutMs: 60_000 }]) {
        late = false;
        for (const kind of KINDS) await callOf(kind, service, options);
        late = true;
        for (const kind of KINDS) await rejects(callOf(kind, service, options), LATE);
      }
      ok(called.length >= 8);
      for (const timeoutMs of left) ok(timeoutMs! <= 30_000, `${timeoutMs}`);
      equal(client.stats().callsInFlight, 0);
      await until(() => server.stats().callsInFlight === 0);
    });
  }

  Deno.test(`no time left from an interceptor makes no call, on both sides, over ${transport}`, async () => {
    for (const timeoutMs of [0, -1, -Infinity]) {
      for (const side of ["client", "server"]) {
        const { called, handlers } = counting();
        await using bed = await between(transport, side, giving(timeoutMs), handlers);
        const { client, service } = bed;
        for (const options of [{}, { timeoutMs: 1e6 }]) {
          for (const kind of KINDS) await rejects(callOf(kind, service, options), LATE);
        }
        await service.fail({ code: 5 }).catch(() => {});
        deepEqual(called, [], side);
        equal(client.stats().callsInFlight, 0);
      }
    }
  });
}

for (const timeoutMs of [NaN, "5", null, 5n, {}]) {
  const name = `${Deno.inspect(timeoutMs)} as timeoutMs from an interceptor`;

  Deno.test(`${name} of a client is an error of that call, and no call is made`, async () => {
    await using place = new Place();
    const { called, handlers } = counting();
    await place.serve(handlers);
    const client = await place.connect({ interceptors: [giving(timeoutMs)] });
    for (const options of [{}, { timeoutMs: 1e6 }]) {
      for (const kind of KINDS) {
        const call = callOf(kind, client.service(TestService), options);
        const error = await call.then(() => undefined, (error) => error);
        ok(error instanceof RpcError, `${kind}: ${error}`);
        equal(error.code, Code.UNKNOWN);
        equal(error.method, `${TestService.typeName}/${METHODS[kind]}`);
        ok(error.cause instanceof RangeError);
      }
    }
    deepEqual(called, []);
    equal(client.stats().callsInFlight, 0);
  });

  Deno.test(`${name} of a server is an error of that call, and its handler does not run`, async () => {
    await using place = new Place();
    const { called, handlers } = counting();
    await place.serve(handlers, { interceptors: [giving(timeoutMs)] });
    const service = (await place.connect()).service(TestService);
    for (const options of [{}, { timeoutMs: 1e6 }]) {
      for (const kind of KINDS) {
        await rejects(callOf(kind, service, options), { code: Code.UNKNOWN });
      }
    }
    deepEqual(called, []);
    equal(place.errors.length, 8);
    for (const error of place.errors) ok(error instanceof RangeError);
  });
}

Deno.test("a server's interceptor that calls next() after the deadline runs no handler", async () => {
  for (const transport of TRANSPORTS) {
    await using place = new Place(transport);
    const { called, handlers } = counting();
    const outcomes: Promise<unknown>[] = [];
    const slow: Interceptor = (next) => async (request) => {
      await aborted(request.context!.signal);
      const outcome = next(request);
      outcomes.push(rejects(outcome, LATE));
      return await outcome;
    };
    const server = await place.serve(handlers, { interceptors: [slow] });
    const service = (await place.connect()).service(TestService);
    for (const kind of KINDS) await rejects(callOf(kind, service, { timeoutMs: 10 }), LATE);
    await until(() => outcomes.length === 4);
    await Promise.all(outcomes);
    deepEqual(called, []);
    deepEqual(server.stats().callsFailed, { DEADLINE_EXCEEDED: 4 });
    deepEqual(place.errors, []);
  }
});

Deno.test("a second next() of an interceptor has what the first has left", async () => {
  await using place = new Place();
  const { left, handlers } = counting();
  await place.serve(handlers);
  const twice: Interceptor = (next) => async (request) => {
    await next(request);
    return await next(request);
  };
  const service = (await place.connect({ interceptors: [twice] })).service(TestService);
  await callOf("unary", service, { timeoutMs: 60_000 });
  await callOf("client_streaming", service, { timeoutMs: 60_000 });
  equal(left.length, 4);
  ok(left[1]! < left[0]! && left[3]! < left[2]!, `${left}`);
});

Deno.test("a call with a deadline waits for a slow interceptor, a reconnect and retry() together", async () => {
  await using place = new Place();
  const { called, handlers } = counting();
  await place.serve(handlers);
  const client = await place.connect({
    interceptors: [retry({ attempts: 1e6, initialDelayMs: 1, maxDelayMs: 1 })],
    reconnect: { initialDelayMs: 1, maxDelayMs: 1 },
  });
  await place.stop();
  const late = KINDS.map((kind) => callOf(kind, client.service(TestService), { timeoutMs: 20 }));
  for (const call of late) {
    await rejects(
      call,
      (error: RpcError) => error.code === Code.DEADLINE_EXCEEDED || error.code === Code.UNAVAILABLE,
    );
  }
  equal(client.stats().callsInFlight, 0);
  await place.serve(handlers);
  deepEqual(called, []);
});
