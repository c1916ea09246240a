// A client that closes does not make its server report an error; and a server takes the place of
// one that is just shutting down.

import {
  Code,
  connect,
  type ConnectOptions,
  RpcError,
  serve,
  type Server,
  type ServiceClient,
} from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok } from "node:assert/strict";
import { SocketFolder } from "./fixture.ts";
import { Bytes, pass, type Place, soon, testEverywhere, turn, until } from "./places.ts";

const X = new Uint8Array([120]);
const ROUNDS = 25;

function bytesServer(source: Parameters<typeof serve>[0], errors: unknown[] = []): Server {
  return serve(
    { onError: (error) => void errors.push(error), ...source },
    (router) =>
      router.service(Bytes, {
        one: (bytes) => bytes,
        down: function* (bytes) {
          for (let i = 0; i < 500; i++) yield bytes;
        },
        up: async (requests) => (await Array.fromAsync(requests)).at(-1)!,
        both: (requests) => requests,
      }),
  );
}

/** Messages without end. */
async function* endless() {
  for (;;) {
    yield X;
    await turn();
  }
}

/** What a client does before it closes. */
const ENDINGS: Record<string, (service: ServiceClient<typeof Bytes>) => Promise<unknown>> = {
  "unary answers": (service) => Promise.all([service.one(X), service.one(X), service.one(X)]),
  "a server stream": (service) => Array.fromAsync(service.down(X)),
  "an upload": (service) => service.up([X, X]),
  "a bidirectional stream": (service) => Array.fromAsync(service.both([X, X])),
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

/** Those after which the server still works on something: to close is what tells it to stop. */
const LEFT: readonly string[] = [
  "a stream that it has left",
  "a call that it has given up",
  "a bidirectional stream that it has left",
];

async function closes(
  place: Place,
  call: (service: ServiceClient<typeof Bytes>) => Promise<unknown>,
  options: ConnectOptions,
  left: boolean,
): Promise<void> {
  const errors: unknown[] = [];
  const server = bytesServer({ listener: place.listen() }, errors);
  for (let round = 0; round < ROUNDS; round++) {
    const closed: unknown[] = [];
    const onClose = (error: unknown) => void closed.push(error);
    const client = await connect(await place.dial(), { onClose, ...options });
    await call(client.service(Bytes));
    client.close();
    await soon(client.closed, "closed");
    deepEqual(closed, [undefined]);
  }
  await until(() => server.stats().connections === 0, "the end of the connections");
  equal(server.stats().callsInFlight, 0);
  const lost = (error: unknown) => error instanceof RpcError && error.code === Code.UNAVAILABLE;
  deepEqual(left ? errors.filter((error) => !lost(error)) : errors, []);
  await soon(server.shutdown(), "the shutdown");
}

for (const [name, call] of Object.entries(ENDINGS)) {
  const left = LEFT.includes(name);
  const what = left ? "ends the server's call" : "is no error to the server";
  testEverywhere(`close() right after ${name} ${what}`, async (place) => {
    await closes(place, call, {}, left);
    await closes(place, call, { interceptors: [pass] }, left);
  });
}

/** Calls until its server ends. */
async function busy(path: string): Promise<void> {
  const client = await connect({ path });
  try {
    for (;;) await client.service(Bytes).one(X);
  } catch (error) {
    ok(error instanceof RpcError && error.code === Code.UNAVAILABLE, String(error));
  }
  await client[Symbol.asyncDispose]();
}

Deno.test("a server takes over the path of one that has just been shut down", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  for (let round = 0; round < ROUNDS; round++) {
    const server = bytesServer({ path });
    await server.listening;
    const clients = [busy(path), busy(path)];
    await until(() => server.stats().callsStarted > 20, "some calls");
    await soon(server.shutdown(), "the shutdown");
    await Promise.all(clients);
  }
});

Deno.test("a server on the path of one that is shutting down listens, or says AddrInUse", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  let server: Server | undefined;
  for (let round = 0; round < 2 * ROUNDS; round++) {
    server ??= bytesServer({ path });
    await server.listening;
    const clients = [busy(path), busy(path)];
    await until(() => server!.stats().callsStarted > 20, "some calls");
    const down = server.shutdown();
    for (let turns = round % 5; turns > 0; turns--) await (round % 2 ? turn() : undefined);
    let next: Server | undefined;
    try {
      next = bytesServer({ path });
      await next.listening;
    } catch (error) {
      ok(error instanceof Deno.errors.AddrInUse, String(error));
      next = undefined;
    }
    await soon(down, "the shutdown");
    await Promise.all(clients);
    server = next;
    if (server) {
      await using client = await connect({ path }); // the old one has not taken the socket along
      deepEqual(await client.service(Bytes).one(X), X);
    }
  }
  await server?.shutdown();
});

Deno.test("a server on the port of one that is shutting down listens, or says AddrInUse", async () => {
  const first = bytesServer({ port: 0 });
  const { port } = first.addr as Deno.NetAddr;
  let old = first;
  for (let round = 0; round < ROUNDS; round++) {
    await using client = await connect({ port });
    deepEqual(await client.service(Bytes).one(X), X);
    const down = old.shutdown();
    let next: Server | undefined;
    try {
      next = bytesServer({ port });
    } catch (error) {
      ok(error instanceof Deno.errors.AddrInUse, String(error));
    }
    await soon(down, "the shutdown");
    old = next ?? bytesServer({ port });
  }
  await old.shutdown();
  equal(old.stats().connections, 0);
});
