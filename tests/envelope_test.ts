import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  decodeRequest,
  decodeResponse,
  encodeMethod,
  encodeRequest,
  encodeResponse,
  type Request,
  requestLength,
  type Response,
  responseLength,
} from "../wire/envelope.ts";
import { RequestSchema, ResponseSchema } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Metadata } from "../metadata.ts";
import { Code, RpcError } from "../status.ts";

// What fc.string({ unit: "binary" }) gives, without its tables, which take a second to make.
const anyCharacter = fc.oneof(
  fc.integer({ min: 0, max: 0xd7ff }),
  fc.integer({ min: 0xe000, max: 0x10ffff }),
).map((point) => String.fromCodePoint(point));
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: anyCharacter }),
  fc.constant("é".repeat(80)),
);
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 50 }),
  fc.nat(20_000).map((length) => new Uint8Array(length).fill(length)),
);
const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(0n, 1n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 127n, 128n),
);
// Keys are folded to lower case by Metadata, so that only such can come out as they went in.
const pairs = fc.array(fc.tuple(text.map((key) => key.toLowerCase()), text), { maxLength: 5 });

const requests = fc.record({
  service: text,
  method: text,
  payload: bytes,
  timeoutNano: int64,
  metadata: pairs.map((pairs) => pairs.length === 0 ? undefined : new Metadata(pairs)),
});
const responses: fc.Arbitrary<Response> = fc.record({
  status: fc.option(
    fc.record({
      code: fc.integer(),
      message: text,
      details: fc.array(fc.record({ typeUrl: text, value: bytes }), { maxLength: 3 }),
    }),
    { nil: undefined },
  ),
  payload: bytes,
});

function requestMessage({ metadata, ...rest }: Request) {
  return create(RequestSchema, {
    ...rest,
    metadata: [...metadata ?? []].map(([key, value]) => ({ key, value })),
  });
}

function responseMessage({ status, payload }: Response) {
  return create(ResponseSchema, {
    payload,
    ...(status && { status: { ...status, details: [...status.details ?? []] } }),
  });
}

function comparable({ metadata, ...rest }: Request) {
  return { ...rest, metadata: metadata && [...metadata] };
}

Deno.test("encodeRequest() writes the bytes that protobuf-es writes, the payload last", () => {
  fc.assert(fc.property(requests, (request) => {
    const { payload } = request;
    const rest = toBinary(
      RequestSchema,
      requestMessage({ ...request, payload: new Uint8Array(0) }),
    );
    const last = toBinary(RequestSchema, create(RequestSchema, { payload }));
    deepEqual(encodeRequest(request), new Uint8Array([...rest, ...last]));
  }));
});

Deno.test("encodeResponse() writes the bytes that protobuf-es writes", () => {
  fc.assert(fc.property(responses, (response) => {
    deepEqual(encodeResponse(response), toBinary(ResponseSchema, responseMessage(response)));
  }));
});

Deno.test("requestLength() and responseLength() are the lengths of what is written", () => {
  fc.assert(fc.property(requests, responses, (request, response) => {
    const method = encodeMethod(request.service, request.method);
    equal(requestLength({ ...request, method }), encodeRequest(request).length);
    equal(responseLength(response), encodeResponse(response).length);
  }));
  const nothing = { payload: new Uint8Array(0), timeoutNano: 0n, metadata: undefined };
  const method = encodeMethod("s", "m");
  equal(requestLength({ ...nothing, method }), method.length);
  equal(requestLength({ ...nothing, method, timeoutNano: 1n }), method.length + 2);
  equal(responseLength({ status: undefined, payload: new Uint8Array(0) }), 0);
});

Deno.test("decodeRequest() reads what protobuf-es writes", () => {
  fc.assert(fc.property(requests, (request) => {
    const decoded = decodeRequest(toBinary(RequestSchema, requestMessage(request)));
    deepEqual(comparable(decoded), comparable(request));
  }));
});

Deno.test("decodeResponse() reads what protobuf-es writes", () => {
  fc.assert(fc.property(responses, (response) => {
    deepEqual(decodeResponse(toBinary(ResponseSchema, responseMessage(response))), response);
  }));
});

Deno.test("decodeRequest() agrees with protobuf-es on arbitrary fields in any order", () => {
  const varint = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(encodeVarint);
  const field = fc.oneof(
    fc.tuple(fc.constantFrom(4, 6, 500), varint).map(([n, v]) => [...tag(n, 0), ...v]),
    fc.tuple(fc.constantFrom(7, 8), fc.uint8Array({ minLength: 8, maxLength: 8 }))
      .map(([n, v]) => [...tag(n, 1), ...v]),
    fc.tuple(fc.constantFrom(9), fc.uint8Array({ minLength: 4, maxLength: 4 }))
      .map(([n, v]) => [...tag(n, 5), ...v]),
    fc.tuple(fc.constantFrom(3, 12, 5), fc.constantFrom([], [10, 1, 97], [18, 1, 98, 10, 1, 99]))
      .map(([n, v]) => [...tag(n, 2), v.length, ...v]),
    fc.tuple(fc.constantFrom(1, 2), fc.string({ unit: "grapheme-ascii", maxLength: 20 }))
      .map(([n, s]) => [...tag(n, 2), s.length, ...new TextEncoder().encode(s)]),
    fc.constant([...tag(13, 3), ...tag(1, 0), 5, ...tag(2, 3), ...tag(2, 4), ...tag(13, 4)]),
  );
  fc.assert(fc.property(fc.array(field), (fields) => {
    const data = new Uint8Array(fields.flat());
    const { service, method, payload, timeoutNano, metadata } = fromBinary(RequestSchema, data);
    deepEqual(comparable(decodeRequest(data)), {
      service,
      method,
      payload,
      timeoutNano,
      metadata: metadata.length === 0 ? undefined : metadata.map(({ key, value }) => [key, value]),
    });
  }));
});

Deno.test("decodeResponse() merges a status that comes in two parts", () => {
  const first = encodeResponse({
    status: { code: 5, message: "a", details: [{ typeUrl: "x/A", value: new Uint8Array([1]) }] },
    payload: new Uint8Array(0),
  });
  const second = encodeResponse({
    status: { code: 0, message: "b", details: [{ typeUrl: "x/B", value: new Uint8Array([2]) }] },
    payload: new Uint8Array([9]),
  });
  const data = new Uint8Array([...first, ...second]);
  const { status, payload } = fromBinary(ResponseSchema, data);
  deepEqual(decodeResponse(data), {
    status: {
      code: status!.code,
      message: status!.message,
      details: status!.details.map(({ typeUrl, value }) => ({ typeUrl, value })),
    },
    payload,
  });
  equal(status!.message, "b");
});

/** Fields that no message of the envelope has: a number, bytes and a group, each like a known one. */
const unknown = [
  ...tag(9, 0),
  0x0a,
  ...tag(10, 2),
  2,
  0x08,
  1,
  ...tag(11, 3),
  0x12,
  0,
  ...tag(11, 4),
];

/** A field whose message has unknown fields before, between and after its own. */
function withUnknown(field: number, ...own: number[][]): number[] {
  const message = [...unknown, ...own.flatMap((bytes) => [...bytes, ...unknown])];
  return [...tag(field, 2), ...encodeVarint(BigInt(message.length)), ...message];
}

Deno.test("decodeResponse() passes over fields that it does not know, at every level", () => {
  const detail = withUnknown(3, [0x0a, 1, 97], [0x12, 2, 8, 9]);
  const status = withUnknown(1, [0x08, 5], [0x12, 1, 98], detail);
  const data = new Uint8Array([...unknown, ...status, ...unknown, 0x12, 1, 7, ...unknown]);
  deepEqual(decodeResponse(data), {
    status: {
      code: 5,
      message: "b",
      details: [{ typeUrl: "a", value: new Uint8Array([8, 9]) }],
    },
    payload: new Uint8Array([7]),
  });
});

Deno.test("decodeRequest() passes over fields that it does not know, at every level", () => {
  const pair = withUnknown(5, [0x0a, 1, 107], [0x12, 1, 118]);
  const data = new Uint8Array([...unknown, 0x0a, 1, 115, ...unknown, ...pair, ...unknown]);
  deepEqual(comparable(decodeRequest(data)), {
    service: "s",
    method: "",
    payload: new Uint8Array(0),
    timeoutNano: 0n,
    metadata: [["k", "v"]],
  });
});

Deno.test("decodeRequest() takes 10,000 pairs of metadata, and not one more", () => {
  const pairs = (count: number) => {
    const data = new Uint8Array(2 * count);
    for (let at = 0; at < data.length; at += 2) data[at] = 0x2a;
    return decodeRequest(data).metadata!.size;
  };
  equal(pairs(10_000), 10_000);
  throws(() => pairs(10_001), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "over 10000 metadata pairs",
  });
});

Deno.test("decodeResponse() tells an empty response and a status of zero apart", () => {
  deepEqual(decodeResponse(new Uint8Array(0)), { status: undefined, payload: new Uint8Array(0) });
  deepEqual(decodeResponse(new Uint8Array([10, 0])), {
    status: { code: 0, message: "", details: [] },
    payload: new Uint8Array(0),
  });
});

Deno.test("decodeRequest() folds the keys of metadata and keeps order and repetition", () => {
  const message = create(RequestSchema, {
    metadata: [{ key: "X-B", value: "1" }, { key: "a", value: "2" }, { key: "x-b", value: "3" }],
  });
  const { metadata } = decodeRequest(toBinary(RequestSchema, message));
  deepEqual([...metadata!], [["x-b", "1"], ["a", "2"], ["x-b", "3"]]);
});

Deno.test("decodeRequest() gives a part of the bytes as the payload, not a copy", () => {
  const data = encodeRequest({
    service: "s",
    method: "m",
    payload: new Uint8Array([1, 2, 3]),
    timeoutNano: 0n,
    metadata: undefined,
  });
  equal(decodeRequest(data).payload.buffer, data.buffer);
});

/** A status in as many parts as it has details. */
function detailed(parts: number): Uint8Array {
  const data = new Uint8Array(4 * parts);
  for (let at = 0; at < data.length; at += 4) data.set([0x0a, 2, 0x1a, 0], at);
  return data;
}

Deno.test("decodeResponse() takes 1,000 status details, and not one more", () => {
  equal(decodeResponse(detailed(1_000)).status!.details.length, 1_000);
  throws(() => decodeResponse(detailed(1_001)), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "over 1000 status details",
  });
});

const decoders = { decodeRequest, decodeResponse };
const repeated: [string, keyof typeof decoders, number[]][] = [
  ["the service again and again", "decodeRequest", [0x0a, 0]],
  ["the payload again and again", "decodeRequest", [0x1a, 0]],
  ["the timeout again and again", "decodeRequest", [0x20, 1]],
  ["unknown fields", "decodeRequest", [0x38, 1]],
  ["a group again and again", "decodeRequest", [0x3b, 0x3c]],
  ["pairs with the key again and again", "decodeRequest", [0x2a, 20, ...many(10, [0x0a, 0])]],
  ["a status again and again", "decodeResponse", [0x0a, 0]],
  ["a status with the message again and again", "decodeResponse", [
    0x0a,
    20,
    ...many(10, [0x12, 0]),
  ]],
  ["details with unknown fields", "decodeResponse", [0x0a, 102, 0x1a, 100, ...many(50, [0x38, 1])]],
];

function many(times: number, part: number[]): number[] {
  return Array.from({ length: times }, () => part).flat();
}

for (const [name, decoder, part] of repeated) {
  Deno.test(`${decoder}() reads no more than 50,000 fields: ${name}`, () => {
    const times = (count: number) => {
      const data = new Uint8Array(count * part.length);
      for (let at = 0; at < data.length; at += part.length) data.set(part, at);
      return decoders[decoder](data);
    };
    times(900);
    throws(() => times(60_000), {
      code: Code.RESOURCE_EXHAUSTED,
      rawMessage: "over 50000 fields",
    });
  });
}

Deno.test("decodeRequest() takes 50,000 fields, and not one more", () => {
  const fields = (count: number) => {
    const data = new Uint8Array(2 * count);
    for (let at = 0; at < data.length; at += 2) data[at] = 0x0a;
    return decodeRequest(data);
  };
  equal(fields(50_000).service, "");
  throws(() => fields(50_001), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "over 50000 fields",
  });
});

const malformed: [string, number[]][] = [
  ["a field that is longer than its message", [0x0a, 5, 97]],
  ["a length that is cut off", [0x0a]],
  ["a length of 2^32 - 1", [0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f]],
  ["a varint that is cut off", [0x20, 0x80]],
  ["a varint of eleven bytes", [0x20, ...Array(10).fill(0x80), 1]],
  ["a tag of eleven bytes", [...Array(10).fill(0x80), 1]],
  ["field number zero", [0x00, 1]],
  ["wire type six", [0x36]],
  ["wire type seven", [0x37]],
  ["a fixed64 that is cut off", [0x39, 1, 2, 3]],
  ["a fixed32 that is cut off", [0x3d, 1]],
  ["the end of a group that did not start", [0x6c]],
  ["a group that does not end", [0x6b, 0x08, 1]],
  ["a group that another one ends", [0x6b, 0x74]],
  ["a string that is not UTF-8", [0x0a, 2, 0xc3, 0x28]],
  ["metadata whose key is not UTF-8", [0x2a, 3, 0x0a, 1, 0xff]],
  ["metadata with a field longer than itself", [0x2a, 2, 0x0a, 9, 97, 97, 97]],
];

for (const [name, data] of malformed) {
  Deno.test(`decodeRequest() refuses ${name}`, () => {
    throws(
      () => decodeRequest(new Uint8Array(data)),
      (error) => error instanceof RpcError && error.code === Code.INVALID_ARGUMENT,
    );
  });
}

Deno.test("decodeRequest() and decodeResponse() throw nothing but RpcErrors, whatever comes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (data) => {
      for (const decode of [decodeRequest, decodeResponse]) {
        try {
          decode(data);
        } catch (error) {
          ok(error instanceof RpcError);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

Deno.test("decodeRequest() survives groups nested a million deep", () => {
  throws(() => decodeRequest(new Uint8Array(1_000_000).fill(0x6b)), RpcError);
});

function tag(field: number, type: number): number[] {
  return encodeVarint(BigInt(field << 3 | type));
}

function encodeVarint(value: bigint): number[] {
  const encoded: number[] = [];
  for (; value > 0x7fn; value >>= 7n) encoded.push(Number(value & 0x7fn) | 0x80);
  return [...encoded, Number(value)];
}
