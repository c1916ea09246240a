// What takes too much memory once it is decoded is refused before it is, in both roles and for all
// kinds of call; and what is merely long, or made of many parts, is not.

import { create, toBinary } from "@bufbuild/protobuf";
import { EmptySchema, FieldMaskSchema } from "@bufbuild/protobuf/wkt";
import {
  bytesCodec,
  type Client,
  type Codec,
  connect,
  createConnectionPair,
  type Limits,
  type MethodKind,
  type Router,
  RpcError,
  serve,
  type ServiceDescriptor,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, rejects } from "node:assert/strict";
import { schemaCodec } from "../codec.ts";
import {
  EchoRequestSchema,
  EchoResponseSchema,
  TestService,
} from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { testHandlers } from "./fixture.ts";
import { callOf, handlersThat, KINDS, METHODS } from "./kinds.ts";

/** Fields of two bytes that no message of the test service has. */
function unknownFields(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(length).map((_, at) => at % 2 === 0 ? 0x78 : 1);
}

const BOMB = unknownFields(1 << 20);

function refusal(kind: MethodKind, decodeFactor = 16, most = 33_554_432) {
  return {
    name: "RpcError",
    code: Code.RESOURCE_EXHAUSTED,
    message: `ttrpc.test.v1.TestService/${METHODS[kind]}: RESOURCE_EXHAUSTED: ` +
      "message of 1048576 bytes has too many small parts: decoded, it would take over " +
      `${most} bytes of memory, or too long (limits.decodeFactor is ${decodeFactor})`,
  };
}

async function bedOf(
  routes: (router: Router) => unknown,
  server: Partial<Limits> = {},
  limits: Partial<Limits> = {},
) {
  const [near, far] = createConnectionPair();
  const { finished } = serve({ connection: far, limits: server }, routes);
  const client = await connect(near, { limits });
  return {
    client,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await finished;
    },
  };
}

/** A service of four kinds whose messages are of one type. */
function serviceOf<Message, Init>(codec: Codec<Message, Init>) {
  const types = { input: codec, output: codec };
  return {
    typeName: TestService.typeName,
    method: {
      echo: { name: "Echo", methodKind: "unary", ...types },
      count: { name: "Count", methodKind: "server_streaming", ...types },
      sum: { name: "Sum", methodKind: "client_streaming", ...types },
      chat: { name: "Chat", methodKind: "bidi_streaming", ...types },
    },
  } as const satisfies ServiceDescriptor;
}

/** Sends back the first message. */
async function first<Message>(messages: AsyncIterable<Message>): Promise<Message> {
  for await (const message of messages) return message;
  throw new RpcError(Code.NOT_FOUND, "there was no message");
}

function sendsBack<Message>(codec: Codec<Message, Message>) {
  return (router: Router) =>
    router.service(serviceOf(codec), {
      echo: (message) => message,
      count: async function* (message) {
        yield await message;
      },
      sum: first,
      chat: async function* (messages) {
        yield await first(messages);
      },
    });
}

/** Calls with a message, and takes the first answer. */
function send<Message>(
  kind: MethodKind,
  client: Client,
  codec: Codec<Message, Message>,
  message: Message,
): Promise<Message> {
  const service = client.service(serviceOf(codec));
  if (kind === "unary") return service.echo(message);
  if (kind === "client_streaming") return service.sum([message]);
  return first(kind === "server_streaming" ? service.count(message) : service.chat([message]));
}

const service = (router: Router) => router.service(TestService, testHandlers);

for (const kind of KINDS) {
  Deno.test(`a server refuses a ${kind} request of too many small parts`, async () => {
    await using bed = await bedOf(service);
    await rejects(send(kind, bed.client, bytesCodec, BOMB), refusal(kind));
    await callOf(kind, bed.client.service(TestService)); // the connection lives
  });

  Deno.test(`a client refuses a ${kind} response of too many small parts`, async () => {
    const answer = () => Promise.resolve(BOMB);
    const answers = async function* () {
      yield await answer();
    };
    const handlers = { echo: answer, count: answers, sum: answer, chat: answers };
    await using bed = await bedOf((router) => router.service(serviceOf(bytesCodec), handlers));
    await rejects(callOf(kind, bed.client.service(TestService)), refusal(kind));
    deepEqual(await send(kind, bed.client, bytesCodec, BOMB), BOMB); // bytes are what they are
  });

  Deno.test(`limits.decodeFactor is what both sides allow a ${kind} call`, async () => {
    const limits = { decodeFactor: 1_000 };
    await using bed = await bedOf(sendsBack(schemaCodec(EmptySchema)), limits);
    deepEqual(await send(kind, bed.client, bytesCodec, BOMB), BOMB);
    const strict = { decodeFactor: 3 };
    await using other = await bedOf(sendsBack(bytesCodec), {}, strict);
    const codec = { ...schemaCodec(EmptySchema), encode: () => BOMB, transfers: false };
    await rejects(
      send(kind, other.client, codec, create(EmptySchema)),
      refusal(kind, 3, 19_922_944),
    );
  });

  Deno.test(`a proxy with types passes on fields that it does not know, in a ${kind} call`, async () => {
    await using backend = await bedOf(sendsBack(bytesCodec));
    const empty = schemaCodec(EmptySchema);
    await using proxy = await bedOf((router) =>
      router.service(serviceOf(empty), {
        echo: (message) => send("unary", backend.client, empty, message),
        count: async function* (message) {
          yield await send("server_streaming", backend.client, empty, message);
        },
        sum: async (messages) =>
          await send("client_streaming", backend.client, empty, await first(messages)),
        chat: async function* (messages) {
          yield await send("bidi_streaming", backend.client, empty, await first(messages));
        },
      })
    );
    const fields = { text: "x".repeat(3_000_000), payload: new Uint8Array(500_000).fill(7) };
    const long = toBinary(EchoRequestSchema, create(EchoRequestSchema, fields));
    const pairs = Array.from({ length: 40_000 }, (_, at) => ({ key: `key-${at}`, value: "value" }));
    const parts = toBinary(EchoResponseSchema, create(EchoResponseSchema, { metadata: pairs }));
    for (const message of [long, parts, unknownFields(10_000)]) {
      deepEqual(await send(kind, proxy.client, bytesCodec, message), message);
    }
  });

  Deno.test(`200,000 strings, or messages, of ten bytes are no bar to a ${kind} call`, async () => {
    const paths = Array.from({ length: 200_000 }, (_, at) => `${at}`.padStart(10, "x"));
    const mask = schemaCodec(FieldMaskSchema) as Codec<{ paths: string[] }>;
    await using strings = await bedOf(sendsBack(mask));
    const { paths: received } = await send(kind, strings.client, mask, { paths });
    equal(received.length, paths.length);
    equal(received.at(-1), "xxxx199999");

    const metadata = paths.map((path) => ({ key: path.slice(-3), value: path.slice(-6, -3) }));
    type Echo = { metadata: { key: string; value: string }[] };
    const echo = schemaCodec(EchoResponseSchema) as unknown as Codec<Echo>;
    await using messages = await bedOf(sendsBack(echo));
    const pairs = (await send(kind, messages.client, echo, { metadata })).metadata;
    equal(pairs.length, 200_000);
    deepEqual([pairs.at(-1)!.key, pairs.at(-1)!.value], ["999", "199"]);
  });
}

Deno.test("a handler of a message that is refused does not run; one of a stream hears why", async () => {
  const heard: unknown[] = [];
  const { echo, count } = handlersThat((_, kind) => heard.push(kind));
  await using bed = await bedOf((router) =>
    router.service(TestService, {
      ...testHandlers,
      ...{ echo: echo!, count: count! },
      sum: async (requests) => {
        const error = await first(requests).then(() => "no error", (error) => error);
        heard.push(error.code);
        throw error;
      },
    })
  );
  for (const kind of ["unary", "server_streaming", "client_streaming"] as const) {
    await rejects(send(kind, bed.client, bytesCodec, BOMB), refusal(kind));
  }
  deepEqual(heard, [Code.RESOURCE_EXHAUSTED]);
});
