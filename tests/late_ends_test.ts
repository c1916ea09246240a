// Ends that come while something is still under way.

import { connect, createConnectionPair, type Interceptor, serve } from "@ttrpc/ttrpc";
import { equal, rejects } from "node:assert/strict";
import { bytesCodec } from "../codec.ts";
import { Deadlines } from "../async/deadlines.ts";
import { Connection, type Role } from "../engine/connection.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import { resolveLimits } from "../limits.ts";
import { sendMessages } from "../engine/messages.ts";
import { Code } from "../status.ts";
import { testHandlers } from "./fixture.ts";
import { requestData } from "./raw_peer.ts";
import { frameBytes, ScriptedConnection } from "./scripted_connection.ts";
import { serverCall } from "./server_stand_ins.ts";
import { FakeTimers, Host, isSettled, LOST, settle, TestStream } from "./stand_ins.ts";

/** An interceptor that waits until it is let go on. */
class Gate {
  readonly #open = Promise.withResolvers<void>();
  readonly #reached = Promise.withResolvers<void>();
  readonly interceptor: Interceptor = (next) => async (request) => {
    this.#reached.resolve();
    await this.#open.promise;
    return await next(request);
  };

  /** Settles when a call waits. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  open(): void {
    this.#open.resolve();
  }
}

Deno.test("finish() sends what waits, also when the peer half-closes meanwhile", async () => {
  const conn = new ScriptedConnection();
  const role: Role = {
    accepts: true,
    begins: false,
    admits: () => true,
    turned() {},
    overtaken() {},
    frame() {},
    oversized() {},
    ended() {},
    endOfInput: () => Promise.resolve(LOST),
  };
  const limits = resolveLimits();
  const owner = {
    limits,
    timers: new FakeTimers(),
    held: new HeldBytes(Infinity),
    deadlines: new Deadlines(),
    extension: undefined,
  };
  const connection = new Connection(conn, "x", owner, role);
  const running = connection.run();
  conn.sink.hold();
  connection.queue.writer.bytes(new Uint8Array(1));
  connection.queue.send(1);
  await settle(); // this one is being written
  connection.queue.writer.bytes(new Uint8Array(10));
  connection.queue.send(10);
  const finished = connection.finish();
  conn.end();
  await settle();
  conn.sink.resume();
  await finished;
  await running;
  equal(conn.sink.writes.length, 2);
});

/** A server on one half of a pair, each of whose calls waits at a gate. */
function serveGated() {
  const [near, far] = createConnectionPair();
  const gate = new Gate();
  const server = serve(
    { connection: far, interceptors: [gate.interceptor] },
    (router) => router.service(TestService, testHandlers),
  );
  return { near, gate, server };
}

Deno.test("a refused call whose interceptors wait is answered before its connection is shut down", async () => {
  const { near, gate, server } = serveGated();
  await using client = await connect(near);
  const answer = rejects(client.callRaw("no.Such", "Method", new Uint8Array(0)), {
    code: Code.UNIMPLEMENTED,
  });
  await gate.reached;
  const down = server.shutdown();
  await settle();
  gate.open();
  await answer;
  await down;
});

Deno.test("a refused call whose interceptors wait for ever does not hold up a shutdown whose client is gone", async () => {
  const { near, gate, server } = serveGated();
  await near.write(frameBytes({ type: 1, data: requestData({ service: "no.Such" }) }));
  await gate.reached;
  const down = server.shutdown();
  near.close();
  await down;
});

Deno.test("a half-closed client gets the answer of a refused call whose interceptors wait", async () => {
  const { near, gate, server } = serveGated();
  await near.write(frameBytes({ type: 1, data: requestData({ service: "no.Such" }) }));
  await gate.reached;
  await near.closeWrite!();
  await settle();
  gate.open();
  let received = 0;
  for (let length; (length = await near.read(new Uint8Array(100))) !== null;) received += length;
  near.close();
  await server.finished;
  equal(received > 0, true);
});

Deno.test("all that wait with whileRunning() hear of the end of their call", async () => {
  const { call } = serverCall("server_streaming");
  const waits = [1, 2].map(() => call.whileRunning(new Promise(() => {})));
  for (const wait of waits) wait.catch(() => {});
  call.end(LOST);
  for (const wait of waits) equal(await isSettled(wait), true);
});

Deno.test("sendMessages() does not call return() on a source that has thrown, as for await does not", async () => {
  const stream = new TestStream("client");
  stream.attach(new Host());
  stream.open(1);
  let returned = 0;
  const source = {
    next: () => Promise.reject(new Error("broken")),
    return: () => Promise.resolve({ done: true as const, value: returned++ }),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
  await rejects(sendMessages(stream, bytesCodec, source), /broken/);
  stream.end(LOST);
  equal(returned, 0);
});

Deno.test("an iterable that throws when its call is over takes nothing from the caller", async () => {
  const [near, far] = createConnectionPair();
  await using _server = serve({ connection: far }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      async *chat() {
        yield { text: "a" };
        yield { text: "b" };
      },
    }));
  await using client = await connect(near);
  const thrown = Promise.withResolvers<void>();
  const stream = client.service(TestService).chat((async function* () {
    await thrown.promise;
    if (client.stats().callsInFlight === 0) throw new Error("too late");
    yield {};
  })());
  while (client.stats().callsInFlight > 0) await settle();
  thrown.resolve();
  await settle();
  equal((await Array.fromAsync(stream)).map(({ text }) => text).join(), "a,b");
});
