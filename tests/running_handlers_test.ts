// Handlers count until they settle, whatever has become of their calls.

import { connect, type Interceptor, RpcError, serve } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok } from "node:assert/strict";
import { Code } from "../status.ts";
import { Bytes, testEverywhere } from "./everywhere.ts";
import { until } from "./wait.ts";

const X = new Uint8Array(1);
const pass: Interceptor = (next) => (request) => next(request);

/** Handlers that heed nothing but a gate, and how many of them run. */
function stubborn() {
  const gate = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  const work = async () => {
    most = Math.max(most, ++running);
    await gate.promise;
    running--;
    return X;
  };
  const handlers = {
    one: work,
    up: work,
    async *down() {
      yield await work();
    },
    async *both() {
      yield await work();
    },
  };
  return { gate, handlers, most: () => most, running: () => running };
}

for (const interceptors of [[], [pass]]) {
  const how = interceptors.length === 0 ? "" : ", with an interceptor";

  testEverywhere(
    `handlers that outlive their deadlines count against the limit${how}`,
    async (place) => {
      const { gate, handlers, most, running } = stubborn();
      const limits = { concurrentCalls: 4 };
      const server = serve(
        { listener: place.listen(), interceptors, limits },
        (router) => router.service(Bytes, handlers),
      );
      const client = await connect(await place.dial());
      const service = client.service(Bytes);
      const options = { timeoutMs: 1_000 }; // enough for the first four to start
      const codes: Code[] = [];
      const note = (error: unknown) => void (error instanceof RpcError && codes.push(error.code));
      for (let round = 0; round < 3; round++) {
        await Promise.all([
          service.one(X, options).catch(note),
          service.up([X], options).catch(note),
          Array.fromAsync(service.down(X, options)).catch(note),
          Array.fromAsync(service.both([X], options)).catch(note),
        ]);
      }
      equal(most(), 4);
      deepEqual(codes.slice(4), new Array(8).fill(Code.RESOURCE_EXHAUSTED));
      await until(() => server.stats().callsInFlight === 0, "the end of the calls");
      gate.resolve();
      await until(() => running() === 0, "the end of the handlers");
      deepEqual(await service.one(X), X);
      await client[Symbol.asyncDispose]();
      await server.shutdown();
    },
  );
}

testEverywhere(
  "handlers of clients that have gone count against the limit of the server",
  async (place) => {
    const { gate, handlers, most } = stubborn();
    const limits = { serverCalls: 3 };
    const server = serve(
      { listener: place.listen(), limits },
      (router) => router.service(Bytes, handlers),
    );
    for (let round = 0; round < 5; round++) {
      const client = await connect(await place.dial());
      const call = client.service(Bytes).one(X).catch((error) => error);
      await until(() => server.stats().callsStarted > round, "the call");
      if (round >= 3) {
        const { code, rawMessage } = await call;
        equal(code, Code.RESOURCE_EXHAUSTED);
        ok(rawMessage.includes("limits.serverCalls"), rawMessage);
      }
      await client[Symbol.asyncDispose]();
      await until(() => server.stats().connections === 0, "the end of the connection");
    }
    equal(most(), 3);
    gate.resolve();
    await server.shutdown();
  },
);

testEverywhere("a server closes a connection more than it takes, and tells", async (place) => {
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const server = serve(
    { listener: place.listen(), limits: { connections: 2 }, onError },
    (router) => router.service(Bytes, stubborn().handlers),
  );
  const clients = [await connect(await place.dial()), await connect(await place.dial())];
  await until(() => server.stats().connections === 2, "the connections");
  const more = await connect(await place.dial());
  await more.finished;
  equal(
    (errors[0] as Error).message,
    "Cannot accept another connection: there are 2, which is the most that limits.connections allows",
  );
  await clients[0]![Symbol.asyncDispose]();
  await until(() => server.stats().connections === 1, "the end of a connection");
  const again = await connect(await place.dial());
  await until(() => server.stats().connections === 2, "the next connection");
  for (const client of [...clients, again]) await client[Symbol.asyncDispose]();
  await server.shutdown();
});
