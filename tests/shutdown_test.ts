// How servers and clients end.

import { connect, type RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, SocketFolder, TestBed, testHandlers } from "./fixture.ts";
import { turn } from "./wait.ts";

/** A server whose Sleep waits for a gate, and tells when it was called and when it was aborted. */
function gated() {
  const gate = Promise.withResolvers<void>();
  const calls: AbortSignal[] = [];
  let wake: () => void = () => {};
  return {
    open: gate.resolve,
    calls,
    async called(count: number): Promise<void> {
      while (calls.length < count) await new Promise<void>((resolve) => wake = resolve);
    },
    handlers: {
      sleep: async (_request: unknown, { signal }: { signal: AbortSignal }) => {
        calls.push(signal);
        wake();
        await gate.promise;
        return { deadlineMilliseconds: 1n };
      },
    },
  };
}

Deno.test("shutdown() lets calls on several connections finish, and takes no new ones", async () => {
  const { handlers, open, called } = gated();
  await using bed = new TestBed(handlers);
  const [one, two] = [await bed.service(), await bed.service()];
  const calls = [one.sleep({}), two.sleep({}), two.sleep({})];
  await called(3);
  const down = bed.server.shutdown();
  await rejects(one.nothing({}), { code: Code.UNAVAILABLE, rawMessage: "server is shutting down" });
  await rejects(connect({ path: bed.path }), { code: Code.UNAVAILABLE });
  open();
  for (const { deadlineMilliseconds } of await Promise.all(calls)) equal(deadlineMilliseconds, 1n);
  await down;
  await bed.server.finished;
  throws(() => Deno.lstatSync(bed.path), Deno.errors.NotFound);
});

Deno.test("shutdown() delivers a reply that is still being written", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const call = service.produce({ length: 4_000_000 });
  await service.nothing({}); // the reply to the first is on its way
  await bed.server.shutdown();
  equal((await call).payload.length, 4_000_000);
});

Deno.test("shutdown() closes idle connections at once", async () => {
  await using bed = new TestBed();
  const closed: unknown[] = [];
  const client = await bed.connect({ onClose: (error) => void closed.push(error) });
  await client.service(TestService).nothing({});
  await bed.server.shutdown();
  await client.finished;
  deepEqual(closed, [undefined]);
});

Deno.test("shutdown() with a timeout forces what is left", async () => {
  const { handlers, calls, called } = gated();
  await using bed = new TestBed(handlers);
  const service = await bed.service();
  const call = service.sleep({});
  const failed = rejects(call, { code: Code.UNAVAILABLE, rawMessage: "server is shutting down" });
  await called(1);
  await bed.server.shutdown({ timeoutMs: 10 });
  await failed;
  equal(calls[0]!.aborted, true);
  equal((calls[0]!.reason as RpcError).code, Code.UNAVAILABLE);
});

Deno.test("shutdown() with an infinite timeout is as patient as without one", async () => {
  const { handlers, open, called } = gated();
  await using bed = new TestBed(handlers);
  const call = (await bed.service()).sleep({});
  await called(1);
  await rejects(bed.server.shutdown({ timeoutMs: NaN }), RangeError);
  const down = bed.server.shutdown({ timeoutMs: Infinity });
  open();
  equal((await call).deadlineMilliseconds, 1n);
  await down;
});

Deno.test("shutdown() with a signal forces what is left when it is aborted", async () => {
  const { handlers, called } = gated();
  await using bed = new TestBed(handlers);
  const failed = rejects((await bed.service()).sleep({}), { code: Code.UNAVAILABLE });
  await called(1);
  const controller = new AbortController();
  const down = bed.server.shutdown({ signal: controller.signal });
  controller.abort();
  await down;
  await failed;
});

Deno.test("shutdown() can be forced later, and be called as often as one likes", async () => {
  const { handlers, called } = gated();
  await using bed = new TestBed(handlers);
  const failed = rejects((await bed.service()).sleep({}), { code: Code.UNAVAILABLE });
  await called(1);
  const gentle = bed.server.shutdown();
  const again = bed.server.shutdown();
  await bed.server.shutdown({ timeoutMs: 0 });
  await Promise.all([gentle, again, failed]);
  await bed.server.shutdown();
});

Deno.test("shutdown() ends although a client reads nothing", async () => {
  await using bed = new TestBed();
  const conn = await Deno.connect({ transport: "unix", path: bed.path });
  const closed = Promise.withResolvers<null>();
  await using other = await connect({
    read: () => closed.promise,
    write: (bytes) => conn.write(bytes),
    close: () => {
      conn.close();
      closed.resolve(null);
    },
  });
  const service = other.service(TestService);
  const lost = Array.from({ length: 3 }, () => rejects(service.produce({ length: 4_000_000 })));
  await (await bed.service()).nothing({});
  await bed.server.shutdown({ timeoutMs: 20 });
  other.close();
  await Promise.all(lost);
});

Deno.test("close() ends calls in flight at once", async () => {
  const { handlers, calls, called } = gated();
  await using bed = new TestBed(handlers);
  const failed = rejects((await bed.service()).sleep({}), { code: Code.UNAVAILABLE });
  await called(1);
  bed.server.close();
  equal(calls[0]!.aborted, true);
  await failed;
  await bed.server.finished;
});

Deno.test("an aborted signal shuts the server down gracefully", async () => {
  const { handlers, open, called } = gated();
  using socket = new SocketFolder();
  const controller = new AbortController();
  const server = serve(
    { path: socket.path, signal: controller.signal },
    (router) => router.service(TestService, { ...testHandlers, ...handlers }),
  );
  await using client = await connect({ path: socket.path });
  const call = client.service(TestService).sleep({});
  await called(1);
  controller.abort();
  open();
  equal((await call).deadlineMilliseconds, 1n);
  await server.finished;
});

Deno.test("a signal that is aborted already stops the server before it serves", async () => {
  using socket = new SocketFolder();
  const server = serve({ path: socket.path, signal: AbortSignal.abort() }, () => {});
  await server.finished;
  throws(() => Deno.lstatSync(socket.path), Deno.errors.NotFound);
});

Deno.test("a listener closed under the server ends it without an error", async () => {
  using socket = new SocketFolder();
  const errors: unknown[] = [];
  const listener = Deno.listen({ transport: "unix", path: socket.path });
  const onError = (error: unknown) => void errors.push(error);
  const server = serve(
    { listener, onError },
    (router) => router.service(TestService, testHandlers),
  );
  listener.close();
  await server.finished;
  deepEqual(errors, []);
});

Deno.test("disposing of a server waits for its calls", async () => {
  using socket = new SocketFolder();
  const begun = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  let done = false;
  const server = serve({ path: socket.path }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      nothing: async () => {
        begun.resolve();
        await gate.promise;
        done = true;
        return {};
      },
    }));
  await using client = await connect({ path: socket.path });
  const call = client.service(TestService).nothing({});
  await begun.promise;
  const disposed = server[Symbol.asyncDispose]().then(() => done);
  await turn();
  gate.resolve();
  equal(await disposed, true);
  await call;
});

Deno.test("a handler that ends after its connection does no harm", async () => {
  const over = Promise.withResolvers<void>();
  await using bed = new TestBed({
    sleep: async (_request, { signal }) => {
      await aborted(signal);
      setTimeout(over.resolve, 0);
      throw new Error("too late for anybody to hear");
    },
  });
  const client = await bed.connect();
  const failed = rejects(client.service(TestService).sleep({}), { code: Code.CANCELLED });
  await client.service(TestService).nothing({});
  client.close();
  await failed;
  await over.promise;
  ok(bed.errors.every((error) => /too late/.test(String(error))));
});
