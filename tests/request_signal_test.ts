// The signal that interceptors see: aborted when the call is given up, and only then.

import { type InterceptedRequest, type Interceptor, RpcError } from "@ttrpc/ttrpc";
import { equal, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, type TestHandlers } from "./fixture.ts";
import { callOf, handlersThat, KINDS } from "./kinds.ts";
import { Place, TRANSPORTS } from "./place.ts";
import { moment, until } from "./wait.ts";

/** An interceptor that keeps the requests that it sees. */
function keeping(): { seen: InterceptedRequest[]; interceptor: Interceptor } {
  const seen: InterceptedRequest[] = [];
  return {
    seen,
    interceptor: (next) => (request) => {
      seen.push(request);
      return next(request);
    },
  };
}

const waiting: Partial<TestHandlers> = handlersThat(({ signal }) => aborted(signal));

for (const transport of TRANSPORTS) {
  Deno.test(`a call that went well does not abort its request's signal, over ${transport}`, async () => {
    await using place = new Place(transport);
    await place.serve();
    const { seen, interceptor } = keeping();
    const client = await place.connect({ interceptors: [interceptor] });
    const service = client.service(TestService);
    for (const kind of KINDS) await callOf(kind, service, { timeoutMs: 1e6 });
    for await (const _ of service.count({ count: 3 }));
    for await (const _ of service.chat([{}, {}])); // a loop that comes to the end
    await moment();
    equal(seen.length, 6);
    for (const { signal, kind } of seen) equal(signal!.aborted, false, kind);
    client.close();
    await client.finished;
    for (const { signal, kind } of seen) equal(signal!.aborted, false, kind);
  });

  Deno.test(`a call that its server failed does not abort its request's signal, over ${transport}`, async () => {
    await using place = new Place(transport);
    await place.serve(handlersThat(() => {
      throw new RpcError(Code.ABORTED, "no");
    }));
    const { seen, interceptor } = keeping();
    const client = await place.connect({ interceptors: [interceptor] });
    const service = client.service(TestService);
    for (const kind of KINDS) await rejects(callOf(kind, service), { code: Code.ABORTED });
    equal(seen.length, 4);
    for (const { signal, kind } of seen) equal(signal!.aborted, false, kind);
  });

  Deno.test(`the deadline aborts a request's signal as a timeout, over ${transport}`, async () => {
    await using place = new Place(transport);
    await place.serve(waiting);
    const { seen, interceptor } = keeping();
    const service = (await place.connect({ interceptors: [interceptor] })).service(TestService);
    for (const kind of KINDS) {
      await rejects(callOf(kind, service, { timeoutMs: 10 }), { code: Code.DEADLINE_EXCEEDED });
    }
    equal(seen.length, 4);
    for (const { signal, kind } of seen) {
      equal(signal!.aborted, true, kind);
      equal((signal!.reason as DOMException).name, "TimeoutError", kind);
    }
  });

  Deno.test(`the caller's signal aborts a request's signal for its own reason, over ${transport}`, async () => {
    await using place = new Place(transport);
    await place.serve(waiting);
    const { seen, interceptor } = keeping();
    const service = (await place.connect({ interceptors: [interceptor] })).service(TestService);
    for (const kind of KINDS) {
      const controller = new AbortController();
      const call = rejects(callOf(kind, service, { signal: controller.signal }), {
        code: Code.CANCELLED,
      });
      await until(() => seen.length > KINDS.indexOf(kind));
      const reason = new Error("changed my mind");
      controller.abort(reason);
      await call;
      equal(seen.at(-1)!.signal!.reason, reason, kind);
    }
  });

  Deno.test(`close() aborts the signals of calls in flight and of no others, over ${transport}`, async () => {
    await using place = new Place(transport);
    let wait = false;
    await place.serve(handlersThat(({ signal }) => wait && aborted(signal)));
    const { seen, interceptor } = keeping();
    const client = await place.connect({ interceptors: [interceptor] });
    const service = client.service(TestService);
    for (const kind of KINDS) await callOf(kind, service);
    wait = true;
    const calls = KINDS.map((kind) => rejects(callOf(kind, service), { code: Code.CANCELLED }));
    await until(() => place.server.stats().callsInFlight === 4);
    client.close();
    await Promise.all(calls);
    for (const { signal } of seen.splice(0, 4)) equal(signal!.aborted, false);
    equal(seen.length, 4);
    for (const { signal, kind } of seen) {
      equal(signal!.aborted, true, kind);
      equal((signal!.reason as DOMException).name, "AbortError", kind);
    }
  });

  Deno.test(`close() aborts the signals of calls that wait for a connection, over ${transport}`, async () => {
    await using place = new Place(transport);
    await place.serve();
    const { seen, interceptor } = keeping();
    const client = await place.connect({
      interceptors: [interceptor],
      reconnect: true,
      waitForReady: true,
    });
    await place.stop();
    const service = client.service(TestService);
    const calls = KINDS.map((kind) => rejects(callOf(kind, service), { code: Code.CANCELLED }));
    await moment();
    client.close();
    await Promise.all(calls);
    for (const { signal, kind } of seen) equal(signal!.aborted, true, kind);
  });

  Deno.test(`leaving a stream aborts its request's signal, over ${transport}`, async () => {
    await using place = new Place(transport);
    await place.serve();
    const { seen, interceptor } = keeping();
    const service = (await place.connect({ interceptors: [interceptor] })).service(TestService);
    for await (const _ of service.count({ count: 9 })) break;
    for await (const _ of service.chat([{}, {}, {}])) break;
    for (const { signal } of seen) equal((signal!.reason as DOMException).name, "AbortError");
    equal(seen.length, 2);
  });
}

Deno.test("a call that went well does not abort its request's signal, whatever its interceptor has left behind", async () => {
  await using place = new Place();
  let calls = 0;
  await place.serve(handlersThat(({ signal }) => calls++ % 2 === 0 && aborted(signal)));
  const seen: InterceptedRequest[] = [];
  const hedging: Interceptor = (next) => (request) => {
    seen.push(request);
    next(request).catch(() => {}); // hangs
    return next(request);
  };
  const client = await place.connect({ interceptors: [hedging] });
  await callOf("unary", client.service(TestService));
  await callOf("server_streaming", client.service(TestService));
  equal(client.stats().callsInFlight, 0);
  for (const { signal, kind } of seen) equal(signal!.aborted, false, kind);
});

Deno.test("an interceptor hears of the end of its call while it waits for something else", async () => {
  const heard: string[] = [];
  const deaf: Interceptor = () => async ({ signal, kind }) => {
    await aborted(signal!);
    heard.push(kind);
    throw new Error("nobody hears of this");
  };
  await using place = new Place();
  await place.serve();
  const client = await place.connect({ interceptors: [deaf] });
  const service = client.service(TestService);
  for (const kind of KINDS) {
    await rejects(callOf(kind, service, { timeoutMs: 5 }), { code: Code.DEADLINE_EXCEEDED });
  }
  const calls = KINDS.map((kind) => rejects(callOf(kind, service), { code: Code.CANCELLED }));
  client.close();
  await Promise.all(calls);
  await until(() => heard.length === 8);
});

Deno.test("on a server, a request's signal is aborted when the call is over, and says why if it went wrong", async () => {
  const ends = new Map<string, Promise<unknown>>();
  const interceptor: Interceptor = (next) => (request) => {
    const { signal, metadata } = request;
    equal(signal!.aborted, false);
    ends.set(metadata.get("case")!, aborted(signal!));
    return next(request);
  };
  await using place = new Place();
  await place.serve({
    sleep: async (_request, { signal }) => {
      await aborted(signal);
      return {};
    },
  }, { interceptors: [interceptor] });
  const client = await place.connect();
  const service = client.service(TestService);
  await service.nothing({}, { metadata: { case: "fine" } });
  await rejects(service.sleep({}, { timeoutMs: 10, metadata: { case: "late" } }));
  const lost = rejects(service.sleep({}, { metadata: { case: "lost" } }));
  await until(() => ends.has("lost"));
  client.close();
  await lost;
  equal((await ends.get("late") as DOMException).name, "TimeoutError");
  ok(await ends.get("fine"));
  equal((await ends.get("lost") as RpcError).code, Code.CANCELLED);
});
