/** For tests of what holds for all kinds of call. */

import {
  bytesCodec,
  type CallOptions,
  type Client,
  type HandlerContext,
  type Interceptor,
  type MethodKind,
  type ServiceClient,
  type ServiceDescriptor,
} from "@ttrpc/ttrpc";
import { create, toBinary } from "@bufbuild/protobuf";
import { EchoRequestSchema, TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import type { TestHandlers } from "./fixture.ts";

export { CountedSignal } from "./counted_signal.ts";

/** The kinds of call. */
export const KINDS = [
  "unary",
  "server_streaming",
  "client_streaming",
  "bidi_streaming",
] as const satisfies MethodKind[];

/** The method of the test service that is called for each kind. */
export const METHODS = {
  unary: "Echo",
  server_streaming: "Count",
  client_streaming: "Sum",
  bidi_streaming: "Chat",
} as const;

export type TestClient = ServiceClient<typeof TestService>;

/** Makes a call of a kind, and takes all of its answer. */
export function callOf(
  kind: MethodKind,
  service: TestClient,
  options?: CallOptions,
): Promise<unknown> {
  if (kind === "unary") return service.echo({ text: "x" }, options);
  if (kind === "client_streaming") return service.sum([{ value: 1n }], options);
  if (kind === "server_streaming") return all(service.count({ count: 1 }, options));
  return all(service.chat([{ text: "x" }], options));
}

/** Makes a call of a kind with messages that are encoded already, and takes all of its answer. */
export function rawCallOf(
  kind: MethodKind,
  client: Client,
  options?: CallOptions,
): Promise<unknown> {
  const method = METHODS[kind];
  const none = new Uint8Array(0);
  const request = kind === "unary" || kind === "server_streaming" ? none : [none];
  return kind === "unary" || kind === "client_streaming"
    ? client.callRaw(TestService.typeName, method, request, options)
    : all(client.streamRaw(TestService.typeName, method, request, options));
}

/** Takes all messages, and does not say that no more are wanted when one fails. */
async function all<T>(messages: AsyncIterator<T>): Promise<T[]> {
  const taken: T[] = [];
  for (;;) {
    const { done, value } = await messages.next();
    if (done) return taken;
    taken.push(value);
  }
}

/** Handlers of each kind that do the same before they answer. */
export function handlersThat(
  run: (context: HandlerContext, kind: MethodKind) => unknown,
): Partial<TestHandlers> {
  return {
    echo: async ({ text }, context) => {
      await run(context, "unary");
      return { text };
    },
    async *count(_request, context) {
      await run(context, "server_streaming");
      yield { value: 1n };
    },
    sum: async (requests, context) => {
      await run(context, "client_streaming");
      for await (const _ of requests);
      return { value: 1n };
    },
    async *chat(requests, context) {
      await run(context, "bidi_streaming");
      for await (const { text } of requests) yield { text };
    },
  };
}

/** The interceptors that a test of all calls is run with: none, one that adds nothing, and a slow one. */
export const INTERCEPTORS: Readonly<Record<string, readonly Interceptor[]>> = {
  "without interceptors": [],
  "with an interceptor": [(next) => (request) => next(request)],
  "with a slow interceptor": [(next) => async (request) => {
    for (let i = 0; i < 50; i++) await undefined; // not a timer, which could outlast its test
    return await next(request);
  }],
};

/** A service whose only method may be called again. */
export const Idempotent = {
  typeName: "ttrpc.test.Idempotent",
  method: {
    read: {
      name: "Read",
      methodKind: "unary",
      input: bytesCodec,
      output: bytesCodec,
      idempotency: 1,
    },
  },
} as const satisfies ServiceDescriptor;

/** Asks for nothing, with so many bytes that the calls after it have to wait for the socket. */
export const LONG_REQUEST: Uint8Array = toBinary(
  EchoRequestSchema,
  create(EchoRequestSchema, { payload: new Uint8Array(300_000) }),
);
