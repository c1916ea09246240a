// How messages of protobuf-es are encoded: those with long bytes differently.

import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import "@ttrpc/ttrpc";
import { deepEqual, equal, throws } from "node:assert/strict";
import { schemaCodec } from "../codec.ts";
import { EchoRequestSchema } from "../gen/ttrpc/test/v1/test_pb.ts";

const LENGTHS = [0, 1, 8_191, 8_192, 8_193, 100_000];

/** A message with bytes in every way that a message can have them, of proto2 or proto3. */
function schemaOf(syntax: "proto2" | "proto3") {
  const field = (name: string, number: number, rest: object = {}) => ({
    name,
    number,
    type: Type.BYTES,
    label: Label.OPTIONAL,
    ...rest,
  });
  const file = create(FileDescriptorProtoSchema, {
    name: "chunk.proto",
    syntax,
    messageType: [{
      name: "Chunk",
      oneofDecl: [{ name: "kind" }, { name: "_maybe" }],
      field: [
        field("data", 1),
        field("text", 2, { type: Type.STRING }),
        field("part", 3, { oneofIndex: 0 }),
        field("name", 4, { oneofIndex: 0, type: Type.STRING }),
        field("many", 5, { label: Label.REPEATED }),
        syntax === "proto3"
          ? field("maybe", 6, { oneofIndex: 1, proto3Optional: true })
          : field("maybe", 6, { label: Label.REQUIRED }),
        field("child", 7, { type: Type.MESSAGE, typeName: ".Chunk" }),
        field("other", 2_000, {}),
      ],
    }],
  });
  if (syntax === "proto2") file.messageType[0]!.oneofDecl.pop();
  return createFileRegistry(file, () => undefined).getMessage("Chunk")!;
}

for (const syntax of ["proto2", "proto3"] as const) {
  Deno.test(`a ${syntax} message with long bytes is encoded as one that protobuf-es reads`, () => {
    const schema = schemaOf(syntax);
    const codec = schemaCodec(schema);
    for (const length of LENGTHS) {
      const bytes = new Uint8Array(length).fill(5);
      const inits: Record<string, unknown>[] = [
        { data: bytes },
        { text: "before", data: bytes, other: bytes },
        { kind: { case: "part", value: bytes } },
        { kind: { case: "name", value: "x".repeat(length) }, data: bytes },
        { many: [bytes, bytes], child: { data: bytes, maybe: bytes } },
        { data: bytes, $unknown: [{ no: 99, wireType: 0, data: new Uint8Array([1]) }] },
      ];
      for (const init of inits) {
        const message = create(schema, { maybe: bytes, ...init });
        const before = structuredClone(message);
        const again = fromBinary(schema, codec.encode(message));
        deepEqual(again, fromBinary(schema, toBinary(schema, message)));
        deepEqual(structuredClone(message), before);
      }
    }
  });
}

Deno.test("long bytes that are not set are not sent, and those that are required are missed", () => {
  const optional = schemaOf("proto3");
  const bytes = new Uint8Array(10_000);
  const codec = schemaCodec(optional);
  const decoded = fromBinary(optional, codec.encode(create(optional, { data: bytes })));
  equal("maybe" in decoded, false);
  const required = schemaOf("proto2");
  const encode = () => schemaCodec(required).encode(create(required, { data: bytes }));
  throws(encode, /required field not set/);
});

Deno.test("what is no bytes is refused, however long it is", () => {
  const codec = schemaCodec(EchoRequestSchema);
  const text = "x".repeat(10_000);
  // deno-lint-ignore no-explicit-any
  throws(() => codec.encode({ payload: text } as any), /ttrpc.test.v1.EchoRequest.payload/);
});

Deno.test("a long message is given away in memory of its own, with room for a header", () => {
  const payload = new Uint8Array(100_000).fill(1);
  const bytes = schemaCodec(EchoRequestSchema).encode({ payload });
  equal(bytes.byteOffset >= 100, true);
  bytes.fill(0);
  equal(payload.every((byte) => byte === 1), true);
});
