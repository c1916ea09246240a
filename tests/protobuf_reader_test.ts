// Fields of protobuf's wire format, one at a time.

import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { malformed, Reader } from "../wire/protobuf_reader.ts";
import { Code } from "../status.ts";

function reader(...bytes: number[]): Reader {
  return new Reader(Uint8Array.from(bytes));
}

/** Text as a length-delimited field has it, long or short. */
function field(text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const length = bytes.length < 128
    ? [bytes.length]
    : [bytes.length & 0x7f | 0x80, bytes.length >>> 7];
  return Uint8Array.from([...length, ...bytes]);
}

function refuses(read: () => unknown, message: string): void {
  throws(read, { name: "RpcError", code: Code.INVALID_ARGUMENT, rawMessage: message });
}

const CUT_OFF = "a field is cut off";
const TOO_LONG = "a field is longer than its message";
const ELEVEN_BYTES = "a varint is longer than ten bytes";

Deno.test("malformed() is an error of INVALID_ARGUMENT", () => {
  const error = malformed("it is wrong");
  deepEqual([error.code, error.rawMessage], [Code.INVALID_ARGUMENT, "it is wrong"]);
});

Deno.test("more() tells whether anything is left of the part that is read", () => {
  equal(reader().more(), false);
  const part = new Reader(Uint8Array.of(1, 2, 3, 4), 1, 3);
  equal(part.more(), true);
  equal(part.int32(), 2);
  equal(part.more(), true);
  equal(part.int32(), 3);
  equal(part.more(), false);
  refuses(() => part.int32(), CUT_OFF);
});

Deno.test("tag() reads field numbers up to the largest, and refuses zero", () => {
  equal(reader(0x08).tag(), 8);
  equal(reader(0xff, 0xff, 0xff, 0xff, 0x0f).tag(), 0xffffffff);
  for (let type = 0; type < 8; type++) {
    refuses(() => reader(type).tag(), "a field has number zero");
  }
});

Deno.test("int32() reads the low 32 bits of a varint of up to ten bytes", () => {
  equal(reader(0x00).int32(), 0);
  equal(reader(0x7f).int32(), 127);
  equal(reader(0x80, 0x01).int32(), 128);
  equal(reader(0xff, 0xff, 0x03).int32(), 0xffff);
  equal(reader(0xff, 0xff, 0xff, 0xff, 0x07).int32(), 2 ** 31 - 1);
  equal(reader(0x80, 0x80, 0x80, 0x80, 0x08).int32(), -(2 ** 31));
  equal(reader(0xff, 0xff, 0xff, 0xff, 0x0f).int32(), -1);
  equal(reader(...new Array(9).fill(0xff), 0x01).int32(), -1);
  equal(reader(0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x7f).int32(), 0x5080c101 | 0);
});

Deno.test("int64() reads all bits of a varint of up to ten bytes", () => {
  equal(reader(0x00).int64(), 0n);
  equal(reader(0x7f).int64(), 127n);
  equal(reader(0x80, 0x01).int64(), 128n);
  equal(reader(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f).int64(), 2n ** 63n - 1n);
  equal(reader(...new Array(9).fill(0x80), 0x01).int64(), -(2n ** 63n));
  equal(reader(...new Array(9).fill(0xff), 0x01).int64(), -1n);
  equal(reader(...new Array(9).fill(0x80), 0x7e).int64(), 0n);
});

Deno.test("int32() and int64() refuse varints of eleven bytes, and such as are cut off", () => {
  for (const read of [(from: Reader) => from.int32(), (from: Reader) => from.int64()]) {
    refuses(() => read(reader(...new Array(10).fill(0x80), 0x00)), ELEVEN_BYTES);
    for (let length = 0; length < 10; length++) {
      refuses(() => read(reader(...new Array(length).fill(0x80))), CUT_OFF);
    }
  }
});

Deno.test("bytes() is a part of the data, and stays in its bounds", () => {
  const data = Uint8Array.of(9, 2, 5, 6, 1, 7);
  const from = new Reader(data, 1);
  const bytes = from.bytes();
  deepEqual([...bytes], [5, 6]);
  equal(bytes.buffer, data.buffer);
  deepEqual([...from.bytes()], [7]);
  equal(from.more(), false);
  deepEqual([...reader(0).bytes()], []);
  refuses(() => reader(3, 1, 2).bytes(), TOO_LONG);
  refuses(() => new Reader(data, 1, 3).bytes(), TOO_LONG);
  refuses(() => reader(0xff, 0xff, 0xff, 0xff, 0x0f, 1).bytes(), TOO_LONG);
});

Deno.test("nested() reads a field as a message, and goes on after it", () => {
  const from = reader(2, 0x81, 0x01, 5);
  const nested = from.nested();
  equal(nested.int32(), 129);
  equal(nested.more(), false);
  refuses(() => nested.int32(), CUT_OFF);
  equal(from.int32(), 5);
  equal(from.more(), false);
});

const TEXTS = [
  "",
  "a",
  "pkg.Svc",
  "\x00\x7f",
  "\u0080",
  "ascii, then é",
  "é, then ascii",
  "🦕 and 𝕏",
  "\ufeffa byte order mark is text",
  "x".repeat(64),
  "x".repeat(65),
  "é".repeat(32),
  "x".repeat(63) + "é",
  "x".repeat(127),
  "x".repeat(128),
  "x".repeat(129),
  "long, é ".repeat(200),
];

for (const method of ["string", "name"] as const) {
  Deno.test(`${method}() reads text of any length, again and again, between other fields`, () => {
    for (const text of [...TEXTS, ...TEXTS]) {
      const from = new Reader(Uint8Array.from([1, ...field(text), 2]), 1);
      equal(from[method](), text);
      equal(from.int32(), 2);
    }
  });

  Deno.test(`${method}() refuses what is not UTF-8, and text that its message cuts off`, () => {
    const wrong = [[0x80], [0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0x61, 0xc3], [0xf5, 0, 0, 0]];
    for (const bytes of [...wrong, new Array(200).fill(0xff)]) {
      const data = field(Uint8Array.from(bytes));
      for (let i = 0; i < 2; i++) {
        refuses(() => new Reader(data)[method](), "a string is not valid UTF-8");
      }
    }
    refuses(() => reader(3, 0x61, 0x61)[method](), TOO_LONG);
  });
}

Deno.test("name() tells names apart, whatever it has read before", () => {
  // Far more names than are remembered, so that each place is taken again and again; many of them
  // differ from another in one byte only, at the start, in the middle or at the end.
  const names: string[] = [];
  for (let i = 0; i < 600; i++) names.push(`${i % 10}.pkg.Service${i}`, `Method${i}${i % 7}`);
  for (let code = 0x21; code < 0x7f; code++) {
    const byte = String.fromCharCode(code);
    names.push(`${byte}.same`, `same.${byte}.same`, `same.${byte}`);
  }
  names.push("", "a", "aa", "aaa", "a".repeat(128), "b" + "a".repeat(127));
  const data = names.map((name) => field(name));
  for (let round = 0; round < 3; round++) {
    names.forEach((name, at) => equal(new Reader(data[at]!).name(), name));
  }
});

Deno.test("name() tells names of one hash apart", () => {
  // "Aa" and "BB" have the same hash when each byte counts 31 times what follows it.
  for (let round = 0; round < 2; round++) {
    for (const name of ["AaAa", "BBBB", "AaBB", "BBAa"]) {
      equal(new Reader(field(name)).name(), name);
    }
  }
});

Deno.test("name() remembers names by bytes of its own", () => {
  const data = field("pkg.Remembered");
  equal(new Reader(data).name(), "pkg.Remembered");
  data.fill(0x61, 1); // as a read buffer is filled again
  equal(new Reader(data).name(), "a".repeat(14));
  equal(new Reader(field("pkg.Remembered")).name(), "pkg.Remembered");
});

/** How often text was decoded, for which there are ways that cost less. */
function decodings(read: () => void): number {
  const { decode } = TextDecoder.prototype;
  let count = 0;
  TextDecoder.prototype.decode = function (...args) {
    count++;
    return decode.apply(this, args);
  };
  try {
    read();
  } finally {
    TextDecoder.prototype.decode = decode;
  }
  return count;
}

function readNames(names: readonly string[]): void {
  for (const name of names) equal(new Reader(field(name)).name(), name);
}

Deno.test("name() decodes a name of up to 128 bytes once, and longer ones each time", () => {
  for (const [length, times] of [[128, 1], [129, 3]] as const) {
    equal(decodings(() => readNames(new Array(3).fill("y".repeat(length)))), times, `${length}`);
  }
});

Deno.test("name() remembers most names of a server, if there are not very many", () => {
  // Too long to be made without a decoder.
  const names = Array.from({ length: 50 }, (_, i) => `Method${i * 7}.${"long".repeat(20)}`);
  readNames(names);
  const again = decodings(() => readNames(names));
  ok(again < 25, `${again} of 50 had to be decoded again`);
});

/** Passes over one field and reads what follows. */
function afterSkip(...bytes: number[]): number {
  const from = reader(...bytes);
  from.skip(from.tag());
  const next = from.int32();
  equal(from.more(), false);
  return next;
}

Deno.test("skip() passes over a field of each wire type, and no further", () => {
  equal(afterSkip(0x08, 0x80, 0x01, 42), 42);
  equal(afterSkip(0x09, 1, 2, 3, 4, 5, 6, 7, 8, 42), 42);
  equal(afterSkip(0x0a, 3, 1, 2, 3, 42), 42);
  equal(afterSkip(0x0a, 0, 42), 42);
  equal(afterSkip(0x0b, 0x0c, 42), 42);
  equal(afterSkip(0x0d, 1, 2, 3, 4, 42), 42);
});

Deno.test("skip() passes over groups with all that is in them, nested or not", () => {
  equal(afterSkip(0x0b, 0x10, 5, 0x1a, 1, 9, 0x13, 0x25, 1, 2, 3, 4, 0x14, 0x0c, 42), 42);
});

Deno.test("skip() refuses groups that do not end as they started, and types that are none", () => {
  const group = "a group ends that did not start";
  refuses(() => afterSkip(0x0c), group);
  refuses(() => afterSkip(0x0b, 0x14), group);
  refuses(() => afterSkip(0x0b, 0x13, 0x0c, 0x14), group);
  refuses(() => afterSkip(0x13, 0x1c), group);
  refuses(() => afterSkip(0x0b, 0x10, 1), CUT_OFF);
  refuses(() => afterSkip(0x0b, 0x00), "a field has number zero");
  refuses(() => afterSkip(0x0e), "there is no wire type 6");
  refuses(() => afterSkip(0x0f), "there is no wire type 7");
});

Deno.test("skip() refuses fields that are cut off", () => {
  const cases: [bytes: number[], message: string][] = [
    [[0x08], CUT_OFF],
    [[0x09, 1, 2, 3, 4, 5, 6, 7], CUT_OFF],
    [[0x0a, 3, 1, 2], TOO_LONG],
    [[0x0d, 1, 2, 3], CUT_OFF],
  ];
  for (const [bytes, message] of cases) {
    const from = reader(...bytes);
    const tag = from.tag();
    refuses(() => from.skip(tag), message);
  }
  // The last byte may be the last of the message.
  for (const bytes of [[0x09, 1, 2, 3, 4, 5, 6, 7, 8], [0x0d, 1, 2, 3, 4], [0x0a, 1, 1]]) {
    const from = reader(...bytes);
    from.skip(from.tag());
    equal(from.more(), false);
  }
});
