// Whole calls between our client and our server.

import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack, DurationSchema } from "@bufbuild/protobuf/wkt";
import { type Client, connect, type HandlerContext, Metadata, RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { EchoRequestSchema, TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, SocketFolder, TestBed, type testHandlers } from "./fixture.ts";

Deno.test("a call carries its message and metadata there and back", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const payload = new Uint8Array([1, 2, 3]);
  const reply = await service.echo({ payload, text: "héllo" }, { metadata: { "X-A": ["1", "2"] } });
  deepEqual([...reply.payload], [1, 2, 3]);
  equal(reply.text, "héllo");
  deepEqual(reply.metadata.map(({ key, value }) => [key, value]), [["x-a", "1"], ["x-a", "2"]]);
});

Deno.test("messages of all sizes come through whole", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  for (const length of [0, 1, 100, 8_191, 8_192, 8_193, 65_536, 1_000_000, 4_194_000]) {
    const payload = crypto.getRandomValues(new Uint8Array(Math.min(length, 65_536)));
    const sent = new Uint8Array(length);
    sent.set(payload);
    const reply = await service.echo({ payload: sent });
    equal(reply.payload.length, length);
    ok(reply.payload.every((byte, i) => byte === sent[i]), `${length}`);
  }
});

Deno.test("a long message comes whole behind a header of any length, and so does what follows", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const payload = new Uint8Array(100_000).map((_, at) => at);
  const calls = [0, 10, 100, 200, 300, 10_000].map(async (length) => {
    const metadata = { key: "x".repeat(length) };
    const reply = await service.echo({ payload, text: "t" }, { metadata, timeoutMs: 60_000 });
    deepEqual(reply.payload, payload);
    equal(reply.text, "t");
    deepEqual(reply.metadata.map(({ value }) => value.length), [length]);
  });
  await Promise.all(calls);
});

Deno.test("what a caller or a handler has sent is still his, however long", async () => {
  await using bed = new TestBed();
  const payload = new Uint8Array(100_000).fill(7);
  const client = await bed.connect();
  const service = client.service(TestService);
  for (let i = 0; i < 2; i++) {
    const reply = await service.echo({ payload });
    // The bytes of one call can go into the next, and those of a method's codec are the caller's.
    const { payload: again } = await service.echo({ payload: reply.payload });
    for (const bytes of [payload, reply.payload, again]) deepEqual(bytes, payload);
    const encoded = toBinary(EchoRequestSchema, create(EchoRequestSchema, { payload }));
    const copy = encoded.slice();
    const raw = await client.callRaw(TestService.typeName, "Echo", encoded);
    deepEqual(encoded, copy);
    ok(raw.length > payload.length);
  }
});

Deno.test("only a codec that gives its bytes away has them freed when they are sent", async () => {
  for (const transfers of [undefined, false, true]) {
    const made: Uint8Array[] = [];
    const codec = {
      encode: (length: number) => {
        const bytes = new Uint8Array(length).fill(1);
        made.push(bytes);
        return bytes;
      },
      decode: ({ length }: Uint8Array) => length,
      transfers,
    };
    const method = {
      name: "Sum",
      methodKind: "bidi_streaming",
      input: codec,
      output: codec,
    } as const;
    const service = { typeName: "any.Lengths", method: { sum: method } };
    const lengths = [100, 10_000, 200_000, 32_768];
    {
      using socket = new SocketFolder();
      await using _server = serve(
        { path: socket.path },
        (router) => router.service(service, { sum: (received) => received }),
      );
      await using client = await connect({ path: socket.path });
      deepEqual(await Array.fromAsync(client.service(service).sum(lengths)), lengths);
    }
    // Short ones were copied, and were never on their way.
    const left = made.filter(({ length }) => length === 100 || length > 0 && !transfers);
    equal(left.length, transfers ? 2 : 8);
  }
});

Deno.test("a thousand concurrent calls find their answers", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const texts = Array.from({ length: 1_000 }, (_, i) => "x".repeat(i % 700) + i);
  const replies = await Promise.all(texts.map((text) => service.echo({ text })));
  deepEqual(replies.map(({ text }) => text), texts);
});

Deno.test("a received message stays as it is while others come", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const kept = await service.echo({ payload: new Uint8Array(50).fill(1) });
  await Promise.all(
    Array.from({ length: 500 }, () => service.echo({ payload: new Uint8Array(500).fill(2) })),
  );
  ok(kept.payload.every((byte) => byte === 1));
});

Deno.test("an error comes with its code, message and details", async () => {
  await using bed = new TestBed();
  const service = await bed.service();
  const details = [anyPack(DurationSchema, create(DurationSchema, { seconds: 3n }))];
  await rejects(service.fail({ code: 14, message: "wärming up", details }), (error) => {
    ok(error instanceof RpcError);
    equal(error.message, "ttrpc.test.v1.TestService/Fail: UNAVAILABLE: wärming up");
    equal(error.findDetails(DurationSchema)[0]?.seconds, 3n);
    return true;
  });
  deepEqual(bed.errors, []);
});

Deno.test("a slow handler does not hold up the others", async () => {
  const gate = Promise.withResolvers<void>();
  await using bed = new TestBed({
    sleep: async () => {
      await gate.promise;
      return {};
    },
  });
  const service = await bed.service();
  const slow = service.sleep({});
  for (let i = 0; i < 50; i++) await service.nothing({});
  gate.resolve();
  await slow;
});

Deno.test("a handler that throws fails its own call only, and onError hears of it", async () => {
  const bug = new TypeError("x is undefined");
  await using bed = new TestBed({
    nothing: () => {
      throw bug;
    },
  });
  const service = await bed.service();
  const [bad, good] = await Promise.allSettled([service.nothing({}), service.echo({ text: "a" })]);
  equal(bad.status, "rejected");
  equal(good.status, "fulfilled");
  deepEqual(bed.errors, [bug]);
});

Deno.test("an onError or an onClose that throws harms nobody", async () => {
  const fail = () => {
    throw new Error("the logger is broken");
  };
  await using bed = new TestBed({ nothing: fail }, { onError: fail });
  const client = await bed.connect({ onClose: fail });
  await rejects(client.service(TestService).nothing({}), /the logger is broken/);
  await client.service(TestService).echo({});
  client.close();
  await client.finished;
});

Deno.test("the deadline reaches the handler, and what is left of it goes on to the next server", async () => {
  await using back = new TestBed();
  const backend = await back.service();
  await using front = new TestBed({
    sleep: (request, context) => backend.sleep(request, context),
  });
  const service = await front.service();
  const { deadlineMilliseconds } = await service.sleep({}, { timeoutMs: 60_000 });
  ok(deadlineMilliseconds > 50_000n && deadlineMilliseconds <= 60_000n, `${deadlineMilliseconds}`);
  equal((await service.sleep({})).deadlineMilliseconds, 0n);
});

Deno.test("a deadline that passes aborts the handler of the server behind the server", async () => {
  const over = Promise.withResolvers<unknown>();
  await using back = new TestBed({
    sleep: async (_request, { signal }) => {
      over.resolve(await aborted(signal));
      return {};
    },
  });
  await using front = new TestBed(await back.service());
  const service = await front.service();
  await rejects(service.sleep({}, { timeoutMs: 30 }), { code: Code.DEADLINE_EXCEEDED });
  const reason = await over.promise;
  ok(reason instanceof DOMException && reason.name === "TimeoutError");
});

Deno.test("a service client handed to router.service() is a proxy", async () => {
  await using back = new TestBed();
  using socket = new SocketFolder();
  const backend = await back.service();
  await using _proxy = serve(
    { path: socket.path },
    (router) => router.service(TestService, backend),
  );
  await using client = await connect({ path: socket.path });
  const service = client.service(TestService);
  const reply = await service.echo({ text: "through" }, { metadata: { hop: ["1", "2"] } });
  equal(reply.text, "through");
  deepEqual(reply.metadata.map(({ key, value }) => [key, value]), [["hop", "1"], ["hop", "2"]]);
  const details = [anyPack(DurationSchema, create(DurationSchema, { seconds: 3n }))];
  await rejects(service.fail({ code: 9, message: "not now", details }), (error) => {
    ok(error instanceof RpcError);
    equal(error.code, Code.FAILED_PRECONDITION);
    equal(error.rawMessage, "not now");
    equal(error.findDetails(DurationSchema).length, 1);
    return true;
  });
});

Deno.test("a client that goes away cancels its call through a proxy", async () => {
  const over = Promise.withResolvers<unknown>();
  const started = Promise.withResolvers<void>();
  await using back = new TestBed({
    sleep: async (_request, { signal }) => {
      started.resolve();
      over.resolve(await aborted(signal));
      return {};
    },
  });
  await using front = new TestBed(await back.service());
  const client = await front.connect();
  const call = client.service(TestService).sleep({});
  const failed = rejects(call, { code: Code.CANCELLED });
  await started.promise;
  client.close();
  await failed;
  // The wire has no cancel: the backend learns of it when its own connection ends.
  await back.server.shutdown({ timeoutMs: 0 });
  ok(await over.promise);
});

Deno.test("a handler's context says who is called, by whom, and that is valid call options", async () => {
  let seen: HandlerContext | undefined;
  await using bed = new TestBed({
    nothing: (_request, context) => {
      seen = context;
      return {};
    },
  });
  await (await bed.service()).nothing({}, { metadata: { a: "1" } });
  equal(seen!.service, "ttrpc.test.v1.TestService");
  equal(seen!.method, "Nothing");
  equal(seen!.connection.remoteAddr?.transport, "unix");
  equal(seen!.timeoutMs, undefined);
  ok(seen!.metadata instanceof Metadata);
});

Deno.test("a context can be spread, with other options beside it", async () => {
  const over = Promise.withResolvers<unknown>();
  await using back = new TestBed({
    echo: (_request, { metadata, timeoutMs }) => ({
      text: `${metadata.get("k")} ${timeoutMs! <= 500}`,
    }),
    sleep: async (_request, { signal }) => {
      over.resolve(await aborted(signal));
      return {};
    },
  });
  const backend = await back.service();
  await using front = new TestBed({
    echo: (request, context) => backend.echo(request, { ...context, timeoutMs: 500 }),
    sleep: (request, context) => backend.sleep(request, { ...context, timeoutMs: 60_000 }),
  });
  const service = await front.service();
  equal((await service.echo({}, { metadata: { k: "v" } })).text, "v true");
  await rejects(service.sleep({}, { timeoutMs: 20 }), { code: Code.DEADLINE_EXCEEDED });
});

Deno.test("many clients are served at once", async () => {
  await using bed = new TestBed();
  const services = await Promise.all(Array.from({ length: 50 }, () => bed.service()));
  const replies = await Promise.all(
    services.flatMap((
      service,
      i,
    ) => [service.echo({ text: `${i}` }), service.echo({ text: `${i}` })]),
  );
  deepEqual(replies.map(({ text }) => text), services.flatMap((_, i) => [`${i}`, `${i}`]));
});

Deno.test("connect() takes a connection that is open already", async () => {
  await using bed = new TestBed();
  await using client = await connect(await Deno.connect({ transport: "unix", path: bed.path }));
  equal(client.address, `unix:${bed.path}`);
  await client.service(TestService).nothing({});
});

Deno.test("a process whose connections are unref'd ends by itself", async () => {
  using socket = new SocketFolder();
  const script = `
    import { connect, serve } from "@ttrpc/ttrpc";
    import { Greeter } from "./gen/greeter/v1/greeter_pb.ts";
    const path = ${JSON.stringify(socket.path)};
    const server = serve({ path }, (router) =>
      router.service(Greeter, { sayHello: ({ name }) => ({ message: name }) }));
    const client = await connect({ path });
    const { message } = await client.service(Greeter).sayHello({ name: "ended" }, { timeoutMs: 9e9 });
    client.unref();
    server.ref();
    server.unref();
    console.log(message);
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--ext=ts", "-"],
    cwd: new URL("..", import.meta.url).pathname,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await ReadableStream.from([new TextEncoder().encode(script)]).pipeTo(child.stdin);
  const { success, stdout, stderr } = await child.output();
  equal(new TextDecoder().decode(stderr), "");
  equal(new TextDecoder().decode(stdout), "ended\n");
  ok(success);
});

Deno.test("stubs of both roles fit each other by type and at run time", () => {
  const takesHandlers = (_handlers: typeof testHandlers) => {};
  const pass = (client: Client) => takesHandlers(client.service(TestService));
  equal(typeof pass, "function");
});
