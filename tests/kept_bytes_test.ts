// What is kept of a message keeps little else in memory.

import { create, createFileRegistry, fromBinary, isFieldSet, toBinary } from "@bufbuild/protobuf";
import {
  AnySchema,
  BytesValueSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  StructSchema,
} from "@bufbuild/protobuf/wkt";
import { connect, createConnectionPair, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok } from "node:assert/strict";
import { schemaCodec } from "../codec.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { ownBytes } from "../codecs/kept_bytes.ts";
import { testHandlers } from "./fixture.ts";

/** Bytes as they are received: a part of a read buffer. */
function received(bytes: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(1 << 15);
  buffer.set(bytes, 100);
  return buffer.subarray(100, 100 + bytes.length);
}

function filled(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at);
}

Deno.test("ownBytes() keeps at most eight times the bytes, and 1 KiB", () => {
  for (const length of [0, 1, 16, 255, 256, 257, 1_023, 1_024, 3_000, 3_967, 20_000, 32_000]) {
    const bytes = filled(length);
    const own = ownBytes(received(bytes));
    deepEqual(own, bytes);
    ok(own.buffer.byteLength <= 8 * length + 1_024, `${length}: ${own.buffer.byteLength}`);
  }
});

Deno.test("ownBytes() leaves alone what keeps no more", () => {
  const bytes = filled(100);
  equal(ownBytes(bytes), bytes);
  const long = received(filled((32_768 - 1_024) / 8));
  equal(ownBytes(long), long);
  const shorter = long.subarray(1);
  deepEqual(ownBytes(shorter), shorter);
  equal(ownBytes(shorter).buffer === shorter.buffer, false);
});

Deno.test("ownBytes() puts values side by side, never one over another", () => {
  const values = Array.from({ length: 300 }, (_, at) => new Uint8Array(at * at % 4_500).fill(at));
  const own = values.map((value) => ownBytes(inMuch(value)));
  deepEqual(own, values);
  for (const { buffer, length } of own) ok(buffer.byteLength <= 8 * length + 1_024, `${length}`);
});

Deno.test("ownBytes() goes on when somebody has given its memory away", () => {
  const given = ownBytes(received(filled(16)));
  (given.buffer as ArrayBuffer).transfer();
  const own = ownBytes(received(filled(16)));
  deepEqual(own, filled(16));
});

Deno.test("ownBytes() has memory made for several values at once, but for the longest", () => {
  const cases = [[16, 64], [255, 4], [256, 12], [1_023, 3], [1_024, 9], [4_095, 2], [4_096, 1]];
  for (const [length, together] of cases) {
    const values = Array.from({ length: 360 }, () => ownBytes(inMuch(filled(length!))));
    const buffers = new Set(values.map(({ buffer }) => buffer)).size;
    const least = Math.ceil(360 / together!); // but for room that was left before
    ok(buffers === least || buffers === least + 1, `${length} bytes: ${buffers} buffers`);
  }
});

/** Bytes in a buffer so large that all of them are copied. */
function inMuch(bytes: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(1 << 18);
  buffer.set(bytes, 100);
  return buffer.subarray(100, 100 + bytes.length);
}

Deno.test("a handler that keeps 16 bytes of each call does not keep the read buffers", async () => {
  const [near, far] = createConnectionPair();
  const kept: Uint8Array[] = [];
  await using _server = serve({ connection: far }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      echo: ({ payload }) => (kept.push(payload), {}),
    }));
  await using client = await connect(near);
  const service = client.service(TestService);
  for (let i = 0; i < 200; i++) {
    await service.echo({ payload: new Uint8Array(16).fill(i), text: "x".repeat(1_000) });
  }
  kept.forEach((payload, at) => deepEqual(payload, new Uint8Array(16).fill(at)));
  const buffers = new Set(kept.map(({ buffer }) => buffer));
  const bytes = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
  ok(bytes <= 2 * 200 * 16 + 1_024, `${bytes}`);
});

/** What a message keeps in memory, if all of it is kept: each of its bytes, with its buffer. */
function* bytesIn(value: unknown): Generator<Uint8Array> {
  if (value instanceof Uint8Array) yield value;
  else if (typeof value === "object" && value !== null) {
    for (const member of Object.values(value)) yield* bytesIn(member);
  }
}

/**
 * A type that can have bytes in every way, and one that has none.
 *
 * @param newer Whether each of them has a field 1,000 of bytes, which the older ones do not know.
 */
function schemasOf(syntax: "proto2" | "proto3", newer: boolean) {
  const field = (name: string, number: number, type: string, rest: object = {}) => ({
    name,
    number,
    label: Label.OPTIONAL,
    ...type === "bytes" ? { type: Type.BYTES } : { type: Type.MESSAGE, typeName: type },
    ...rest,
  });
  const many = { label: Label.REPEATED };
  const strange = newer ? [field("strange", 1_000, "bytes")] : [];
  const entry = (name: string, type: string) => ({
    name,
    options: { mapEntry: true },
    field: [field("key", 1, "bytes", { type: Type.STRING }), field("value", 2, type)],
  });
  const wrapper = ".google.protobuf.BytesValue";
  const file = create(FileDescriptorProtoSchema, {
    name: "all.proto",
    syntax,
    dependency: ["any", "struct", "wrappers"].map((name) => `google/protobuf/${name}.proto`),
    messageType: [{
      name: "All",
      oneofDecl: [{ name: "kind" }],
      nestedType: [
        entry("TableEntry", "bytes"),
        entry("ChildrenEntry", ".All"),
        entry("WrappersEntry", wrapper),
      ],
      field: [
        field("data", 1, "bytes"),
        field("many", 2, "bytes", many),
        field("table", 3, ".All.TableEntry", many),
        field("part", 4, "bytes", { oneofIndex: 0 }),
        field("child_part", 5, ".All", { oneofIndex: 0 }),
        field("wrapped_part", 6, wrapper, { oneofIndex: 0 }),
        field("child", 7, ".All"),
        field("list", 8, ".All", many),
        field("children", 9, ".All.ChildrenEntry", many),
        field("wrapped", 10, wrapper),
        field("wrapped_list", 11, wrapper, many),
        field("wrappers", 12, ".All.WrappersEntry", many),
        field("any", 13, ".google.protobuf.Any"),
        field("bare", 14, ".Bare"),
        field("bares", 15, ".Bare", many),
        field("json", 16, ".google.protobuf.Struct"),
        field("value", 17, ".google.protobuf.Value"),
        field("preset", 18, "bytes", syntax === "proto2" ? { defaultValue: "\\001\\002" } : {}),
        ...strange,
      ],
    }, {
      name: "Bare",
      field: [field("inner", 1, ".Bare"), ...strange],
    }],
  });
  const known = [AnySchema, StructSchema, BytesValueSchema].map((schema) => schema.file.proto);
  const registry = createFileRegistry(
    file,
    (name) => known.find((proto) => proto.name === name),
  );
  return registry.getMessage("All")!;
}

/** A message of that type with bytes in one place, or in several. */
function messagesWith(bytes: Uint8Array): Record<string, Record<string, unknown>> {
  const json = { $unknown: [1], fields: { a: "b" }, list: [{ value: null }] };
  return {
    "a field": { data: bytes },
    "a list": { many: [bytes, new Uint8Array(0), bytes] },
    "a map": { table: { a: bytes, ["__proto__"]: bytes, "": bytes } },
    "a oneof": { kind: { case: "part", value: bytes } },
    "a message in a oneof": { kind: { case: "childPart", value: { data: bytes } } },
    "a wrapper in a oneof": { kind: { case: "wrappedPart", value: { value: bytes } } },
    "a message": { child: { child: { child: { data: bytes } } } },
    "a list of messages": { list: [{}, { data: bytes }, { list: [{ many: [bytes] }] }] },
    "a map of messages": { children: { a: { data: bytes }, b: {} } },
    "a wrapper": { wrapped: bytes },
    "a list of wrappers": { wrappedList: [{ value: bytes }, {}] },
    "a map of wrappers": { wrappers: { a: { value: bytes } } },
    "an Any": { any: { typeUrl: "x/y", value: bytes } },
    "an unknown field": { strange: bytes },
    "an unknown field of a message without bytes": { bare: { strange: bytes } },
    "an unknown field deep in such messages": {
      bares: [{}, { inner: { inner: { strange: bytes } } }],
    },
    "an unknown field of a message in a oneof": {
      kind: { case: "childPart", value: { strange: bytes } },
    },
    "an unknown field beside JSON": {
      json,
      value: { kind: { case: "structValue", value: { fields: {} } } },
      strange: bytes,
    },
    "a field with a default": { preset: bytes },
    "no field": {},
  };
}

for (const syntax of ["proto2", "proto3"] as const) {
  const newer = schemasOf(syntax, true);
  const schema = schemasOf(syntax, false);
  const codec = schemaCodec(schema);
  for (const name of Object.keys(messagesWith(filled(0)))) {
    Deno.test(`a ${syntax} message with bytes in ${name} keeps little when it is kept`, () => {
      for (const length of [0, 1, 255, 256, 1_023, 1_024, 3_000]) {
        const encoded = toBinary(newer, create(newer, messagesWith(filled(length))[name]));
        const message = codec.decode(received(encoded));
        deepEqual(message, fromBinary(schema, encoded));
        deepEqual(toBinary(schema, message), toBinary(schema, fromBinary(schema, encoded)));
        for (const { buffer, length } of bytesIn(message)) {
          ok(buffer.byteLength <= 8 * length + 1_024, `${length} in ${buffer.byteLength}`);
        }
      }
    });
  }
}

Deno.test("unknown fields of a Struct in a Value keep little, too", () => {
  // All.value, Value.struct_value, and a field 1,000 that Struct does not have.
  const encoded = new Uint8Array([0x8a, 1, 7, 0x2a, 5, 0xc2, 0x3e, 2, 7, 8]);
  const schema = schemasOf("proto3", false);
  const message = schemaCodec(schema).decode(received(encoded));
  deepEqual(toBinary(schema, message), encoded);
  const [data] = [...bytesIn((message as unknown as { value: unknown }).value)];
  equal(data!.buffer.byteLength, 1_024);
});

Deno.test("a field that is not set stays so, whatever its default", () => {
  const schema = schemasOf("proto2", false);
  const message = schemaCodec(schema).decode(received(new Uint8Array(0)));
  equal(isFieldSet(message, schema.field["preset"]!), false);
  deepEqual((message as unknown as { preset: Uint8Array }).preset, new Uint8Array([1, 2]));
});
