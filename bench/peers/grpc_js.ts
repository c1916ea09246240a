import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  Client,
  credentials,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
} from "npm:@grpc/grpc-js@1.14.7";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import type { Writable } from "node:stream";
import {
  BenchService,
  type Collected,
  CollectedSchema,
  type CreateTaskRequest,
  type Payload,
  PayloadSchema,
  type ProduceRequest,
  ProduceRequestSchema,
} from "../gen/ttrpc/bench/v1/bench_pb.ts";
import { collected, payloads, produced, realisticOf } from "./messages.ts";
import type { Tally } from "./meter.ts";
import { check, checkCount, checkId, payloadOf, runPeer } from "./peer.ts";
import type { Plan } from "../workloads.ts";

type Reply<T> = (error: null, response: T) => void;

await runPeer({
  serve(path) {
    const server = new Server();
    const { method } = BenchService;
    server.addService({
      echo: definition(method.echo),
      create: definition(method.create),
      produce: definition(method.produce),
      collect: definition(method.collect),
      chat: definition(method.chat),
    }, {
      echo: ({ request }: ServerUnaryCall<Payload, Payload>, reply: Reply<Payload>) =>
        reply(null, create(PayloadSchema, { payload: request.payload })),
      create: (
        { request }: ServerUnaryCall<CreateTaskRequest, CreateTaskRequest>,
        reply: Reply<CreateTaskRequest>,
      ) => reply(null, request),
      produce: (call: ServerWritableStream<ProduceRequest, Payload>) =>
        void write(produced(call.request), call),
      collect: async (call: ServerReadableStream<Payload, Collected>, reply: Reply<Collected>) =>
        reply(null, create(CollectedSchema, await collected(call))),
      chat: (call: ServerDuplexStream<Payload, Payload>) => chatWith(call),
    });
    return new Promise((resolve, reject) =>
      server.bindAsync(
        `unix:${path}`,
        ServerCredentials.createInsecure(),
        (error) => error ? reject(error) : resolve(undefined),
      )
    );
  },

  connect(path, plan) {
    const client = new Client(`unix:${path}`, credentials.createInsecure());
    return { call: callOf(client, plan) };
  },
});

function callOf(client: Client, plan: Plan): (tally: Tally) => Promise<void> {
  const { method } = BenchService;
  switch (plan.kind) {
    case "unary": {
      if (plan.realistic) {
        const message = realisticOf(plan);
        return async (tally) => {
          checkId(await unary(client, definition(method.create), message), message);
          tally.completed(1);
        };
      }
      const payload = payloadOf(plan);
      const echo = definition(method.echo);
      return async (tally) => {
        const request = create(PayloadSchema, { payload });
        check((await unary(client, echo, request)).payload, plan);
        tally.completed(1);
      };
    }
    case "server_stream": {
      const { path, requestSerialize, responseDeserialize } = definition(method.produce);
      const request = create(ProduceRequestSchema, { count: plan.perStream, bytes: plan.bytes });
      return async (tally) => {
        const stream = client.makeServerStreamRequest(
          path,
          requestSerialize,
          responseDeserialize,
          request,
        );
        for await (const _ of stream) tally.completed(1);
      };
    }
    case "client_stream": {
      const { path, requestSerialize, responseDeserialize } = definition(method.collect);
      return async (tally) => {
        const { count } = await new Promise<Collected>((resolve, reject) => {
          const stream = client.makeClientStreamRequest(
            path,
            requestSerialize,
            responseDeserialize,
            (error, response) => error ? reject(error) : resolve(response!),
          );
          write(payloads(plan), stream).catch(reject);
        });
        checkCount(count, plan);
        tally.completed(count);
      };
    }
    case "bidi_stream": {
      const { path, requestSerialize, responseDeserialize } = definition(method.chat);
      return async (tally) => {
        const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
        const written = write(payloads(plan), stream);
        for await (const { payload } of stream as AsyncIterable<Payload>) {
          check(payload, plan);
          tally.completed(1);
        }
        await written;
      };
    }
  }
}

function unary<I, O>(client: Client, method: MethodDefinition<I, O>, request: I): Promise<O> {
  return new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      (error, response) => error ? reject(error) : resolve(response!),
    )
  );
}

// Iterating over a duplex stream would destroy it at the end, with the responses.
function chatWith(call: ServerDuplexStream<Payload, Payload>): void {
  call.on("data", ({ payload }: Payload) => {
    if (call.write(create(PayloadSchema, { payload }))) return;
    call.pause();
    call.once("drain", () => call.resume());
  });
  call.on("end", () => call.end());
}

/** Writes messages as fast as the stream accepts them. */
async function write(messages: AsyncIterable<object>, to: Writable): Promise<void> {
  for await (const message of messages) {
    if (!to.write(create(PayloadSchema, message))) await once(to, "drain");
  }
  to.end();
}

type Described<I, O> = Pick<DescMethod, "parent" | "name" | "methodKind"> & { input: I; output: O };

/** A method with the same codec as ours, so that only the RPC systems differ. */
function definition<I extends DescMessage, O extends DescMessage>(
  { parent, name, methodKind, input, output }: Described<I, O>,
): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  return {
    path: `/${parent.typeName}/${name}`,
    requestStream: methodKind === "client_streaming" || methodKind === "bidi_streaming",
    responseStream: methodKind === "server_streaming" || methodKind === "bidi_streaming",
    requestSerialize: (message) => bufferOf(toBinary(input, message)),
    requestDeserialize: (bytes) => fromBinary(input, bytes),
    responseSerialize: (message) => bufferOf(toBinary(output, message)),
    responseDeserialize: (bytes) => fromBinary(output, bytes),
  };
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
