// A client that closes with no call in flight does not make its server report an error, and ends what
// the server still works on for it.

import {
  Code,
  connect,
  type ConnectOptions,
  RpcError,
  serve,
  type ServiceClient,
} from "@ttrpc/ttrpc/core";
import { deepEqual, equal } from "node:assert/strict";
import { Bytes, pass, type Place, testEverywhere } from "./everywhere.ts";
import { soon, turn, until } from "./wait.ts";

const X = new Uint8Array([120]);
const ROUNDS = 25;

/** Messages without end. */
async function* endless() {
  for (;;) {
    yield X;
    await turn();
  }
}

/** Calls that have ended before a client closes. */
const ENDED: Record<string, (service: ServiceClient<typeof Bytes>) => Promise<unknown>> = {
  "unary answers": (service) => Promise.all([service.one(X), service.one(X), service.one(X)]),
  "a server stream": (service) => Array.fromAsync(service.down(X)),
  "an upload": (service) => service.up([X, X]),
  "a bidirectional stream": (service) => Array.fromAsync(service.both([X, X])),
};

/** Ways to give up calls, of which the server may still send answers. */
const LEFT: typeof ENDED = {
  "a stream that it has left": async (service) => {
    for await (const _ of service.down(new Uint8Array(5_000))) break;
  },
  "a call that it has given up": async (service) => {
    const controller = new AbortController();
    const call = service.one(new Uint8Array(100_000), { signal: controller.signal });
    controller.abort();
    await call.catch(() => {});
  },
  "a bidirectional stream that it has left": async (service) => {
    for await (const _ of service.both(endless())) break;
  },
};

async function closes(
  place: Place,
  call: (service: ServiceClient<typeof Bytes>) => Promise<unknown>,
  options: ConnectOptions,
  left: boolean,
): Promise<void> {
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const server = serve({ listener: place.listen(), onError }, (router) =>
    router.service(Bytes, {
      one: (bytes) => bytes,
      down: function* (bytes) {
        for (let i = 0; i < 500; i++) yield bytes;
      },
      up: async (requests) => (await Array.fromAsync(requests)).at(-1)!,
      both: (requests) => requests,
    }));
  for (let round = 0; round < ROUNDS; round++) {
    const closed: unknown[] = [];
    const onClose = (error: unknown) => void closed.push(error);
    const client = await connect(await place.dial(), { onClose, ...options });
    await call(client.service(Bytes));
    client.close();
    await soon(client.finished, "closed");
    deepEqual(closed, [undefined]);
  }
  await until(() => server.stats().connections === 0, "the end of the connections");
  equal(server.stats().callsInFlight, 0);
  const lost = (error: unknown) => error instanceof RpcError && error.code === Code.UNAVAILABLE;
  deepEqual(left ? errors.filter((error) => !lost(error)) : errors, []);
  await soon(server.shutdown(), "the shutdown");
  await turn(); // producers find out that they have been stopped
}

for (const [name, call] of Object.entries({ ...ENDED, ...LEFT })) {
  // While the server works on a call, nothing but the loss of the connection tells it to stop.
  const left = name in LEFT;
  const what = left ? "ends the server's call" : "is no error to the server";
  testEverywhere(`close() right after ${name} ${what}`, async (place) => {
    await closes(place, call, {}, left);
    await closes(place, call, { interceptors: [pass] }, left);
  });
}
