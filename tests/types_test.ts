// What the compiler must accept and refuse. `deno test` and `deno check` compile this; there is
// little to run.

import type {
  CallOptions,
  Client,
  HandlerContext,
  MessageStream,
  ServiceClient,
  ServiceDescriptor,
  ServiceHandlers,
} from "@ttrpc/ttrpc";
import { bytesCodec } from "@ttrpc/ttrpc";
import { equal } from "node:assert/strict";
import {
  type CountResponse,
  type EchoResponse,
  type SleepResponse,
  TestService,
} from "../gen/ttrpc/test/v1/test_pb.ts";

/** Fails to compile unless the two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

function same<A, B>(..._proof: Same<A, B> extends true ? [] : [never]): void {}

type Test = ServiceClient<typeof TestService>;
type Handlers = ServiceHandlers<typeof TestService>;

Deno.test("a client's methods have the types of their kind", () => {
  same<ReturnType<Test["echo"]>, Promise<EchoResponse>>();
  same<ReturnType<Test["count"]>, MessageStream<CountResponse>>();
  same<ReturnType<Test["sum"]>, Promise<CountResponse>>();
  same<ReturnType<Test["chat"]>, MessageStream<EchoResponse>>();
  same<Parameters<Test["sleep"]>[1], CallOptions | undefined>();
  const use = (test: Test) => [
    test.echo({}),
    test.echo({ text: "x" }, { timeoutMs: 1, metadata: { a: ["1"] } }),
    test.sum([{ value: 1n }]),
    test.chat(ReadableStream.from([{ text: "x" }])),
    // @ts-expect-error there is no such field
    test.echo({ texts: "x" }),
    // @ts-expect-error a number is no string
    test.echo({ text: 1 }),
    // @ts-expect-error the method takes many messages
    test.sum({ value: 1n }),
    // @ts-expect-error there is no such method
    test.ehco({}),
    // @ts-expect-error there is no such option
    test.echo({}, { timeout: 5 }),
  ];
  equal(typeof use, "function");
});

Deno.test("a client is an object of handlers, and a context is call options", () => {
  const proxy = (client: Client): Handlers => client.service(TestService);
  const forward = (client: Test): Handlers => ({
    echo: (request, context) => client.echo(request, context),
    fail: (request, context) => client.fail(request, context),
    sleep: (request, context) => client.sleep(request, context),
    nothing: (request, context) => client.nothing(request, context),
    produce: (request, context) => client.produce(request, context),
    count: (request, context) => client.count(request, context),
    sum: (requests, context) => client.sum(requests, context),
    chat: (requests, context) => client.chat(requests, context),
  });
  const options = (context: HandlerContext): CallOptions => context;
  equal([proxy, forward, options].length, 3);
});

Deno.test("handlers may answer with plain objects, promises, generators and streams", () => {
  const partly: Partial<Handlers> = {
    echo: () => ({ text: "x" }),
    sleep: () => Promise.resolve({ deadlineMilliseconds: 1n }),
    count: () => [{ value: 1n }],
    chat: async function* () {
      yield { text: "x" };
    },
    sum: async (requests) => {
      same<typeof requests, MessageStream<CountResponse>>();
      return (await Array.fromAsync(requests))[0]!;
    },
  };
  const streams: Partial<Handlers> = { count: () => ReadableStream.from([{ value: 1n }]) };
  const wrong: Partial<Handlers> = {
    // @ts-expect-error there is no such field
    echo: () => ({ texts: "x" }),
    // @ts-expect-error a stream is not one message
    sleep: () => [{ deadlineMilliseconds: 1n }],
  };
  equal([partly, streams, wrong].length, 3);
});

const Own = {
  typeName: "own.Service",
  method: {
    then: { name: "Then", methodKind: "unary", input: bytesCodec, output: bytesCodec },
    watch: {
      name: "Watch",
      methodKind: "server_streaming",
      input: bytesCodec,
      output: { encode: (_date: Date | number) => new Uint8Array(8), decode: () => new Date(0) },
    },
  },
} as const satisfies ServiceDescriptor;

Deno.test("a descriptor with codecs gives the types of its codecs", () => {
  type OwnClient = ServiceClient<typeof Own>;
  same<keyof OwnClient, "then$" | "watch">();
  same<ReturnType<OwnClient["then$"]>, Promise<Uint8Array>>();
  same<ReturnType<OwnClient["watch"]>, MessageStream<Date>>();
  const proxy = (client: OwnClient): ServiceHandlers<typeof Own> => client;
  const handlers: ServiceHandlers<typeof Own> = {
    then$: (bytes) => bytes,
    watch: () => [5, new Date(1)],
  };
  equal([proxy, handlers].length, 2);
  same<SleepResponse["deadlineMilliseconds"], bigint>();
});
