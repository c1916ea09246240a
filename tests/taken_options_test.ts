// What connect(), serve(), retry(), logger() and RpcError were given is theirs, too.

import {
  connect,
  type ConnectOptions,
  type Interceptor,
  Metadata,
  RpcError,
  serve,
  type ServeOptions,
} from "@ttrpc/ttrpc";
import { retry } from "@ttrpc/ttrpc/retry";
import { deepEqual, equal, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { SocketFolder } from "./fixture.ts";
import { callOf, handlersThat, Idempotent, KINDS, rawCallOf } from "./kinds.ts";
import { Place, TRANSPORTS } from "./place.ts";
import { until } from "./wait.ts";

/** An interceptor that fails every call. */
const refusing: Interceptor = () => () => Promise.reject(new RpcError(Code.ABORTED, "refused"));

for (const transport of TRANSPORTS) {
  Deno.test(`interceptors added to the array later are not a client's, over ${transport}`, async () => {
    await using place = new Place(transport);
    await place.serve();
    for (const given of [[], [(next) => next] as Interceptor[]]) {
      const client = await place.connect({ interceptors: given });
      const service = client.service(TestService);
      given.unshift(refusing);
      for (const kind of KINDS) {
        await callOf(kind, service);
        await callOf(kind, client.service(TestService));
        await rawCallOf(kind, client);
      }
    }
  });

  Deno.test(`interceptors added to the array later are not a server's, over ${transport}`, async () => {
    await using place = new Place(transport);
    for (const given of [[], [(next) => next] as Interceptor[]]) {
      const server = await place.serve({}, { interceptors: given });
      const client = await place.connect();
      given.unshift(refusing);
      for (const kind of KINDS) await callOf(kind, client.service(TestService));
      await rejects(client.callRaw("no.Such", "Method", new Uint8Array(0)), {
        code: Code.UNIMPLEMENTED,
      });
      await server.shutdown();
    }
  });
}

Deno.test("codes and numbers that are changed later are not those of retry()", async () => {
  const codes: Code[] = [Code.ABORTED];
  const options = { attempts: 3, initialDelayMs: 1, maxDelayMs: 1, codes };
  const interceptor = retry(options);
  codes[0] = Code.DATA_LOSS;
  Object.assign(options, { attempts: 1, initialDelayMs: 1e6, maxDelayMs: 1e6, codes: [] });
  let calls = 0;
  using socket = new SocketFolder();
  await using _server = serve({ path: socket.path }, (router) =>
    router.service(Idempotent, {
      read: () => {
        throw new RpcError(++calls < 3 ? Code.ABORTED : Code.DATA_LOSS, `failure ${calls}`);
      },
    }));
  await using client = await connect({ path: socket.path }, { interceptors: [interceptor] });
  const service = client.service(Idempotent);
  await rejects(service.read(new Uint8Array(0)), { rawMessage: "failure 3" });
  equal(calls, 3);
  await rejects(service.read(new Uint8Array(0)), { rawMessage: "failure 4" });
});

Deno.test("metadata that is changed between the attempts of retry() is that of the first", async () => {
  const seen: string[] = [];
  using socket = new SocketFolder();
  const metadata = new Metadata({ user: "ada" });
  await using _server = serve({ path: socket.path }, (router) =>
    router.service(Idempotent, {
      read: (request, context) => {
        seen.push(context.metadata.getAll("user").join());
        metadata.set("user", `eve ${seen.length}`);
        if (seen.length < 3) throw new RpcError(Code.UNAVAILABLE, "again");
        return request;
      },
    }));
  await using client = await connect({ path: socket.path }, {
    interceptors: [retry({ initialDelayMs: 1 })],
  });
  await client.service(Idempotent).read(new Uint8Array(0), { metadata });
  deepEqual(seen, ["ada", "ada", "ada"]);
});

Deno.test("metadata that an interceptor changes after next() is not that of the call", async () => {
  const seen: string[] = [];
  await using place = new Place();
  const handlers = handlersThat(({ metadata }, kind) =>
    seen.push(`${kind} ${metadata.getAll("user").join()}`)
  );
  await place.serve(handlers);
  const shared = new Metadata();
  const sharing: Interceptor = (next) => async (request) => {
    shared.set("user", request.kind);
    const response = next({ ...request, metadata: shared });
    shared.set("user", "eve");
    return await response;
  };
  const client = await place.connect({
    interceptors: [sharing],
    reconnect: { initialDelayMs: 1 },
    waitForReady: true,
  });
  await place.stop();
  const calls = KINDS.map((kind) => callOf(kind, client.service(TestService)));
  await place.serve(handlers);
  await Promise.all(calls);
  deepEqual(seen.toSorted(), KINDS.map((kind) => `${kind} ${kind}`).toSorted());
});

Deno.test("metadata that a server's interceptor uses for many calls is each handler's own", async () => {
  const seen: string[] = [];
  const gate = Promise.withResolvers<void>();
  let waiting = 0;
  await using place = new Place();
  const shared = new Metadata();
  const sharing: Interceptor = (next) => (request) => {
    shared.set("user", request.kind);
    return next({ ...request, metadata: shared });
  };
  await place.serve(
    handlersThat(async ({ metadata }, kind) => {
      waiting++;
      await gate.promise;
      seen.push(`${kind} ${metadata.getAll("user").join()}`);
      metadata.set("user", "eve");
    }),
    { interceptors: [sharing] },
  );
  const client = await place.connect();
  const calls = KINDS.map((kind) => callOf(kind, client.service(TestService)));
  await until(() => waiting === KINDS.length);
  gate.resolve();
  await Promise.all(calls);
  deepEqual(seen.toSorted(), KINDS.map((kind) => `${kind} ${kind}`).toSorted());
});

Deno.test("an RpcError keeps the details that it was made of", async () => {
  const first = { typeUrl: "x/First", value: new Uint8Array([1]) };
  const details = [first];
  const error = new RpcError(Code.ABORTED, "no", { details });
  details[0] = { typeUrl: "x/Other", value: new Uint8Array([2]) };
  details.push(first);
  deepEqual(error.details, [first]);

  const shared: typeof details = [];
  await using place = new Place();
  await place.serve({
    echo: ({ text }) => {
      shared.push({ typeUrl: `x/${text}`, value: new Uint8Array([1]) });
      throw new RpcError(Code.ABORTED, text, { details: shared });
    },
  });
  const service = (await place.connect()).service(TestService);
  const told = await Promise.allSettled(["a", "b"].map((text) => service.echo({ text })));
  shared.length = 0;
  deepEqual(
    told.map((result) =>
      result.status === "rejected" &&
      (result.reason as RpcError).details.map(({ typeUrl }) => typeUrl)
    ),
    [["x/a"], ["x/a", "x/b"]],
  );
});

Deno.test("options that are changed after connect() and serve() change neither", async () => {
  for (const transport of TRANSPORTS) {
    await using place = new Place(transport);
    const heard: string[] = [];
    const settings: ServeOptions = {
      limits: { messageBytes: 1_000, concurrentCalls: 10 },
      onError: () => void heard.push("error"),
    };
    await place.serve({
      nothing: () => {
        throw new Error("for onError");
      },
    }, settings);
    const options: ConnectOptions = {
      limits: { messageBytes: 1_000 },
      reconnect: { initialDelayMs: 1, maxDelayMs: 1 },
      waitForReady: true,
      onClose: () => void heard.push("close"),
    };
    const client = await place.connect(options);
    Object.assign(settings.limits!, { messageBytes: 1, concurrentCalls: 1 });
    settings.onError = () => void heard.push("another's error");
    Object.assign(options.limits!, { messageBytes: 1 });
    Object.assign(options.reconnect!, { initialDelayMs: 1e6, maxDelayMs: 1e6 });
    options.reconnect = options.waitForReady = false;
    options.onClose = () => void heard.push("another's close");

    const service = client.service(TestService);
    await Promise.all([service.echo({ text: "x" }), service.echo({ text: "y" })]);
    await rejects(service.nothing({}), { code: Code.UNKNOWN });
    await place.stop();
    const waiting = [service.echo({ text: "z" }), service.echo({ text: "z" })];
    await place.serve();
    await Promise.all(waiting);
    deepEqual(heard, ["error", "close"]);
  }
});

Deno.test("a server tells the onError that it was given", async () => {
  const heard: string[] = [];
  using socket = new SocketFolder();
  const options = { path: socket.path, onError: (error: unknown) => void heard.push(`${error}`) };
  await using _server = serve(options, (router) =>
    router.service(Idempotent, {
      read: () => {
        throw new Error("a bug");
      },
    }));
  options.onError = () => void heard.push("another's");
  await using client = await connect({ path: socket.path });
  await rejects(client.service(Idempotent).read(new Uint8Array(0)), { code: Code.UNKNOWN });
  deepEqual(heard, ["Error: a bug"]);
});
