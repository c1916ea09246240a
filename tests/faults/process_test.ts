// Peers that stop, go on, or die, as the system does it to them.

import { connect, RpcError } from "@ttrpc/ttrpc";
import { equal, match, ok, rejects } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../../status.ts";
import { aborted, SocketFolder, TestBed } from "../fixture.ts";
import { procTest as test } from "../machine.ts";
import { Child } from "./child.ts";
import { sleep, until } from "../wait.ts";

Deno.test("a server that is killed fails its calls at once, and a new one takes its place", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  const closed: unknown[] = [];
  await using first = await Child.start("server.ts", [path]);
  await using client = await connect({ path }, {
    reconnect: { initialDelayMs: 1 },
    onClose: (error) => closed.push(error),
  });
  const service = client.service(TestService);
  await service.nothing({});
  const waiting = [
    service.sleep({ milliseconds: 3_600_000n }),
    service.chat(new ReadableStream()).next(),
    service.sum(new ReadableStream()),
  ].map((call) => (call as Promise<unknown>).then(() => undefined, (error) => error));
  await first[Symbol.asyncDispose](); // SIGKILL
  for (const error of await Promise.all(waiting)) {
    ok(error instanceof RpcError);
    equal(error.code, Code.UNAVAILABLE);
    match(error.message, /connection to unix:.*test\.sock|the server closed it/);
  }
  equal(closed.length, 1);
  await rejects(service.nothing({}, { timeoutMs: 5_000 }), { code: Code.UNAVAILABLE });

  await using _second = await Child.start("server.ts", [path]);
  equal((await service.echo({ text: "new" }, { timeoutMs: 5_000 })).text, "new");
});

test("a server that stands still costs its callers their deadlines only, and goes on", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  await using child = await Child.start("server.ts", [path]);
  await using client = await connect({ path });
  const service = client.service(TestService);
  await service.nothing({});
  await child.pause();
  await rejects(service.echo({ text: "stuck" }, { timeoutMs: 50 }), {
    code: Code.DEADLINE_EXCEEDED,
  });
  const patient = service.echo({ text: "patient" });
  // The system still takes connections for it, and calls on them wait as well.
  await using fresh = await connect({ path });
  await rejects(fresh.service(TestService).nothing({}, { timeoutMs: 50 }), {
    code: Code.DEADLINE_EXCEEDED,
  });
  child.resume();
  equal((await patient).text, "patient");
  equal((await fresh.service(TestService).echo({ text: "fresh" })).text, "fresh");
  equal(client.stats().openStreams, 0);
});

Deno.test("a client that is killed aborts its calls, and nothing of it is left", async () => {
  const over = Promise.withResolvers<unknown>();
  await using bed = new TestBed({
    sleep: async (_request, { signal }) => {
      over.resolve(await aborted(signal));
      return {};
    },
  });
  const child = await Child.start("client.ts", [bed.path, "wait"]);
  await until(() => bed.server.stats().callsInFlight === 1, "the call");
  await child[Symbol.asyncDispose](); // SIGKILL
  const reason = await over.promise;
  ok(reason instanceof RpcError);
  equal(reason.code, Code.CANCELLED);
  await until(() => bed.server.stats().connections === 0, "the end of the connection");
  equal(bed.server.stats().callsInFlight, 0);
  equal((await (await bed.service()).echo({ text: "fresh" })).text, "fresh");
});

test("a client that stands still slows its own streams, takes no memory, and goes on", async () => {
  await using bed = new TestBed();
  await using child = await Child.start("client.ts", [bed.path, "stream"]);
  const { server } = bed;
  await until(() => server.stats().bytesReceived >= 1 << 20, "the first MiB");
  await child.pause();
  const service = await bed.service();
  for (let before = -1; before !== server.stats().bytesReceived;) {
    before = server.stats().bytesReceived;
    for (let i = 0; i < 20; i++) await service.echo({ text: "fresh" }, { timeoutMs: 5_000 });
    await sleep(10);
    const { bytesReceived, queuedBytes } = server.stats();
    ok(queuedBytes <= 9 << 20, `${queuedBytes} bytes wait`);
    // Only the calls of the fresh client, once nothing comes from the other.
    if (bytesReceived - before < 5_000) break;
  }
  child.resume();
  equal(await child.expect(/^received/), `received: ${2_000 * (1 << 14)}`);
  equal((await child.exit).code, 0);
});

test("a server that stands still is taken for dead, where there is a keepalive", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  await using child = await Child.start("server.ts", [path]);
  await using client = await connect({ path }, { keepalive: { intervalMs: 50, timeoutMs: 1_000 } });
  await using other = await connect({ path });
  const service = client.service(TestService);
  const waiting = service.sleep({ milliseconds: 300n });
  await waiting; // meanwhile pings were answered, so that it was not
  await child.pause();
  const stuck = other.service(TestService).echo({ text: "patient" });
  for (const call of [service.echo({ text: "stuck" }), service.count({ count: 1 }).next()]) {
    await rejects(call, {
      code: Code.UNAVAILABLE,
      message: /nothing for 1000 ms after a ping|connection to unix:.* lost/,
    });
  }
  child.resume();
  equal((await stuck).text, "patient");
});

test("a client that stands still is taken for dead, where there is a keepalive", async () => {
  const over = Promise.withResolvers<unknown>();
  await using bed = new TestBed({
    sleep: async (_request, { signal }) => {
      over.resolve(await aborted(signal));
      return {};
    },
  }, { keepalive: { intervalMs: 50, timeoutMs: 1_000 } });
  await using child = await Child.start("client.ts", [bed.path, "wait", "50"]);
  await until(() => bed.server.stats().callsInFlight === 1, "the call");
  const { bytesReceived } = bed.server.stats();
  await until(() => bed.server.stats().bytesReceived >= bytesReceived + 40, "pings and pongs");
  equal(bed.server.stats().callsInFlight, 1);
  await child.pause();
  const reason = await over.promise;
  ok(reason instanceof RpcError);
  equal(reason.code, Code.UNAVAILABLE);
  match(reason.message, /the peer has sent nothing for 1000 ms after a ping/);
  equal(bed.errors.length, 1);
});
