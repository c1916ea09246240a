// What has arrived is delivered by a client of an address whose server answers and closes while the
// client is busy: it finds answers in its socket, and that it cannot write, at the same time.

import { Code, connect, type ConnectOptions, RpcError } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok } from "node:assert/strict";
import { SocketFolder } from "./fixture.ts";
import { Bytes, errorOf, pass } from "./everywhere.ts";
import { closingFrame, dataFrame, joined, responseFrame } from "./controlled.ts";
import { ThreadedPeer } from "./threaded_peer.ts";
import { soon, until } from "./wait.ts";

const X = new Uint8Array([120]);
const NUMBERS = Array.from({ length: 3_000 }, (_, at) => `${at}`);
const ROUNDS = 15;

const NUMBER_FRAMES = NUMBERS.map((text) => dataFrame(3, new TextEncoder().encode(text)));
const REFUSAL = { code: Code.PERMISSION_DENIED, message: "not yours", details: [] };

/** Answers to a unary call, a server stream and an upload, in this order. */
const ANSWERS = joined(
  responseFrame(1, { payload: X }),
  ...NUMBER_FRAMES,
  closingFrame(3),
  responseFrame(5, { status: REFUSAL }),
);

/** Messages without end. */
async function* endless() {
  for (;;) yield X;
}

async function texts(stream: AsyncIterable<Uint8Array>): Promise<string[]> {
  const all: string[] = [];
  for await (const message of stream) all.push(new TextDecoder().decode(message));
  return all;
}

/** A peer on a unix socket or a port, and its address. */
async function start(transport: "unix" | "tcp", frames: number, bytes: Uint8Array) {
  const socket = new SocketFolder();
  const path = transport === "unix" ? socket.path : undefined;
  const peer = await ThreadedPeer.start({ path, frames, bytes });
  return {
    peer,
    address: path === undefined ? `tcp://127.0.0.1:${peer.port}` : `unix:${path}`,
    [Symbol.dispose]: () => {
      peer[Symbol.dispose]();
      socket[Symbol.dispose]();
    },
  };
}

/** Makes calls that are answered while nothing is read, and one more. */
async function busy(address: string, peer: ThreadedPeer, options: ConnectOptions): Promise<void> {
  const closed: (RpcError | undefined)[] = [];
  const onClose = (error?: RpcError) => void closed.push(error);
  await using client = await connect(address, { onClose, ...options });
  const service = client.service(Bytes);
  const one = service.one(X).then((bytes) => [...bytes], (error) => error);
  const down = texts(service.down(X)).catch((error) => error);
  const up = errorOf(service.up(endless()));
  await soon(peer.received(), "the requests");
  peer.standStill();
  const late = errorOf(service.one(X));

  deepEqual(await soon(one, "the answer"), [...X]);
  deepEqual(await soon(down, "the stream"), NUMBERS);
  const refusal = await soon(up, "the refusal");
  ok(refusal instanceof RpcError, String(refusal));
  deepEqual([refusal.code, refusal.rawMessage], [Code.PERMISSION_DENIED, "not yours"]);
  const error = await soon(late, "the late call");
  ok(error instanceof RpcError, String(error));
  equal(error.code, Code.UNAVAILABLE, error.message);
  ok(error.message.includes(`connection to ${address} lost`), error.message);
  await until(() => closed.length > 0, "onClose");
  equal(closed[0]?.code, Code.UNAVAILABLE);
}

const VARIANTS: Record<string, ConnectOptions> = {
  "": {},
  ", with interceptors": { interceptors: [pass] },
  ", with reconnect": { reconnect: true },
};

for (const transport of ["unix", "tcp"] as const) {
  for (const [variant, options] of Object.entries(VARIANTS)) {
    Deno.test(`a busy client finds what its server has sent before it closed: ${transport}${variant}`, async () => {
      using place = await start(transport, 10, ANSWERS);
      for (let i = 0; i < ROUNDS; i++) await busy(place.address, place.peer, options);
    });
  }

  Deno.test(`a call after the server has closed finds a new connection: ${transport}`, async () => {
    using place = await start(transport, 1, responseFrame(1, { payload: X }));
    const { peer, address } = place;
    const closed: unknown[] = [];
    const onClose = (error: unknown) => void closed.push(error);
    await using client = await connect(address, {
      reconnect: { initialDelayMs: 1, maxDelayMs: 1 },
      onClose,
    });
    const service = client.service(Bytes);
    for (let i = 0; i < ROUNDS; i++) {
      const one = service.one(X).then((bytes) => [...bytes], (error) => error);
      await soon(peer.received(), "the request");
      peer.standStill();
      const late = errorOf(service.one(X)); // in flight, and so not made again
      deepEqual(await soon(one, "the answer"), [...X]);
      equal((await soon(late, "the late call") as RpcError).code, Code.UNAVAILABLE);
      await until(() => closed.length > i, "onClose");
    }
    equal(closed.length, ROUNDS);
  });
}
