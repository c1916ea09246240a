// What is kept of a message keeps little else in memory.

import { create, fromBinary, isFieldSet, toBinary } from "@bufbuild/protobuf";
import {
  AnySchema,
  BytesValueSchema,
  DescriptorProtoSchema,
  FileDescriptorProtoSchema,
  StructSchema,
  UninterpretedOptionSchema,
} from "@bufbuild/protobuf/wkt";
import { connect, createConnectionPair, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { ownBytes, ownMessage } from "../kept_bytes.ts";
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
  for (const length of [0, 1, 16, 256, 257, 1_000, 3_000, 4_000, 20_000, 32_000]) {
    const bytes = filled(length);
    const own = ownBytes(received(bytes));
    deepEqual(own, bytes);
    ok(own.buffer.byteLength <= 8 * length + 1_024, `${length}: ${own.buffer.byteLength}`);
  }
});

Deno.test("ownBytes() leaves alone what keeps little", () => {
  const bytes = filled(100);
  equal(ownBytes(bytes), bytes);
  const long = received(filled(8_000));
  equal(ownBytes(long), long);
});

Deno.test("ownBytes() puts short values side by side, never one over another", () => {
  const values = Array.from({ length: 200 }, (_, at) => new Uint8Array(at % 40).fill(at));
  const own = values.map((value) => ownBytes(received(value)));
  deepEqual(own, values);
  ok(new Set(own.map(({ buffer }) => buffer)).size < 10);
});

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

Deno.test("ownMessage() finds bytes in messages, lists, wrappers and unknown fields", () => {
  const any = create(AnySchema, { typeUrl: "x/y", value: filled(16) });
  const decodedAny = fromBinary(AnySchema, received(toBinary(AnySchema, any)));
  notEqual(decodedAny.value.buffer.byteLength, 1_024);
  ownMessage(AnySchema, decodedAny);
  deepEqual(decodedAny, any);
  equal(decodedAny.value.buffer.byteLength, 1_024);

  const wrapper = create(BytesValueSchema, { value: filled(3) });
  const decoded = fromBinary(BytesValueSchema, received(toBinary(BytesValueSchema, wrapper)));
  ownMessage(BytesValueSchema, decoded);
  deepEqual(decoded, wrapper);
  equal(decoded.value.buffer.byteLength, 1_024);

  // Field 1,000 of bytes: unknown.
  const strange = received(new Uint8Array([0xc2, 0x3e, 2, 7, 8]));
  const unknown = fromBinary(StructSchema, strange);
  ownMessage(StructSchema, unknown);
  equal(unknown.$unknown!.length, 1);
  equal(unknown.$unknown![0]!.data.buffer.byteLength, 1_024);
  deepEqual(toBinary(StructSchema, unknown), strange.slice());
});

Deno.test("ownMessage() walks types that contain themselves, and their lists", () => {
  const file = create(FileDescriptorProtoSchema, {
    name: "x.proto",
    messageType: [{
      name: "Outer",
      nestedType: [{ name: "Inner" }],
      options: { uninterpretedOption: [{ stringValue: filled(20) }] },
    }],
  });
  const bytes = received(toBinary(FileDescriptorProtoSchema, file));
  const decoded = fromBinary(FileDescriptorProtoSchema, bytes);
  ownMessage(FileDescriptorProtoSchema, decoded);
  const bare = create(UninterpretedOptionSchema);
  deepEqual(decoded, file);
  equal(isFieldSet(decoded.messageType[0]!, DescriptorProtoSchema.field.options), true);
  equal(isFieldSet(decoded, FileDescriptorProtoSchema.field.options), false);
  const option = decoded.messageType[0]!.options!.uninterpretedOption[0]!;
  equal(isFieldSet(option, UninterpretedOptionSchema.field.stringValue), true);
  ownMessage(UninterpretedOptionSchema, bare);
  equal(isFieldSet(bare, UninterpretedOptionSchema.field.stringValue), false);
  equal(option.stringValue.buffer.byteLength, 1_024);
});
