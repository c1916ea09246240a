import { type Client, connect, RpcError, serve, type Server } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { takeOptions } from "../engine/call_options.ts";
import { ClientCall } from "../engine/client_call.ts";
import { ClientConnection } from "../engine/client_connection.ts";
import { Deadlines } from "../async/deadlines.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import { resolveLimits } from "../limits.ts";
import { createConnectionPair } from "../memory.ts";
import { methodsOf } from "../service.ts";
import { Tally } from "../stats.ts";
import { Code } from "../status.ts";
import { Timers } from "../async/timer.ts";
import { SocketFolder, testHandlers } from "./fixture.ts";
import { until } from "./wait.ts";

function start(path: string): Server {
  return serve({ path }, (router) => router.service(TestService, testHandlers));
}

/** Shuts a server down, and waits until its only client knows. */
async function stop(server: Server, client: Client): Promise<void> {
  await server.shutdown();
  await until(() => client.stats().connections === 0, "the end of the connection");
}

async function connected(path: string, options: Parameters<typeof connect>[1] = {}) {
  return await connect({ path }, { reconnect: { initialDelayMs: 1 }, ...options });
}

Deno.test("a client with reconnect outlasts the restart of its server", async () => {
  using socket = new SocketFolder();
  const closings: unknown[] = [];
  const first = start(socket.path);
  await using client = await connected(socket.path, {
    onClose: (error) => void closings.push(error),
  });
  const service = client.service(TestService);
  await service.nothing({});
  await stop(first, client);
  await using _second = start(socket.path);
  await service.echo({ text: "again" }, { timeoutMs: 10_000 });
  deepEqual(closings, [undefined]);
  const { connections, callsStarted, callsInFlight } = client.stats();
  deepEqual([connections, callsStarted, callsInFlight], [1, 2, 0]);
});

Deno.test("calls in flight when the connection is lost end with UNAVAILABLE, and are not repeated", async () => {
  using socket = new SocketFolder();
  let calls = 0;
  const count = {
    ...testHandlers,
    sleep: async () => {
      calls++;
      await new Promise<void>((resolve) => resolved.push(resolve));
      return {};
    },
  };
  const resolved: (() => void)[] = [];
  const first = serve({ path: socket.path }, (router) => router.service(TestService, count));
  await using client = await connected(socket.path);
  const service = client.service(TestService);
  const lost = rejects(service.sleep({}), { code: Code.UNAVAILABLE });
  while (calls === 0) await service.nothing({});
  first.close();
  await first.finished;
  await lost;
  resolved.forEach((resolve) => resolve());
  await using _second = serve(
    { path: socket.path },
    (router) => router.service(TestService, count),
  );
  await service.nothing({});
  equal(calls, 1);
});

Deno.test("without a server, calls end with UNAVAILABLE and why, until there is one again", async () => {
  using socket = new SocketFolder();
  const first = start(socket.path);
  await using client = await connected(socket.path);
  const service = client.service(TestService);
  await stop(first, client);
  for (let i = 0; i < 3; i++) {
    await rejects(service.nothing({}), {
      code: Code.UNAVAILABLE,
      rawMessage: `cannot connect to unix:${socket.path}: there is no such socket`,
    });
  }
  await rejects(Array.fromAsync(service.count({})), { code: Code.UNAVAILABLE });
  await using _second = start(socket.path);
  await service.nothing({});
});

Deno.test("with waitForReady, calls wait for a server until their deadline", async () => {
  using socket = new SocketFolder();
  const first = start(socket.path);
  await using client = await connected(socket.path, { waitForReady: true });
  const service = client.service(TestService);
  await stop(first, client);
  await rejects(service.nothing({}, { timeoutMs: 30 }), { code: Code.DEADLINE_EXCEEDED });
  const waiting = [service.nothing({}), service.nothing({}), service.sum([{ value: 1n }])];
  await using _second = start(socket.path);
  await Promise.all(waiting);
  equal(client.stats().connections, 1);
});

Deno.test("an abort ends a call that waits for a connection", async () => {
  using socket = new SocketFolder();
  const first = start(socket.path);
  await using client = await connected(socket.path, { waitForReady: true });
  await stop(first, client);
  const controller = new AbortController();
  const call = rejects(
    client.service(TestService).nothing({}, { signal: controller.signal }),
    { code: Code.CANCELLED },
  );
  controller.abort();
  await call;
});

Deno.test("close() ends calls that wait for a connection, and the waiting", async () => {
  using socket = new SocketFolder();
  const first = start(socket.path);
  const client = await connected(socket.path, { waitForReady: true });
  await stop(first, client);
  const call = rejects(client.service(TestService).nothing({}), { code: Code.CANCELLED });
  client.close();
  await call;
  await client.finished;
  await rejects(client.service(TestService).nothing({}), { code: Code.CANCELLED });
});

Deno.test("close() during the pause before an attempt ends at once", async () => {
  using socket = new SocketFolder();
  const first = start(socket.path);
  const client = await connected(socket.path, {
    reconnect: { initialDelayMs: 1e6, maxDelayMs: 1e6 },
  });
  await stop(first, client);
  await rejects(client.service(TestService).nothing({}), { code: Code.UNAVAILABLE });
  const call = rejects(client.service(TestService).nothing({}), { code: Code.CANCELLED });
  client.close();
  await call;
  await client.finished;
});

Deno.test("a server that accepts and dies is called after pauses that grow", async () => {
  using socket = new SocketFolder();
  const listener = Deno.listen({ transport: "unix", path: socket.path });
  let accepted = 0;
  const accepting = (async () => {
    for await (const conn of listener) {
      accepted++;
      conn.close();
    }
  })();
  await using client = await connected(socket.path, { reconnect: { initialDelayMs: 10 } });
  const end = performance.now() + 200;
  while (performance.now() < end) {
    await client.service(TestService).nothing({}, { timeoutMs: 200 }).catch(() => {});
  }
  listener.close();
  await accepting;
  ok(accepted <= 8, `${accepted} connections in 200 ms`);
});

Deno.test("a busy client loses no call silently when its server restarts again and again", async () => {
  using socket = new SocketFolder();
  let server = start(socket.path);
  const client = await connected(socket.path);
  const service = client.service(TestService);
  let enough = false;
  let succeeded = 0;
  let unavailable = 0;
  const workers = Array.from({ length: 16 }, async (_, worker) => {
    for (let i = 0; !enough; i++) {
      try {
        equal((await service.echo({ text: `${worker}.${i}` })).text, `${worker}.${i}`);
        succeeded++;
      } catch (error) {
        ok(error instanceof RpcError);
        equal(error.code, Code.UNAVAILABLE, error.message);
        unavailable++;
      }
    }
  });
  for (let i = 0; i < 10; i++) {
    const before: number = succeeded;
    await until(() => succeeded >= before + 100, "a hundred calls");
    if (i % 2 === 0) await server.shutdown({ timeoutMs: 50 });
    else server.close();
    await server.finished;
    server = start(socket.path);
  }
  enough = true;
  await Promise.all(workers);
  const { callsStarted, callsInFlight, callsFailed } = client.stats();
  equal(callsInFlight, 0);
  equal(callsStarted, succeeded + unavailable);
  equal(callsFailed["UNAVAILABLE"] ?? 0, unavailable);
  await client[Symbol.asyncDispose]();
  await server.shutdown();
});

Deno.test("connect() refuses to reconnect to an open connection, and delays that are none", async () => {
  const [near] = createConnectionPair();
  await rejects(connect(near, { reconnect: true }), {
    name: "TypeError",
    message: "Cannot reconnect to an open connection: it has no address to dial",
  });
  await rejects(connect({ path: "x" }, { reconnect: { maxDelayMs: -1 } }), RangeError);
});

Deno.test("a connection that has used up its ids takes no more calls", async () => {
  const [near, far] = createConnectionPair();
  await using _server = serve(
    { connection: far },
    (router) => router.service(TestService, testHandlers),
  );
  const left: ClientCall[] = [];
  const connection = new ClientConnection({
    conn: near,
    name: "memory",
    limits: resolveLimits(),
    timers: new Timers(),
    held: new HeldBytes(Infinity),
    deadlines: new Deadlines(),
    extension: undefined,
    onExhausted: (call) => void left.push(call),
    onEnd: () => {},
    firstId: 2 ** 32 - 1,
  });
  const running = connection.connection.run();
  const keeper = { deadlines: new Deadlines(), tally: new Tally(), waiting: new Set<ClientCall>() };
  const method = methodsOf(TestService).get("nothing")!;
  const settings = takeOptions(undefined, undefined);
  const request = { payload: new Uint8Array(0), metadata: undefined, messages: undefined };
  const [last, none] = Array.from(
    { length: 2 },
    () => new ClientCall(method, settings, request, keeper),
  ) as [ClientCall, ClientCall];
  equal(connection.usable, true);
  connection.open(last);
  equal(last.id, 2 ** 32 - 1);
  deepEqual([connection.usable, connection.exhausted], [false, true]);
  connection.open(none);
  deepEqual(left, [none]);
  deepEqual([connection.exhaustedStatus.code, connection.exhaustedStatus.message], [
    Code.UNAVAILABLE,
    "connection to memory has used up its stream ids: connect again",
  ]);
  deepEqual(await last.receive(), new Uint8Array(0));
  connection.close();
  await running;
});

Deno.test("a client without reconnect does not reconnect", async () => {
  using socket = new SocketFolder();
  const first = start(socket.path);
  const client = await connect({ path: socket.path });
  await stop(first, client);
  await client.finished;
  await using _second = start(socket.path);
  await rejects(client.service(TestService).nothing({}), { code: Code.UNAVAILABLE });
});
