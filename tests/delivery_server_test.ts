// What has arrived is delivered to handlers, although the client has closed, or an answer could not
// be written: requests that are behind it in the socket, and the messages of uploads.

import { Code, connect, RpcError, serve, type ServeOptions, type Server } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { aborted } from "./fixture.ts";
import { Bytes, pass, type Place, testEverywhere } from "./everywhere.ts";
import { RawPeer } from "./raw_peer.ts";
import { closingFrame, Controlled, dataFrame, Held, joined, requestFrame } from "./controlled.ts";
import { soon, turn, until } from "./wait.ts";

const X = new Uint8Array([120]);
const NUMBERS = Array.from({ length: 1_000 }, (_, at) => `${at}`);

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const encode = (text: string) => new TextEncoder().encode(text);

/** What handlers have got. */
class Heard {
  readonly unary: string[] = [];
  readonly uploads: string[][] = [];
  readonly ends: (string | RpcError)[] = [];
  readonly signals: AbortSignal[] = [];
  readonly errors: unknown[] = [];

  /** Serves one connection, or what comes in at a listener. */
  serve(where: Parameters<typeof serve>[0], settings: ServeOptions = {}): Server {
    const onError = (error: unknown) => void this.errors.push(error);
    const take = async (requests: AsyncIterable<Uint8Array>, signal: AbortSignal) => {
      const messages: string[] = [];
      this.uploads.push(messages);
      this.signals.push(signal);
      try {
        for await (const message of requests) {
          messages.push(text(message));
          if (messages.length % 100 === 1) await turn(); // a handler that takes its time
        }
        this.ends.push("end");
      } catch (error) {
        this.ends.push(error as RpcError);
        throw error;
      }
    };
    return serve({ onError, ...settings, ...where }, (router) =>
      router.service(Bytes, {
        one: (bytes) => {
          this.unary.push(text(bytes));
          return bytes;
        },
        down: (bytes) => [bytes],
        up: async (requests, { signal }) => {
          await take(requests, signal);
          return X;
        },
        async *both(requests, { signal }) {
          await take(requests, signal);
          yield X;
        },
      }));
  }
}

function messageFrames(streamId: number): Uint8Array[] {
  return NUMBERS.map((number) => dataFrame(streamId, encode(number)));
}

/** A server on a scripted connection whose answer to a first request cannot be written. */
async function broken(heard: Heard, settings: ServeOptions) {
  const connection = new Controlled();
  const server = heard.serve({ connection }, settings);
  const error = new Deno.errors.BrokenPipe("nobody reads");
  connection.failWrites(error);
  connection.deliver(requestFrame(1, "One", encode("first")));
  await soon(connection.writeFailed, "the failed write");
  await turn();
  return { connection, server, error };
}

for (const [variant, interceptors] of [["", []], [", with interceptors", [pass]]] as const) {
  Deno.test(`requests behind an answer that could not be written reach handlers${variant}`, async () => {
    const heard = new Heard();
    const { connection, server, error } = await broken(heard, { interceptors });
    connection.deliver(
      ...NUMBERS.map((number, at) => requestFrame(2 * at + 3, "One", encode(number))),
    );
    await until(() => heard.unary.length > NUMBERS.length, "the requests");
    equal(heard.errors.length, 0); // the end is told after them
    connection.end();
    await soon(server.finished, "the server's end");
    deepEqual(heard.unary, ["first", ...NUMBERS]);
    equal(connection.closed, true);
    const { connections, callsInFlight, openStreams, queuedBytes } = server.stats();
    deepEqual([connections, callsInFlight, openStreams, queuedBytes], [0, 0, 0, 0]);
    for (const told of heard.errors) {
      ok(told instanceof RpcError && told.cause === error, String(told));
      match(told.message, /connection to tcp:\/\/192\.0\.2\.1:1024 lost.*nobody reads/);
    }
    ok(heard.errors.length <= 1);
  });

  for (const method of ["Up", "Both"] as const) {
    Deno.test(`an upload after a failed write reaches its handler whole: ${method}${variant}`, async () => {
      const heard = new Heard();
      const { connection, server } = await broken(heard, { interceptors });
      connection.deliver(requestFrame(3, method), ...messageFrames(3), closingFrame(3));
      connection.end();
      await until(() => heard.ends.length === 1, "the end of the upload");
      deepEqual(heard.uploads, [NUMBERS]);
      deepEqual(heard.ends, ["end"]);
      await soon(server.finished, "the server's end");
    });

    Deno.test(`an upload that is cut off comes up to the cut: ${method}${variant}`, async () => {
      const heard = new Heard();
      const { connection, server, error } = await broken(heard, { interceptors });
      connection.deliver(requestFrame(3, method), ...messageFrames(3));
      connection.end();
      await until(() => heard.ends.length === 1, "the end of the upload");
      deepEqual(heard.uploads, [NUMBERS]);
      ok(heard.ends[0] instanceof RpcError, String(heard.ends[0]));
      await soon(aborted(heard.signals[0]!), "the handler's signal");
      await soon(server.finished, "the server's end");
      equal(heard.errors.length, 1);
      const [told] = heard.errors;
      ok(told instanceof RpcError && told.cause === error, String(told));
    });
  }
}

/** A server that reads a connection only when its client has closed it. */
async function closedBefore(place: Place, heard: Heard, bytes: Uint8Array) {
  const listener = place.listen();
  const conn = await place.dial();
  const connection = new Held(await listener.accept());
  listener.close();
  const server = heard.serve({ connection });
  const peer = new RawPeer(conn);
  await peer.sendBytes(bytes);
  conn.close();
  connection.release();
  return server;
}

testEverywhere("requests of a client that has closed at once reach handlers", async (place) => {
  const heard = new Heard();
  const numbers = NUMBERS.slice(0, 500);
  const requests = numbers.map((number, at) => requestFrame(2 * at + 1, "One", encode(number)));
  const server = await closedBefore(place, heard, joined(...requests));
  await soon(server.finished, "the server's end");
  deepEqual(heard.unary, numbers);
  equal(server.stats().callsInFlight, 0);
});

testEverywhere(
  "the upload of a client that has closed at once reaches its handler",
  async (place) => {
    const heard = new Heard();
    const upload = joined(requestFrame(3, "Up"), ...messageFrames(3), closingFrame(3));
    // Whatever is written to a client that has closed fails, or does so a little later.
    const server = await closedBefore(place, heard, joined(requestFrame(1, "One"), upload));
    await until(() => heard.ends.length === 1, "the end of the upload");
    deepEqual(heard.uploads, [NUMBERS]);
    deepEqual(heard.ends, ["end"]);
    await soon(server.finished, "the server's end");
  },
);

testEverywhere("what a client of ours has sent before close() reaches handlers", async (place) => {
  const numbers = NUMBERS.slice(0, 100);
  for (let round = 0; round < 20; round++) {
    const heard = new Heard();
    const server = heard.serve({ listener: place.listen() });
    const held = new Held(await place.dial());
    const client = await connect(held);
    const service = client.service(Bytes);
    const calls = numbers.map((number) => service.one(encode(number)).catch((error) => error));
    await until(() => held.written > 0 && held.written === client.stats().bytesSent, "all is sent");
    client.close();
    for (const error of await Promise.all(calls)) equal(error.code, Code.CANCELLED);
    await soon(client.finished, "closed");
    await until(() => heard.unary.length === numbers.length, "the requests");
    deepEqual(heard.unary, numbers);
    await soon(server.shutdown(), "the shutdown");
  }
});

Deno.test("a server is not made to hold more than its limits by a client that reads nothing", async () => {
  const gate = Promise.withResolvers<void>();
  const connection = new Controlled();
  const server = serve(
    { connection, limits: { connectionQueueBytes: 1 << 18 } },
    (router) =>
      router.service(Bytes, {
        one: (bytes) => bytes,
        down: (bytes) => [bytes],
        both: (requests) => requests,
        up: async () => {
          await gate.promise;
          return X;
        },
      }),
  );
  connection.failWrites(new Deno.errors.BrokenPipe("nobody reads"));
  connection.deliver(requestFrame(1, "One"));
  await soon(connection.writeFailed, "the failed write");
  connection.deliver(requestFrame(3, "Up"));
  const message = dataFrame(3, new Uint8Array(1 << 17));
  connection.deliverAlways(() => message);
  for (let i = 0; i < 600; i++) await turn(); // each could bring a message
  const { queuedBytes } = server.stats();
  gate.resolve();
  server.close();
  await soon(server.finished, "the server's end");
  ok(queuedBytes <= 32 << 20, `${queuedBytes} bytes wait of ${connection.bytesRead}`);
});
