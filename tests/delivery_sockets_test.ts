// What has arrived is delivered to callers over real connections: when a peer answers and closes,
// half-closes, or closes without having read all, while the client still writes.

import { Code, connect, type Interceptor, RpcError, serve } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Bytes, errorOf, pass, type Place, testEverywhere } from "./everywhere.ts";
import { RawPeer } from "./raw_peer.ts";
import { closingFrame, dataFrame, Held, joined, responseFrame } from "./controlled.ts";
import { soon, turn, until } from "./wait.ts";

const X = new Uint8Array([120]);
/** As many as fit into the buffer of any socket; macOS gives a unix socket 8 KiB. */
const COUNT = Deno.build.os === "linux" ? 3_000 : 400;
const NUMBERS = Array.from({ length: COUNT }, (_, at) => `${at}`);
const FEW = NUMBERS.slice(0, 50);

type Ending = "closes" | "closes without having read all" | "half-closes";

function status(code: Code, message: string) {
  return { status: { code, message, details: [] } };
}

function frames(streamId: number, texts: readonly string[]): Uint8Array[] {
  return texts.map((text) => dataFrame(streamId, new TextEncoder().encode(text)));
}

/** Reads a stream to its end: the messages, and the error if there was one. */
async function readAll(stream: AsyncIterable<Uint8Array>): Promise<[string[], unknown]> {
  const texts: string[] = [];
  try {
    for await (const message of stream) texts.push(new TextDecoder().decode(message));
  } catch (error) {
    return [texts, error];
  }
  return [texts, undefined];
}

/** A message, and then nothing until it is stopped. */
function paused(): AsyncIterable<Uint8Array> {
  const stopped = Promise.withResolvers<IteratorResult<Uint8Array>>();
  const end = { done: true, value: undefined } as const;
  let asked = false;
  const next = () => {
    if (asked) return stopped.promise;
    asked = true;
    return Promise.resolve({ done: false, value: X });
  };
  const stop = () => {
    stopped.resolve(end);
    return Promise.resolve(end);
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: stop }) };
}

/** A client whose peer answers and ends while nothing is read; then all is read. */
async function deliver(place: Place, ending: Ending, interceptors: Interceptor[]): Promise<void> {
  const listener = place.listen();
  const held = new Held(await place.dial());
  using peer = new RawPeer(await listener.accept());
  listener.close();
  const closed: (RpcError | undefined)[] = [];
  const onClose = (error?: RpcError) => void closed.push(error);
  await using client = await connect(held, { onClose, interceptors });
  const service = client.service(Bytes);

  const one = service.one(X).then((bytes) => [...bytes], (error) => error);
  const down = readAll(service.down(X));
  const up = errorOf(service.up(paused()));
  const both = readAll(service.both(paused()));
  const lost = [errorOf(service.one(X))];
  for (let i = 0; i < 7; i++) await soon(peer.receive(), "a frame of the client");
  if (ending === "closes without having read all") {
    const { written } = held;
    lost.push(errorOf(service.one(X)));
    await until(() => held.written > written, "what the peer does not read");
  }

  await peer.sendBytes(joined(
    responseFrame(1, { payload: new Uint8Array([1, 2, 3]) }),
    ...frames(3, NUMBERS),
    closingFrame(3),
    responseFrame(5, status(Code.PERMISSION_DENIED, "not yours")),
    ...frames(7, FEW),
    responseFrame(7, status(Code.NOT_FOUND, "no more")),
  ));
  if (ending === "half-closes") await peer.conn.closeWrite!();
  else {
    peer.conn.close();
    while (held.writeError === undefined) {
      lost.push(errorOf(service.one(X)));
      await turn();
      ok(lost.length < 1_000, "the client can still write");
    }
  }
  deepEqual(closed, []);
  held.release();

  deepEqual(await soon(one, "the answer"), [1, 2, 3]);
  deepEqual(await soon(down, "the stream"), [NUMBERS, undefined]);
  const refusal = await soon(up, "the upload");
  ok(refusal instanceof RpcError, String(refusal));
  deepEqual([refusal.code, refusal.rawMessage], [Code.PERMISSION_DENIED, "not yours"]);
  const [texts, end] = await soon(both, "the other stream");
  deepEqual(texts, FEW);
  ok(end instanceof RpcError, String(end));
  deepEqual([end.code, end.rawMessage], [Code.NOT_FOUND, "no more"]);

  await soon(client.finished, "closed");
  equal(closed.length, 1);
  lost.push(errorOf(service.one(X)));
  for (const error of [...await Promise.all(lost), closed[0]]) {
    ok(error instanceof RpcError, String(error));
    equal(error.code, Code.UNAVAILABLE, error.message);
    ok(error.message.includes(place.title()), error.message);
    if (ending !== "half-closes") equal(error.cause, held.writeError);
  }
}

for (const ending of ["closes", "closes without having read all", "half-closes"] as const) {
  for (const [variant, interceptors] of [["", []], [", with interceptors", [pass]]] as const) {
    testEverywhere(
      `answers reach callers of all kinds when the peer ${ending}${variant}`,
      (place) => deliver(place, ending, [...interceptors]),
    );
  }
}

/** Messages without end, which also wait for the event loop only. */
async function* endless(size: number) {
  const message = new Uint8Array(size);
  for (;;) yield message;
}

testEverywhere("an upload that is refused early never ends as UNAVAILABLE", async (place) => {
  for (let round = 0; round < 60; round++) {
    const listener = place.listen();
    await using client = await connect(await place.dial());
    using peer = new RawPeer(await listener.accept());
    listener.close();
    const upload = errorOf(client.service(Bytes).up(endless([1, 100, 50_000][round % 3]!)));
    for (let seen = round % 4; seen >= 0; seen--) await peer.receive();
    await peer.sendBytes(responseFrame(1, status(Code.PERMISSION_DENIED, "not yours")));
    peer.conn.close();
    const error = await soon(upload, "the refusal");
    ok(error instanceof RpcError, String(error));
    equal(error.code, Code.PERMISSION_DENIED, `round ${round}: ${error.message}`);
  }
});

testEverywhere("an upload is refused by a server that shuts down at once", async (place) => {
  for (let round = 0; round < 30; round++) {
    const server = serve({ listener: place.listen() }, (router) =>
      router.service(Bytes, {
        one: (bytes) => bytes,
        down: (bytes) => [bytes],
        both: (requests) => requests,
        up: async (requests) => {
          for (let left = round % 3; left > 0; left--) await requests.next();
          void server.shutdown();
          throw new RpcError(Code.PERMISSION_DENIED, "not yours");
        },
      }));
    await using client = await connect(await place.dial());
    const upload = errorOf(client.service(Bytes).up(endless([1, 100, 50_000][round % 3]!)));
    const error = await soon(upload, "the refusal");
    ok(error instanceof RpcError, String(error));
    equal(error.code, Code.PERMISSION_DENIED, `round ${round}: ${error.message}`);
    await soon(server.finished, "the server's end");
  }
});

testEverywhere(
  "an answer and half a frame, then a reset: the answer is delivered",
  async (place) => {
    for (let round = 0; round < 30; round++) {
      const listener = place.listen();
      await using client = await connect(await place.dial());
      using peer = new RawPeer(await listener.accept());
      listener.close();
      const service = client.service(Bytes);
      const one = service.one(X).then((bytes) => [...bytes], (error) => error);
      const two = errorOf(service.one(X));
      await peer.receive();
      const half = responseFrame(3, { payload: new Uint8Array(1_000) }).subarray(0, 10 * round);
      await peer.sendBytes(joined(responseFrame(1, { payload: X }), half));
      peer.conn.close(); // of what the client has sent since, nothing was read
      const more = errorOf(service.one(X));
      deepEqual(await soon(one, "the answer"), [...X]);
      for (const error of [await soon(two, "the other call"), await soon(more, "a later call")]) {
        ok(error instanceof RpcError, String(error));
        equal(error.code, Code.UNAVAILABLE, error.message);
        match(error.message, /connection/);
      }
    }
  },
);
