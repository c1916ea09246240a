/** What is called in these tests: the streaming service, and our own server with all services. */

import {
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { Empty } from "@bufbuild/protobuf/wkt";
import {
  type Client,
  Code,
  type Codec,
  type MethodDescriptor,
  type MethodKind,
  RpcError,
  serve,
  type Server,
  type ServeSettings,
  type ServiceHandlers,
} from "@ttrpc/ttrpc";
import { equal } from "node:assert/strict";
import { Greeter } from "../../gen/greeter/v1/greeter_pb.ts";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder, type TestHandlers, testHandlers } from "../fixture.ts";
import { streamingDescriptors } from "./peer.ts";

/** The longest data of a frame. */
export const MESSAGE_BYTES = 4 << 20;

/** Checks that a connection still works. */
export async function alive(client: Client): Promise<void> {
  const { text } = await client.service(TestService).echo({ text: "still here?" });
  equal(text, "still here?");
}

/** A message of `ttrpc.integration.streaming`. */
export interface EchoPayload {
  seq: number;
  msg: string;
}

/** A message of `ttrpc.integration.streaming`. */
export interface Part {
  add: number;
}

/** A message of `ttrpc.integration.streaming`. */
export interface Sum {
  sum: number;
  num: number;
}

type Messages<T> = Codec<T, Partial<T>>;
type Describe<Kind extends MethodKind, Request, Response> = MethodDescriptor<
  Kind,
  Messages<Request>,
  Messages<Response>
>;

/** The type of {@linkcode streamingService}. */
export interface StreamingService {
  readonly typeName: string;
  readonly method: {
    readonly echo: Describe<"unary", EchoPayload, EchoPayload>;
    readonly echoStream: Describe<"bidi_streaming", EchoPayload, EchoPayload>;
    readonly sumStream: Describe<"client_streaming", Part, Sum>;
    readonly divideStream: Describe<"server_streaming", Sum, Part>;
    readonly echoNull: Describe<"client_streaming", EchoPayload, Empty>;
    readonly echoNullStream: Describe<"bidi_streaming", EchoPayload, Empty>;
    readonly emptyPayloadStream: Describe<"server_streaming", Empty, EchoPayload>;
  };
}

/** The service of Go's own integration tests, as the Go module describes it. */
export async function streamingService(): Promise<StreamingService> {
  const registry = createFileRegistry(await streamingDescriptors());
  const service = registry.getService("ttrpc.integration.streaming.Streaming");
  if (!service) throw new Error("Cannot find the streaming service in what Go describes");
  const describe = (name: string) => {
    const { methodKind, name: wireName, input, output } = service.method[name]!;
    return { name: wireName, methodKind, input: codec(input), output: codec(output) };
  };
  const method = Object.fromEntries(
    Object.keys(service.method).map((name) => [
      name,
      describe(name),
    ]),
  );
  return { typeName: service.typeName, method: method as unknown as StreamingService["method"] };
}

function codec<Desc extends DescMessage>(schema: Desc): Codec<unknown> {
  return {
    encode: (init) => toBinary(schema, create(schema, init as MessageInitShape<Desc>)),
    decode: (bytes) => fromBinary(schema, bytes),
  };
}

/** The only text that EchoNull and EchoNullStream take. */
export const NULL_TEXT = "non-empty empty";

/** How often EchoNullStream answers each message. */
export const NULLS_PER_MESSAGE = 10;

/** Behaves as the service in Go's integration tests does. */
export const streamingHandlers: ServiceHandlers<StreamingService> = {
  echo: ({ seq, msg }) => ({ seq: seq + 1, msg }),
  async *echoStream(payloads) {
    for await (const { seq, msg } of payloads) yield { seq: seq + 1, msg };
  },
  sumStream: async (parts) => {
    const total = { sum: 0, num: 0 };
    for await (const { add } of parts) {
      total.sum += add;
      total.num++;
    }
    return total;
  },
  *divideStream({ sum, num }) {
    for (let i = 0; i < num; i++) {
      // The first and the last part are empty messages; the one before the last makes up the sum.
      const add = i === 0 || i === num - 1 ? 0 : i === num - 2 ? sum : 1000 - 77 * i;
      sum -= add;
      yield { add };
    }
  },
  echoNull: async (payloads) => {
    let next = 0;
    for await (const payload of payloads) expectNull(payload, next++);
    return {};
  },
  async *echoNullStream(payloads) {
    let next = 0;
    for await (const payload of payloads) {
      expectNull(payload, next++);
      for (let i = 0; i < NULLS_PER_MESSAGE; i++) yield {};
    }
  },
  *emptyPayloadStream() {
    yield { seq: 1 };
    yield { seq: 2 };
  },
};

function expectNull({ seq, msg }: EchoPayload, next: number): void {
  if (seq === next && msg === NULL_TEXT) return;
  throw new Error(`expected message ${next}, "${NULL_TEXT}", got ${seq}, "${msg}"`);
}

const handlers: TestHandlers = {
  ...testHandlers,
  sleep: (request, context) => {
    if (request.milliseconds < 0) throw new Error(`cannot sleep for ${request.milliseconds} ms`);
    return testHandlers.sleep(request, context);
  },
  async *chat(requests) {
    for await (const { payload, text } of requests) {
      if (text === "fail") throw new RpcError(Code.FAILED_PRECONDITION, "asked to fail");
      yield { payload, text };
    }
  },
};

/** A server of all three services on a socket of its own. */
export class OurServer implements AsyncDisposable {
  readonly server: Server;
  readonly path: string;
  readonly #socket = new SocketFolder();

  private constructor(
    streaming: StreamingService,
    different: Partial<TestHandlers>,
    settings: ServeSettings,
  ) {
    this.path = this.#socket.path;
    this.server = serve({ ...settings, path: this.path }, (router) =>
      router
        .service(TestService, { ...handlers, ...different })
        .service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) })
        .service(streaming, streamingHandlers));
  }

  /** Starts one, with some handlers of the test service replaced. */
  static async start(
    different: Partial<TestHandlers> = {},
    settings: ServeSettings = {},
  ): Promise<OurServer> {
    return new OurServer(await streamingService(), different, settings);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
    await this.server.finished;
    this.#socket[Symbol.dispose]();
  }
}
