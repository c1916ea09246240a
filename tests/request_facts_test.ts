// What interceptors can learn of a call beside its messages: where it goes, and how long they are.

import { type Client, connect, type InterceptedRequest, type Interceptor } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  CountRequestSchema,
  CountResponseSchema,
  EchoRequestSchema,
  EchoResponseSchema,
  TestService,
} from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { callOf, KINDS, METHODS, rawCallOf } from "./kinds.ts";
import { Place, TRANSPORTS } from "./place.ts";
import { until } from "./wait.ts";

function length<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): number {
  return toBinary(schema, create(schema, init)).length;
}

/** Keeps the last request that it has seen. */
class Keeping {
  request: InterceptedRequest | undefined;
  readonly interceptor: Interceptor = (next) => (request) => {
    this.request = request;
    return next(request);
  };

  get sizes(): [sent: number, received: number] {
    const { sent, received } = this.request!.sizes;
    return [sent, received];
  }
}

for (const transport of TRANSPORTS) {
  Deno.test(`a client's interceptor finds the server's address, over ${transport}`, async () => {
    await using place = new Place(transport);
    const server = await place.serve();
    const keeping = new Keeping();
    const client = await place.connect({ interceptors: [keeping.interceptor] });
    const addr = server.addr;
    const address = addr?.transport === "tcp"
      ? `tcp://127.0.0.1:${addr.port}`
      : addr?.transport === "unix"
      ? `unix:${place.path}`
      : "a dialer";
    equal(client.address, address);
    for (const kind of KINDS) {
      await callOf(kind, client.service(TestService));
      equal(keeping.request!.address, address, kind);
      await rawCallOf(kind, client);
      equal(keeping.request!.address, address, kind);
    }
    await using open = await connect(await place.open(), { interceptors: [keeping.interceptor] });
    await callOf("unary", open.service(TestService));
    equal(keeping.request!.address, open.address);
  });

  Deno.test(`a server's interceptor finds the client's connection, and no address, over ${transport}`, async () => {
    await using place = new Place(transport);
    const keeping = new Keeping();
    await place.serve({}, { interceptors: [keeping.interceptor] });
    const client = await place.connect();
    for (const kind of KINDS) {
      await callOf(kind, client.service(TestService));
      const { address, context } = keeping.request!;
      equal(address, undefined);
      equal(context!.connection.values instanceof Map, true);
    }
  });

  Deno.test(`both sides' interceptors find the encoded sizes of messages, over ${transport}`, async () => {
    await using place = new Place(transport);
    const [near, far] = [new Keeping(), new Keeping()];
    await place.serve({}, { interceptors: [far.interceptor] });
    const client = await place.connect({ interceptors: [near.interceptor] });
    const service = client.service(TestService);

    const text = "x".repeat(1_000);
    const calls: [call: () => Promise<unknown>, sent: number, received: number][] = [
      [() => service.nothing({}), 0, 0],
      [
        () => service.echo({ text }),
        length(EchoRequestSchema, { text }),
        length(EchoResponseSchema, { text }),
      ],
      [
        () => Array.fromAsync(service.count({ count: 3 })),
        length(CountRequestSchema, { count: 3 }),
        [0n, 1n, 2n].reduce((all, value) => all + length(CountResponseSchema, { value }), 0),
      ],
      [
        () => service.sum([{ value: 300n }, { value: 5n }]),
        length(CountResponseSchema, { value: 300n }) + length(CountResponseSchema, { value: 5n }),
        length(CountResponseSchema, { value: 305n }),
      ],
      [
        () => Array.fromAsync(service.chat([{ text }, {}, { text: "y" }])),
        length(EchoRequestSchema, { text }) + length(EchoRequestSchema, { text: "y" }),
        length(EchoResponseSchema, { text }) + length(EchoResponseSchema, { text: "y" }),
      ],
    ];
    for (const [call, sent, received] of calls) {
      await call();
      const { name } = near.request!.method;
      deepEqual(near.sizes, [sent, received], name);
      deepEqual(far.sizes, [received, sent], name);
    }
  });

  Deno.test(`the sizes of raw calls are those of their bytes, over ${transport}`, async () => {
    await using place = new Place(transport);
    const [near, far] = [new Keeping(), new Keeping()];
    await place.serve({}, { interceptors: [far.interceptor] });
    const client = await place.connect({ interceptors: [near.interceptor] });
    const bytes = toBinary(EchoRequestSchema, create(EchoRequestSchema, { text: "1234567" }));
    const reply = await client.callRaw(TestService.typeName, "Echo", bytes);
    deepEqual(near.sizes, [bytes.length, reply.length]);
    deepEqual(far.sizes, [reply.length, bytes.length]);
    const stream = client.streamRaw(TestService.typeName, METHODS.bidi_streaming, [bytes, bytes]);
    equal((await Array.fromAsync(stream)).length, 2);
    deepEqual(near.sizes, [2 * bytes.length, 2 * reply.length]);
  });

  Deno.test(`the sizes grow with a stream, over ${transport}`, async () => {
    await using place = new Place(transport);
    const [near, far] = [new Keeping(), new Keeping()];
    await place.serve({}, { interceptors: [far.interceptor] });
    const client = await place.connect({ interceptors: [near.interceptor] });
    const messages = new TransformStream<{ text: string }, { text: string }>();
    const writer = messages.writable.getWriter();
    const stream = client.service(TestService).chat(messages.readable);
    const one = length(EchoRequestSchema, { text: "12345" });
    for (let i = 1; i <= 3; i++) {
      await writer.write({ text: "12345" });
      equal((await stream.next()).value!.text, "12345");
      deepEqual(near.sizes, [i * one, i * one]);
      deepEqual(far.sizes, [i * one, i * one]);
    }
    await writer.close();
    equal((await stream.next()).done, true);
  });
}

Deno.test("a server's interceptor finds the size of a request before it passes it on", async () => {
  const seen: number[] = [];
  await using place = new Place();
  const looking: Interceptor = (next) => (request) => {
    seen.push(request.sizes.received, request.sizes.sent);
    return next(request);
  };
  await place.serve({}, { interceptors: [looking] });
  const service = (await place.connect()).service(TestService);
  await service.echo({ text: "12345" });
  await Array.fromAsync(service.count({ count: 300 }));
  deepEqual(seen, [
    length(EchoRequestSchema, { text: "12345" }),
    0,
    length(CountRequestSchema, { count: 300 }),
    0,
  ]);
});

Deno.test("sizes tell what a failed call has sent and received", async () => {
  await using place = new Place();
  const [near, far] = [new Keeping(), new Keeping()];
  await place.serve({
    async *count() {
      yield { value: 300n };
      throw new Error("a bug");
    },
  }, { interceptors: [far.interceptor] });
  const client: Client = await place.connect({ interceptors: [near.interceptor] });
  const service = client.service(TestService);
  await rejects(Array.fromAsync(service.count({ count: 9 })), { code: Code.UNKNOWN });
  const [sent, received] = [
    length(CountRequestSchema, { count: 9 }),
    length(CountResponseSchema, { value: 300n }),
  ];
  deepEqual(near.sizes, [sent, received]);
  deepEqual(far.sizes, [received, sent]);
  await rejects(service.fail({ code: 5, message: "no" }), { code: Code.NOT_FOUND });
  ok(near.sizes[0] > 0);
  equal(near.sizes[1], 0); // an error is no message
});

Deno.test("sizes are zero for a call that was never sent", async () => {
  await using place = new Place();
  await place.serve();
  const near = new Keeping();
  const client = await place.connect({
    interceptors: [near.interceptor],
    reconnect: true,
    waitForReady: true,
  });
  await place.stop();
  for (const kind of KINDS) {
    const call = callOf(kind, client.service(TestService), { timeoutMs: 5 });
    await rejects(call, { code: Code.DEADLINE_EXCEEDED });
    deepEqual(near.sizes, [0, 0], kind);
  }
  await until(() => client.stats().callsInFlight === 0);
});
