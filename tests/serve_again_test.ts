// A server takes the place of one that was just shut down, or is told that it is still taken.

import { Code, connect, RpcError, serve, type Server } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok } from "node:assert/strict";
import { Bytes } from "./everywhere.ts";
import { SocketFolder } from "./fixture.ts";
import { soon, turn, until } from "./wait.ts";

const X = new Uint8Array([120]);
const ROUNDS = 25;

function echoServer(where: { path: string } | { port: number }): Server {
  return serve(where, (router) =>
    router.service(Bytes, {
      one: (bytes) => bytes,
      down: (bytes) => [bytes],
      up: async (requests) => (await Array.fromAsync(requests)).at(-1)!,
      both: (requests) => requests,
    }));
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
    const server = echoServer({ path });
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
    server ??= echoServer({ path });
    await server.listening;
    const clients = [busy(path), busy(path)];
    await until(() => server!.stats().callsStarted > 20, "some calls");
    const down = server.shutdown();
    for (let turns = round % 5; turns > 0; turns--) await (round % 2 ? turn() : undefined);
    let next: Server | undefined;
    try {
      next = echoServer({ path });
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
  const first = echoServer({ port: 0 });
  const { port } = first.addr as Deno.NetAddr;
  let old = first;
  for (let round = 0; round < ROUNDS; round++) {
    await using client = await connect({ port });
    deepEqual(await client.service(Bytes).one(X), X);
    const down = old.shutdown();
    let next: Server | undefined;
    try {
      next = echoServer({ port });
    } catch (error) {
      ok(error instanceof Deno.errors.AddrInUse, String(error));
    }
    await soon(down, "the shutdown");
    old = next ?? echoServer({ port });
  }
  await old.shutdown();
  equal(old.stats().connections, 0);
});
