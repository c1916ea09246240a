// What a message takes is known before it is decoded.

import {
  create,
  createFileRegistry,
  type DescField,
  type DescMessage,
  fromBinary,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  AnySchema,
  BytesValueSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  StructSchema,
} from "@bufbuild/protobuf/wkt";
import { concat } from "@std/bytes/concat";
import fc from "fast-check";
import { equal, ok, throws } from "node:assert/strict";
import { EchoResponseSchema, FailRequestSchema } from "../gen/ttrpc/test/v1/test_pb.ts";
import { DECODE_BYTES } from "../limits.ts";
import { MessageCost } from "../codecs/message_cost.ts";
import { mutated } from "./fuzz/target.ts";

const MIB = 1 << 20;

/** A type with fields of every kind. */
function everythingOf(syntax: "proto2" | "proto3"): DescMessage {
  const field = (name: string, number: number, type: Type | string, rest: object = {}) => ({
    name,
    number,
    label: Label.OPTIONAL,
    ...typeof type === "number" ? { type } : { type: Type.MESSAGE, typeName: type },
    ...rest,
  });
  const many = { label: Label.REPEATED };
  const entry = (name: string, key: Type, value: Type | string) => ({
    name,
    options: { mapEntry: true },
    field: [field("key", 1, key), field("value", 2, value)],
  });
  const scalars = Object.values(Type).filter((type): type is Type =>
    typeof type === "number" && ![Type.GROUP, Type.MESSAGE, Type.ENUM].includes(type)
  );
  const choice = { type: Type.ENUM, typeName: ".Choice" };
  const file = create(FileDescriptorProtoSchema, {
    name: "everything.proto",
    syntax,
    dependency: ["any", "struct", "wrappers"].map((name) => `google/protobuf/${name}.proto`),
    enumType: [{ name: "Choice", value: [{ name: "NO", number: 0 }, { name: "YES", number: 1 }] }],
    messageType: [{ name: "Empty" }, {
      name: "Everything",
      oneofDecl: [{ name: "kind" }],
      nestedType: [
        entry("NamedEntry", Type.STRING, Type.STRING),
        entry("NumberedEntry", Type.INT64, Type.BYTES),
        entry("ChildrenEntry", Type.UINT32, ".Everything"),
        entry("ObjectsEntry", Type.BOOL, ".google.protobuf.Struct"),
        ...syntax === "proto2" ? [{ name: "Grouped", field: [field("text", 1, Type.STRING)] }] : [],
      ],
      field: [
        ...scalars.map((type) => field(`one_${type}`, type, type)),
        ...scalars.map((type) => field(`list_${type}`, 20 + type, type, many)),
        field("choice", 40, Type.ENUM, choice),
        field("choices", 41, Type.ENUM, { ...choice, ...many }),
        field("child", 42, ".Everything"),
        field("empties", 43, ".Empty", many),
        field("text", 44, Type.STRING, { oneofIndex: 0 }),
        field("part", 45, ".Everything", { oneofIndex: 0 }),
        field("object_part", 46, ".google.protobuf.Struct", { oneofIndex: 0 }),
        field("named", 47, ".Everything.NamedEntry", many),
        field("numbered", 48, ".Everything.NumberedEntry", many),
        field("children", 49, ".Everything.ChildrenEntry", many),
        field("objects", 50, ".Everything.ObjectsEntry", many),
        field("object", 51, ".google.protobuf.Struct"),
        field("value", 52, ".google.protobuf.Value"),
        field("wrapped", 53, ".google.protobuf.Int64Value"),
        field("wrapped_list", 54, ".google.protobuf.BytesValue", many),
        field("any", 55, ".google.protobuf.Any", many),
        field("as_text", 56, Type.INT64, { ...many, options: { jstype: 1 } }),
        field("far", 1_000, Type.STRING),
        ...syntax === "proto2"
          ? [field("grouped", 57, Type.GROUP, { ...many, typeName: ".Everything.Grouped" })]
          : [],
      ],
    }],
  });
  const known = [AnySchema, StructSchema, BytesValueSchema].map((schema) => schema.file.proto);
  const registry = createFileRegistry(
    file,
    (name) => known.find((proto) => proto.name === name),
  );
  return registry.getMessage("Everything")!;
}

const everything3 = everythingOf("proto3");
const everything2 = everythingOf("proto2");

function costOf(schema: DescMessage, bytes: Uint8Array, most = Infinity): number {
  return new MessageCost(schema).count(bytes, most);
}

/** What a message takes at least, as V8 lays out objects. */
function sizeOf(value: unknown): number {
  if (typeof value === "string") return value.length > 1 ? 12 + value.length : 0;
  if (typeof value === "bigint") return value === 0n ? 0 : 16;
  if (value instanceof Uint8Array && value.length === 0) return 0; // all fields share one
  if (value instanceof Uint8Array) return 96 + (value.buffer.byteLength > 1_000 ? 0 : value.length);
  if (typeof value !== "object" || value === null) return 0;
  const { $typeName: _, ...rest } = value as Record<string, unknown>;
  return Object.values(rest).reduce((sum: number, member) => sum + 8 + sizeOf(member), 24);
}

/** Messages of a type as they may come: any fields in any order, as often as they like. */
function encodedOf(schema: DescMessage, depth = 0): fc.Arbitrary<Uint8Array> {
  const fields = schema.fields.flatMap((field) => {
    if (depth > 2 && (field.message || field.fieldKind === "map")) return [];
    return [valueOf(field, depth).map((value) => [field, value] as const)];
  });
  const unknown = fc.tuple(fc.constant(undefined), fc.integer({ min: 5_000, max: 5_010 }));
  const part = fields.length > 0 ? fc.oneof(...fields, unknown) : unknown;
  return fc.array(part, { maxLength: depth === 0 ? 12 : 4 }).map((parts) => {
    const writer = new BinaryWriter();
    for (const [field, value] of parts) {
      if (field === undefined) writer.tag(value as number, WireType.Varint).uint32(7);
      else write(writer, field, value as Value);
    }
    return writer.finish();
  });
}

/** Tags of a type's fields with any wire type, and a few bytes behind each. */
function tagsOf(schema: DescMessage): fc.Arbitrary<Uint8Array> {
  const number = fc.oneof(
    fc.constantFrom(...schema.fields.map(({ number }) => number)),
    fc.integer({ min: 1, max: 20 }),
  );
  const rest = fc.array(fc.constantFrom(0, 0, 1, 2, 3, 5, 8, 0x0a, 0x12, 0x80), { maxLength: 6 });
  return fc.array(fc.tuple(number, fc.nat(5), rest), { maxLength: 8 }).map((tags) => {
    const writer = new BinaryWriter();
    for (const [number, type, bytes] of tags) writer.tag(number, type).raw(Uint8Array.from(bytes));
    return writer.finish();
  });
}

type Value = Uint8Array | number;

function valueOf(field: DescField, depth: number): fc.Arbitrary<Value> {
  if (field.fieldKind === "map") {
    const parts = field.message ? encodedOf(field.message, depth + 1) : fc.constant(undefined);
    return fc.tuple(fc.nat(100), parts).map(([key, value]) => {
      const writer = new BinaryWriter();
      writeScalar(writer, 1, field.mapKey, key);
      if (value) writer.tag(2, WireType.LengthDelimited).bytes(value);
      else writeScalar(writer, 2, field.scalar ?? ScalarType.INT32, key);
      return writer.finish();
    });
  }
  return field.message ? encodedOf(field.message, depth + 1) : fc.nat(1 << 20);
}

function write(writer: BinaryWriter, field: DescField, value: Value): void {
  if (typeof value === "number") {
    writeScalar(writer, field.number, field.scalar ?? ScalarType.INT32, value);
  } else if ("delimitedEncoding" in field && field.delimitedEncoding) {
    writer.tag(field.number, WireType.StartGroup).raw(value);
    writer.tag(field.number, WireType.EndGroup);
  } else writer.tag(field.number, WireType.LengthDelimited).bytes(value);
}

function writeScalar(writer: BinaryWriter, number: number, type: ScalarType, value: number): void {
  switch (type) {
    case ScalarType.STRING:
      writer.tag(number, WireType.LengthDelimited).string("é".repeat(value % 3) + value);
      break;
    case ScalarType.BYTES:
      writer.tag(number, WireType.LengthDelimited).bytes(new Uint8Array(value % 200));
      break;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      writer.tag(number, WireType.Bit64).fixed64(value);
      break;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      writer.tag(number, WireType.Bit32).fixed32(value);
      break;
    default:
      writer.tag(number, WireType.Varint).uint32(value);
  }
}

const schemas = {
  "a proto3 type with everything": everything3,
  "a proto2 type with everything": everything2,
  "a message with a list of pairs": EchoResponseSchema,
  "a message with a list of Any": FailRequestSchema,
  "a Struct": StructSchema,
};

for (const [name, schema] of Object.entries(schemas)) {
  Deno.test(`the cost of ${name} is no less than what is made, and a small multiple of it`, () => {
    fc.assert(fc.property(encodedOf(schema), (bytes) => {
      const message = fromBinary(schema, bytes);
      const cost = costOf(schema, bytes);
      ok(cost >= sizeOf(message), `${cost} bytes for ${sizeOf(message)}`);
      const once = toBinary(schema, message); // what came twice counts twice
      const most = 8 * (sizeOf(message) + once.length) + 256;
      ok(costOf(schema, once) <= most, `${costOf(schema, once)} bytes for ${most}`);
    }));
  });

  Deno.test(`bytes that are almost ${name} are counted, too`, () => {
    fc.assert(fc.property(fc.oneof(mutated(encodedOf(schema)), tagsOf(schema)), (bytes) => {
      const cost = costOf(schema, bytes);
      ok(cost >= bytes.length, `${cost}`);
      let message;
      try {
        message = fromBinary(schema, bytes);
      } catch {
        return; // that is for the decoder to say
      }
      ok(cost >= sizeOf(message), `${cost} bytes for ${sizeOf(message)}`);
    }));
  });
}

function field(number: number, body: ArrayLike<number> = []): Uint8Array {
  const writer = new BinaryWriter().tag(number, WireType.LengthDelimited);
  return writer.bytes(Uint8Array.from(body)).finish();
}

function varint(number: number, value: number): Uint8Array {
  return new BinaryWriter().tag(number, WireType.Varint).uint32(value).finish();
}

/** One part again and again, up to a length. */
function many(length: number, part: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(length - length % part.length);
  for (let at = 0; at < bytes.length; at += part.length) bytes.set(part, at);
  return bytes;
}

/** One field with many parts within. */
function filled(number: number, length: number, part: Uint8Array): Uint8Array {
  return field(number, many(length, part));
}

function entries(number: number, key: (at: number) => Uint8Array, count = 100_000): Uint8Array {
  return concat(Array.from({ length: count }, (_, at) => field(number, key(at))));
}

const string = (at: number) => field(1, new TextEncoder().encode(at.toString(36)));

const length = 4 * MIB;
const hostile: [name: string, bytes: Uint8Array, schema?: DescMessage][] = [
  ["unknown fields", many(length, varint(100, 1))],
  ["unknown fields without bytes", many(length, field(100))],
  ["unknown fields of 20 bytes", many(length, field(100, new Uint8Array(17)))],
  ["empty groups that are unknown", many(length, Uint8Array.of(0xa3, 6, 0xa4, 6))],
  [
    "fields in an unknown group",
    concat([Uint8Array.of(0xa3, 6), many(length, varint(1, 1)), Uint8Array.of(0xa4, 6)]),
  ],
  ["empty strings", many(length, field(20 + Type.STRING))],
  ["strings of one letter that is not ASCII", many(length, field(20 + Type.STRING, [0xc3, 0xa9]))],
  ["a string that comes again", many(length, field(Type.STRING, [0xc3, 0xa9]))],
  ["empty bytes", many(length, field(20 + Type.BYTES))],
  ["small numbers of 64 bits", filled(20 + Type.INT64, length, Uint8Array.of(1))],
  ["small numbers of 64 bits, as strings", filled(56, length, Uint8Array.of(1))],
  ["numbers that are not packed", many(length, varint(20 + Type.INT32, 1))],
  ["empty messages", many(length, field(43))],
  ["empty messages of a large type", many(length, concat([field(42, field(55))]))],
  ["large messages in a list", entries(49, (at) => varint(1, at))],
  ["empty Any", many(length, field(55))],
  ["empty wrappers", many(length, field(54))],
  ["a message that comes again", many(length, field(42))],
  ["a oneof that comes again", many(length, field(45))],
  ["entries of a map", many(length, concat([field(47, string(1))]))],
  ["entries with different keys", entries(47, string, 250_000)],
  ["entries with gaps between their keys", entries(48, (at) => varint(1, 17 * at))],
  [
    "entries with gaps between their keys, which are strings",
    entries(47, (at) => field(1, new TextEncoder().encode(`${17 * at}`))),
  ],
  ["null in a Struct", filled(51, length, field(1, string(1)))],
  ["empty values", filled(52, length, field(6))],
  ["values of an enum that it does not have", many(length, varint(40, 7)), everything2],
  ["groups", many(length, Uint8Array.of(0xcb, 3, 0xcc, 3)), everything2],
  [
    "a Struct that is made JSON anew each time something is added",
    concat([filled(51, 20_000, field(1, string(1))), many(20_000, field(51))]),
  ],
  [
    "the same within a message that comes again",
    concat([
      field(42, filled(51, 20_000, field(1, string(1)))),
      many(20_000, field(42, field(51))),
    ]),
  ],
  [
    "the same within a message within a message that comes again",
    concat([
      field(42, field(42, filled(51, 20_000, field(1, string(1))))),
      field(42, many(20_000, field(42, field(51)))),
    ]),
  ],
  [
    "the same in one entry of a map",
    field(50, concat([filled(2, 20_000, field(1, string(1))), many(20_000, field(2))])),
  ],
];

for (const [name, bytes, schema = everything3] of hostile) {
  Deno.test(`a message of ${name} costs too much`, () => {
    const most = 16 * bytes.length + DECODE_BYTES;
    const cost = costOf(schema, bytes, most);
    ok(cost > most, `${cost} of ${most} bytes`);
  });
}

Deno.test("a field is counted as what its type says, whatever the wire type of its tag", () => {
  for (
    const [number, schema] of [[43, everything3], [54, everything2], [23, everything3]] as const
  ) {
    const usual = costOf(schema, many(10_000, field(number)));
    for (let type = 0; type <= 5; type++) {
      const part = field(number);
      part[0] = part[0]! & 0xf8 | type;
      const bytes = many(10_000, part);
      fromBinary(schema, bytes);
      ok(costOf(schema, bytes) >= 0.9 * usual, `wire type ${type} of field ${number}`);
    }
    for (const type of [6, 7]) {
      const part = field(number);
      part[0] = part[0]! & 0xf8 | type;
      throws(() => fromBinary(schema, many(10_000, part)));
    }
  }
});

/** 200,000 items in a list, which take so many bytes each. */
function list(number: number, bytes: number, item: (at: number) => Uint8Array): Uint8Array {
  const items = Array.from({ length: 200_000 }, (_, at) => field(number, item(at)));
  equal(items[0]!.length, bytes + 2);
  return concat(items);
}

const text = (length: number) => (at: number) =>
  new TextEncoder().encode(`${at}`.padStart(length, "x"));

const sound: [name: string, bytes: Uint8Array, schema: DescMessage][] = [
  ["200,000 strings of ten bytes", list(3, 10, text(10)), FileDescriptorProtoSchema],
  [
    "200,000 messages of ten bytes, of two strings each",
    list(3, 10, (at) => concat([field(1, text(4)(at % 9_999)), field(2, [97, 98])])),
    EchoResponseSchema,
  ],
  [
    "200,000 messages of ten bytes, of one string each",
    list(3, 10, (at) => field(1, text(8)(at))),
    EchoResponseSchema,
  ],
  ["one long string", field(2, new Uint8Array(4 * MIB)), EchoResponseSchema],
  ["half a million doubles", filled(20 + Type.DOUBLE, 4 * MIB, text(8)(1)), everything3],
  ["a million and a half numbers", filled(20 + Type.INT32, 1_500_000, text(1)(1)), everything3],
  ["unknown fields of 100 bytes", many(4 * MIB, field(100, text(100)(0))), EchoResponseSchema],
  ["bytes of 100", many(4 * MIB, field(20 + Type.BYTES, text(100)(0))), everything3],
  ["7,000 unknown fields of two bytes, and nothing else", many(14_000, varint(9, 1)), AnySchema],
  ["nothing", new Uint8Array(0), everything3],
];

for (const [name, bytes, schema] of sound) {
  Deno.test(`a message of ${name} does not cost too much`, () => {
    const most = 16 * bytes.length + DECODE_BYTES;
    const cost = costOf(schema, bytes, most);
    ok(cost <= most, `${cost} of ${most} bytes`);
  });
}

Deno.test("keys of digits count as numbers, however their length is written", () => {
  for (const key of [[2, 49, 55], [0x82, 0, 49, 55]]) {
    const bytes = concat(Array.from({ length: 70_000 }, () => field(47, [10, ...key])));
    const usual = concat(
      Array.from({ length: 70_000 }, () => field(47, [10, ...key.with(-1, 97)])),
    );
    equal(costOf(everything3, bytes, 60 * MIB), Infinity);
    ok(costOf(everything3, usual, 60 * MIB) < Infinity);
  }
});

Deno.test("a set of the files that protobuf comes with does not cost too much", () => {
  const file = [FileDescriptorProtoSchema, StructSchema, AnySchema].map(({ file }) => file.proto);
  const set = toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file }));
  const cost = costOf(FileDescriptorSetSchema, set);
  ok(cost < 16 * set.length, `${cost} bytes for ${set.length}`);
});

Deno.test("messages and groups that nest without end are counted as far as they are decoded", () => {
  const groups = many(MIB, Uint8Array.of(0xa3, 6));
  ok(costOf(everything3, groups) < 3 * MIB);
  let nested: Uint8Array = new Uint8Array(0);
  for (let depth = 0; depth < 1_000; depth++) nested = field(42, nested);
  const deep = costOf(everything3, nested);
  const hundred = nested.subarray(nested.length - 300);
  ok(deep > 90 * costOf(everything3, hundred.subarray(hundred.length - 2)) / 2, `${deep}`);
  ok(deep < 101 * (costOf(everything3, field(42)) + 4_000), `${deep}`);
});

Deno.test("counting ends where the bytes do, whatever they announce", () => {
  const endless = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f);
  for (const { number } of everything3.fields) {
    const bytes = concat([field(number).subarray(0, -1), endless]);
    ok(costOf(everything3, bytes) < 16 * bytes.length + 10_000, `field ${number}`);
  }
});

Deno.test("counting ends soon after the most that is allowed", () => {
  for (const bytes of [many(MIB, field(55)), filled(42, MIB, varint(100, 1))]) {
    const cost = costOf(everything3, bytes, 2 * MIB);
    ok(cost > 2 * MIB && cost < 4 * MIB, `${cost}`);
  }
});

Deno.test("a message that takes little memory and too long costs more than any limit", () => {
  const bytes = many(4 * MIB, field(Type.STRING));
  equal(costOf(everything3, bytes, 16 * bytes.length + DECODE_BYTES), Infinity);
  ok(costOf(everything3, bytes, 64 * bytes.length) < Infinity, "more memory, more time");
});

Deno.test("messages have views if they have bytes or fields that are not known", () => {
  const counted = new MessageCost(everything2);
  const views = (bytes: Uint8Array) => {
    counted.count(bytes, Infinity);
    return counted.views;
  };
  equal(views(field(42, field(44, [97]))), false);
  equal(views(field(42, field(Type.BYTES))), true);
  equal(views(field(42, varint(100, 1))), true);
  equal(views(varint(40, 1)), false);
  equal(views(varint(40, 7)), true);
  equal(views(field(48, varint(1, 1))), false);
  equal(views(field(48, field(2))), true);
  equal(views(new Uint8Array(0)), false);
});
