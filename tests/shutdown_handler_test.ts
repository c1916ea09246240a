// A handler may shut its own server down: called in its synchronous part, shutdown() does not wait
// for that very call, and the handler's answer still reaches the client.

import {
  type Client,
  Code,
  connect,
  type Interceptor,
  serve,
  type Server,
  type ServiceHandlers,
} from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok } from "node:assert/strict";
import { Bytes, pass, type Place, testEverywhere } from "./everywhere.ts";
import { soon, turn } from "./wait.ts";

const X = new Uint8Array([120]);
const Y = new Uint8Array([121]);
const LARGE = new Uint8Array(3_000_000).fill(7);

/** Forces a shutdown that waits for itself, so that the test fails instead of waiting for ever. */
const GUARD = { timeoutMs: 5_000 };

/** Handlers that send back what they get. */
const echo: ServiceHandlers<typeof Bytes> = {
  one: (bytes) => bytes,
  down: (bytes) => [bytes],
  up: async (requests) => (await Array.fromAsync(requests)).at(-1)!,
  both: (requests) => requests,
};

/** A server whose handlers can shut it down, and a client of it. */
function open(
  place: Place,
  handlers: (server: () => Server) => Partial<ServiceHandlers<typeof Bytes>>,
  interceptors: readonly Interceptor[] = [],
) {
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const server: Server = serve(
    { listener: place.listen(), interceptors, onError },
    (router) => router.service(Bytes, { ...echo, ...handlers(() => server) }),
  );
  const clients: Client[] = [];
  const dial = async () => {
    clients.push(await connect(await place.dial()));
    return clients.at(-1)!.service(Bytes);
  };
  return {
    server,
    dial,
    /** Waits until all has ended, as it should. */
    async ended() {
      await soon(server.finished, "the server's end");
      for (const client of clients) await soon(client.finished, "the client's end");
      deepEqual(server.stats().callsFailed, {});
      deepEqual(errors, []);
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) await client[Symbol.asyncDispose]();
      server.close();
    },
  };
}

for (const [variant, interceptors] of [["", []], [", with interceptors", [pass, pass]]] as const) {
  testEverywhere(
    `a unary handler that has shut its server down answers${variant}`,
    async (place) => {
      for (const bytes of [X, LARGE]) {
        let order = "";
        await using bed = open(place, (server) => ({
          one: async (bytes) => {
            const down = server().shutdown(GUARD);
            order += "shutdown ";
            await turn();
            await down;
            order += "answer";
            return bytes;
          },
        }), interceptors);
        const service = await bed.dial();
        deepEqual(await soon(service.one(bytes), "the answer"), bytes);
        equal(order, "shutdown answer");
        await bed.ended();
      }
    },
  );

  testEverywhere(
    `an upload's handler that has shut its server down answers${variant}`,
    async (place) => {
      await using bed = open(place, (server) => ({
        up: async (requests) => {
          const down = server().shutdown(GUARD);
          const messages = await Array.fromAsync(requests);
          await down;
          return messages.at(-1)!;
        },
      }), interceptors);
      const service = await bed.dial();
      deepEqual(await soon(service.up([X, X, Y]), "the answer"), Y);
      await bed.ended();
    },
  );

  testEverywhere(
    `a stream's handler that has shut its server down goes on${variant}`,
    async (place) => {
      for (const kind of ["down", "both"] as const) {
        const stream = async function* (server: Server) {
          const down = server.shutdown(GUARD);
          yield X;
          await down;
          for (let i = 0; i < 100; i++) yield LARGE.subarray(0, 10_000);
          yield Y;
        };
        await using bed = open(place, (server) => ({
          down: () => stream(server()),
          both: () => stream(server()),
        }), interceptors);
        const service = await bed.dial();
        const messages = kind === "down" ? service.down(X) : service.both([]);
        const all = await soon(Array.fromAsync(messages), "the stream");
        equal(all.length, 102);
        deepEqual(all.at(-1), Y);
        await bed.ended();
      }
    },
  );

  testEverywhere(`a handler's shutdown waits for other calls${variant}`, async (place) => {
    const gate = Promise.withResolvers<void>();
    const waiting = Promise.withResolvers<void>();
    let order = "";
    await using bed = open(place, (server) => ({
      one: async (bytes) => {
        const down = server().shutdown(GUARD);
        await down;
        order += "shutdown ";
        return bytes;
      },
      up: async (requests) => {
        const messages = await Array.fromAsync(requests);
        waiting.resolve();
        await gate.promise;
        order += "other ";
        return messages[0]!;
      },
    }), interceptors);
    const [near, far] = [await bed.dial(), await bed.dial()];
    const other = far.up([X]);
    await waiting.promise;
    const one = near.one(Y).catch((error) => error);
    const refused = async () => await Array.fromAsync(far.down(X)).catch((error) => error.code);
    while (await refused() !== Code.UNAVAILABLE);
    gate.resolve();
    deepEqual(await soon(other, "the other answer"), X);
    deepEqual(await soon(one, "the answer"), Y);
    equal(order, "other shutdown ");
    await soon(bed.server.finished, "the server's end");
  });
}

testEverywhere(
  "a handler that waited first may shut its server down, but not wait for it",
  async (place) => {
    await using bed = open(place, (server) => ({
      one: async (bytes) => {
        await turn();
        void server().shutdown(GUARD);
        await turn();
        return bytes;
      },
    }));
    const service = await bed.dial();
    deepEqual(await soon(service.one(X), "the answer"), X);
    await bed.ended();
  },
);

testEverywhere(
  "a handler that fails after it has shut its server down fails as it says",
  async (place) => {
    await using bed = open(place, (server) => ({
      one: async () => {
        await server().shutdown(GUARD);
        throw new Error("not today");
      },
    }));
    const service = await bed.dial();
    const error = await soon(service.one(X).catch((error) => error), "the error");
    equal(error.code, Code.UNKNOWN);
    ok(/not today/.test(error.message));
    await soon(bed.server.finished, "the server's end");
  },
);

for (const connections of [1, 2]) {
  const name =
    `two handlers that shut their server down do not wait for each other: ${connections}`;
  testEverywhere(name, async (place) => {
    const both = Promise.withResolvers<void>();
    let calls = 0;
    await using bed = open(place, (server) => ({
      down: async function* (bytes) {
        if (++calls === 2) both.resolve();
        await both.promise;
        yield bytes;
        await server().shutdown(GUARD);
        yield bytes;
      },
    }));
    const near = await bed.dial();
    const far = connections === 1 ? near : await bed.dial();
    const streams = [Array.fromAsync(near.down(X)), Array.fromAsync(far.down(Y))];
    deepEqual(await soon(Promise.all(streams), "the streams"), [[X, X], [Y, Y]]);
    await bed.ended();
  });
}
