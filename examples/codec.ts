// deno run --allow-net=unix:/tmp/codec.sock,unix:/tmp/codec.sock.new/s --allow-read=/tmp --allow-write=/tmp/codec.sock,/tmp/codec.sock.new examples/codec.ts /tmp/codec.sock
//
// A service without protobuf: its messages are text and JSON, encoded and decoded by this program.
// `@ttrpc/ttrpc/core` loads no protobuf-es, which saves memory.

import { type Codec, connect, serve, type ServiceDescriptor } from "@ttrpc/ttrpc/core";

const [path = "/tmp/codec.sock"] = Deno.args;

const text: Codec<string> = {
  encode: (message) => new TextEncoder().encode(message),
  // What `decode` throws fails the call, and the connection goes on.
  decode: (bytes) => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
};

/** JSON of one type. What comes from a peer may be anything, so it is checked. */
function json<T>(check: (value: unknown) => value is T): Codec<T> {
  return {
    encode: (message) => text.encode(JSON.stringify(message)),
    decode: (bytes) => {
      const value: unknown = JSON.parse(text.decode(bytes));
      if (!check(value)) throw new TypeError("the JSON is not of the type that is expected");
      return value;
    },
  };
}

const numbers = json((value): value is number[] =>
  Array.isArray(value) && value.every(Number.isFinite)
);

// What a generated file has of a service: names, kinds, and what encodes and decodes.
const Words = {
  typeName: "example.Words",
  method: {
    split: { name: "Split", methodKind: "server_streaming", input: text, output: text },
    lengths: { name: "Lengths", methodKind: "unary", input: text, output: numbers },
  },
} as const satisfies ServiceDescriptor;

await using server = serve({ path }, (router) =>
  router.service(Words, {
    split: (line) => line.split(" "),
    lengths: (line) => line.split(" ").map(({ length }) => length),
  }));
await server.listening;

await using client = await connect({ path });
const words = client.service(Words);
for await (const word of words.split("no protobuf here")) console.log(word);
console.log(await words.lengths("no protobuf here"));
