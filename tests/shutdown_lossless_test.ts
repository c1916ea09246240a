// A graceful shutdown in the middle of calls loses no answer: what the server has counted as
// answered is answered at its clients, and everything else has failed with UNAVAILABLE.

import {
  type Client,
  Code,
  connect,
  type ConnectOptions,
  RpcError,
  serve,
  type ServeOptions,
} from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok } from "node:assert/strict";
import { allRounds, shutdownRounds, startClients } from "./faults/shutdown_rounds.ts";
import { aborted } from "./fixture.ts";
import { Bytes, pass, type Place, testEverywhere } from "./everywhere.ts";
import { soon, turn, until } from "./wait.ts";

const X = new Uint8Array([120]);
const GUARD_MS = 8_000;

// `deno task prove:shutdown` does the same, more often.
Deno.test("no answer is lost to clients in processes of their own", async () => {
  const clients = await startClients(2);
  for (const rounds of allRounds(4)) {
    const { served, answered, lossy, wrong } = await shutdownRounds(clients, rounds);
    const what = Deno.inspect(rounds);
    deepEqual(wrong, [], what);
    equal(lossy, 0, `${served - answered} of ${served} answers were lost: ${what}`);
    ok(answered > 0, what);
  }
  for (const client of clients) await client[Symbol.asyncDispose]();
});

/** Calls until a call fails, and tells how many did not. */
async function caller(client: Client, kind: number): Promise<number> {
  const service = client.service(Bytes);
  for (let answered = 0;; answered++) {
    try {
      if (kind === 0) await service.one(X);
      else if (kind === 1) await service.up([X, X, X]);
      else {
        const messages = kind === 2 ? service.down(X) : service.both([X, X, X]);
        equal((await Array.fromAsync(messages)).length, 3);
      }
    } catch (error) {
      ok(error instanceof RpcError && error.code === Code.UNAVAILABLE, String(error));
      return answered;
    }
  }
}

async function inTheMiddle(
  place: Place,
  after: number,
  settings: ServeOptions,
  options: ConnectOptions,
): Promise<void> {
  const busy = Promise.withResolvers<void>();
  const errors: unknown[] = [];
  let calls = 0;
  const called = async () => {
    if (++calls === after) busy.resolve();
    if (calls % 3 === 0) await turn();
  };
  const server = serve({
    listener: place.listen(),
    onError: (error) => void errors.push(error),
    ...settings,
  }, (router) =>
    router.service(Bytes, {
      one: async (bytes) => {
        await called();
        return bytes;
      },
      down: async function* (bytes) {
        await called();
        for (let i = 0; i < 3; i++) yield bytes;
      },
      up: async (requests) => {
        await called();
        return (await Array.fromAsync(requests)).at(-1)!;
      },
      both: async function* (requests) {
        await called();
        yield* requests;
      },
    }));
  await using one = await connect(await place.dial(), options);
  await using two = await connect(await place.dial(), options);
  const callers = Array.from({ length: 16 }, (_, at) => caller(at % 3 ? one : two, at % 4));
  await busy.promise;
  await soon(server.shutdown(), "the shutdown");
  const answered = (await soon(Promise.all(callers), "the calls")).reduce((sum, n) => sum + n);
  const { callsStarted, callsFailed, callsInFlight } = server.stats();
  const served = Object.values(callsFailed).reduce((sum, count) => sum - count, callsStarted);
  equal(callsInFlight, 0);
  equal(answered, served);
  deepEqual(errors, []);
}

for (const [variant, interceptors] of [["", []], [", with interceptors", [pass]]] as const) {
  testEverywhere(
    `a shutdown in the middle of calls of all kinds loses none${variant}`,
    async (place) => {
      for (let round = 0; round < 12; round++) {
        await inTheMiddle(place, 16 + 5 * round, { interceptors }, { interceptors });
      }
    },
  );
}

/** A server whose calls never end by themselves. */
function endless(place: Place, settings: ServeOptions = {}) {
  const signals: AbortSignal[] = [];
  const ended = async (signal: AbortSignal) => {
    signals.push(signal);
    await aborted(signal);
    return X;
  };
  const server = serve(
    { listener: place.listen(), ...settings },
    (router) =>
      router.service(Bytes, {
        one: (_, { signal }) => ended(signal),
        down: async function* (_, { signal }) {
          yield await ended(signal);
        },
        up: async (requests, { signal }) => {
          signals.push(signal);
          for await (const _ of requests);
          return X;
        },
        both: async function* (requests, { signal }) {
          signals.push(signal);
          yield* requests;
        },
      }),
  );
  return { server, signals };
}

/** Messages without end. */
async function* messages() {
  for (;;) {
    yield X;
    await turn();
  }
}

for (const force of ["at once", "later"] as const) {
  testEverywhere(`a shutdown that is forced ${force} tells all callers why`, async (place) => {
    const { server, signals } = endless(place, { interceptors: [pass] });
    const clients = [await connect(await place.dial()), await connect(await place.dial())];
    const calls: Promise<unknown>[] = [];
    for (let i = 0; i < 64; i++) {
      const service = clients[i % 2]!.service(Bytes);
      const kind = i % 4;
      calls.push(
        kind === 0
          ? service.one(X)
          : kind === 1
          ? service.up(messages())
          : Array.fromAsync(kind === 2 ? service.down(X) : service.both(messages())),
      );
    }
    const ends = Promise.all(calls.map((call) => call.catch((error) => error)));
    await until(() => signals.length === 64, "all calls");
    if (force === "at once") await soon(server.shutdown({ timeoutMs: 0 }), "the shutdown");
    else {
      const over = new AbortController();
      const down = server.shutdown({ signal: over.signal });
      await turn();
      over.abort();
      await soon(down, "the shutdown");
    }
    for (const error of await soon(ends, "the calls")) {
      ok(error instanceof RpcError, String(error));
      deepEqual([error.code, error.rawMessage], [Code.UNAVAILABLE, "server is shutting down"]);
    }
    for (const signal of signals) ok(signal.aborted);
    for (const client of clients) await soon(client.finished, "closed");
    await turn(); // producers find out that they have been stopped
  });
}

testEverywhere(
  "several shutdowns at once end together, and answer what is in flight",
  async (place) => {
    const gate = Promise.withResolvers<void>();
    const called = Promise.withResolvers<void>();
    let calls = 0;
    const server = serve({ listener: place.listen() }, (router) =>
      router.service(Bytes, {
        one: async (bytes) => {
          if (++calls === 8) called.resolve();
          await gate.promise;
          return bytes;
        },
        down: (bytes) => [bytes],
        up: () => X,
        both: (requests) => requests,
      }));
    await using client = await connect(await place.dial());
    const answers = Array.from({ length: 8 }, () => client.service(Bytes).one(X));
    await called.promise;
    const signal = new AbortController().signal;
    const downs = [
      server.shutdown(),
      server.shutdown({ timeoutMs: GUARD_MS }),
      server.shutdown({ signal }),
      server[Symbol.asyncDispose](),
    ];
    await turn();
    gate.resolve();
    downs.push(server.shutdown());
    await soon(Promise.all(downs), "the shutdowns");
    for (const answer of await soon(Promise.all(answers), "the answers")) deepEqual(answer, X);
    await soon(server.finished, "the end");
    await server.shutdown();
  },
);
