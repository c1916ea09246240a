/** Request and Response, decoded by hand, against protobuf-es. */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { deepEqual, ok } from "node:assert/strict";
import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
} from "../../wire/envelope.ts";
import { RequestSchema, ResponseSchema } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { RpcError } from "../../status.ts";
import { mutated, noise, type Target } from "./target.ts";

/** Fields by number: a wire type, or those of a message within. */
interface Shape {
  readonly [field: number]: WireType | Shape;
}

const TEXT = WireType.LengthDelimited;
const pair: Shape = { 1: TEXT, 2: TEXT };
const request: Shape = { 1: TEXT, 2: TEXT, 3: TEXT, 4: WireType.Varint, 5: pair };
const status: Shape = { 1: WireType.Varint, 2: TEXT, 3: { 1: TEXT, 2: TEXT } };
const response: Shape = { 1: status, 2: TEXT };

/** Fields in any order, known and unknown ones, of any wire type, as often as they like. */
function message(shape: Shape, depth = 0): fc.Arbitrary<Uint8Array> {
  const known = Object.entries(shape).map(([field, within]) => {
    const number = fc.constant(Number(field));
    if (typeof within === "object") return fc.tuple(number, message(within, depth + 1));
    return fc.tuple(number, within === TEXT ? text : varint);
  });
  const unknown = fc.tuple(
    fc.oneof(fc.nat(20), fc.constantFrom(0, 2 ** 29 - 1)),
    fc.oneof(text, varint, fc.constantFrom("group", "fixed32", "fixed64")),
  );
  return fc.array(fc.oneof(...known, unknown), { maxLength: 6 - 2 * depth }).map(encodeFields);
}

const text = fc.oneof(
  fc.string({ maxLength: 80 }).map((value) => new TextEncoder().encode(value)),
  fc.string({ unit: "binary", maxLength: 10 }).map((value) => new TextEncoder().encode(value)),
  fc.uint8Array({ maxLength: 10 }),
);
const varint = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 63n, 2n ** 64n - 1n),
);

function encodeFields(fields: [number, Uint8Array | bigint | string][]): Uint8Array {
  const writer = new BinaryWriter();
  const tag = (field: number, type: WireType) => writer.uint32(((field << 3) | type) >>> 0);
  for (const [field, value] of fields) {
    if (typeof value === "bigint") tag(field, WireType.Varint).uint64(value);
    else if (value === "fixed32") tag(field, WireType.Bit32).fixed32(7);
    else if (value === "fixed64") tag(field, WireType.Bit64).fixed64(7);
    else if (value === "group") {
      tag(field, WireType.StartGroup);
      tag(3, WireType.StartGroup);
      tag(3, WireType.EndGroup);
      tag(field, WireType.EndGroup);
    } else tag(field, TEXT).bytes(value as Uint8Array);
  }
  return writer.finish();
}

/**
 * Whether a known field has a wire type that is not its own: protobuf-es takes it at its word.
 *
 * @throws If a field ends after its message.
 */
function mistyped(input: Uint8Array, shape: Shape): boolean {
  const reader = new BinaryReader(input);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const expected = shape[field];
    if (typeof expected === "object") {
      if (type !== TEXT || mistyped(reader.bytes(), expected)) return true;
    } else if (expected !== undefined && type !== expected) return true;
    else reader.skip(type, field);
  }
  return false;
}

type Result<T> = { value: T } | { error: unknown };

function attempted<T>(decode: () => T): Result<T> {
  try {
    return { value: decode() };
  } catch (error) {
    return { error };
  }
}

/** What we refuse although protobuf-es does not, and the reverse. */
const OURS_ONLY = /longer than ten bytes|a group ends that did not start|metadata pairs/;
const THEIRS_ONLY = /overflows uint32|recursion|too deep|nested too/i;

function compare<Ours, Theirs>(
  input: Uint8Array,
  shape: Shape,
  decodeOurs: (input: Uint8Array) => Ours,
  decodeTheirs: (input: Uint8Array) => Theirs,
  comparable: (message: Ours) => unknown,
  comparableTheirs: (message: Theirs) => unknown,
): void {
  const ours = attempted(() => decodeOurs(input));
  if ("error" in ours && !(ours.error instanceof RpcError)) throw ours.error;
  const wrong = attempted(() => mistyped(input, shape));
  if ("value" in wrong && wrong.value) return;
  const theirs = attempted(() => decodeTheirs(input));
  if ("error" in ours) {
    // protobuf-es lets a field run over the end of the message that it is in.
    const refused = "error" in theirs || "error" in wrong;
    ok(refused || OURS_ONLY.test(String(ours.error)), String(ours.error));
  } else if ("error" in theirs) {
    ok(THEIRS_ONLY.test(String(theirs.error)), `protobuf-es refuses it: ${theirs.error}`);
  } else deepEqual(comparable(ours.value), comparableTheirs(theirs.value));
}

export const requests: Target = {
  name: "request",
  inputs: fc.oneof(message(request), mutated(message(request)), noise),
  run(input) {
    compare(
      input,
      request,
      decodeRequest,
      (bytes) => fromBinary(RequestSchema, bytes),
      ({ metadata, ...rest }) => ({ ...rest, metadata: [...metadata ?? []] }),
      ({ service, method, payload, timeoutNano, metadata }) => ({
        service,
        method,
        payload,
        timeoutNano,
        metadata: metadata.map(({ key, value }) => [asciiLower(key), value]),
      }),
    );
    const again = attempted(() => decodeRequest(input));
    if ("error" in again) return;
    // What was decoded is no more than what came, and comes out the same when sent on.
    const { metadata, payload } = again.value;
    ok(2 * (metadata?.size ?? 0) + payload.length <= input.length);
    deepEqual(decodeRequest(encodeRequest(again.value)), again.value);
  },
};

export const responses: Target = {
  name: "response",
  inputs: fc.oneof(message(response), mutated(message(response)), noise),
  run(input) {
    compare(
      input,
      response,
      decodeResponse,
      (bytes) => fromBinary(ResponseSchema, bytes),
      (message) => message,
      ({ status, payload }) => ({
        status: status && {
          code: status.code,
          message: status.message,
          details: status.details.map(({ typeUrl, value }) => ({ typeUrl, value })),
        },
        payload,
      }),
    );
    const again = attempted(() => decodeResponse(input));
    if ("error" in again) return;
    const encoded = encodeResponse(again.value);
    deepEqual(decodeResponse(encoded), again.value);
    const theirs = fromBinary(ResponseSchema, encoded);
    deepEqual(toBinary(ResponseSchema, theirs), encoded);
  },
};

/** Keys fold ASCII letters only. */
function asciiLower(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
