import { concat } from "@std/bytes/concat";
import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import fc from "fast-check";
import {
  freeWhenSent,
  recycle,
  utf8Length,
  varint64Length,
  varintLength,
  Writer,
} from "../wire/writer.ts";

const KIB = 1 << 10;

/** Bytes that are not all the same. */
function pattern(length: number, first = 1): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => first + i);
}

/** Adds bytes that are copied. */
function copy(writer: Writer, bytes: Uint8Array): void {
  writer.reserve(bytes.length);
  writer.copy(bytes);
}

/** The memory that each of some writers takes for a few bytes. */
function memoryOf(writers: Writer[], room: number): ArrayBuffer[] {
  return writers.map((writer) => {
    writer.reserve(room);
    writer.byte(1);
    const chunks = writer.take();
    equal(chunks.length, 1);
    return chunks[0]!.buffer;
  });
}

/** How many of some writers' buffers are used again, once they are sent. */
function usedAgain(count: number, room: number): number {
  const writers = Array.from({ length: count }, () => new Writer());
  const before = memoryOf(writers, room);
  before.forEach((buffer) => recycle(new Uint8Array(buffer)));
  const after = new Set(memoryOf(writers, room));
  equal(after.size, count);
  return before.filter((buffer) => after.has(buffer)).length;
}

Deno.test("Writer writes numbers as protobuf and the frame's header have them", () => {
  const writer = new Writer();
  writer.reserve(100);
  writer.byte(0xab);
  writer.uint32(0x01020384);
  writer.uint32(0xffffffff);
  for (const value of [0, 127, 128, 16_383, 16_384, 0xffffffff]) writer.varint(value);
  for (const value of [0n, 127n, 128n, 1n << 63n, -1n]) writer.varint64(value);
  const rest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
  deepEqual([...concat(writer.take())], [
    ...[0xab, 1, 2, 3, 0x84, 0xff, 0xff, 0xff, 0xff],
    ...[0, 127, 0x80, 1, 0xff, 127, 0x80, 0x80, 1, 0xff, 0xff, 0xff, 0xff, 15],
    ...[0, 127, 0x80, 1, ...rest.map(() => 0x80), 1, ...rest, 1],
  ]);
});

Deno.test("varintLength() and varint64Length() are the lengths of what is written", () => {
  const edges = [0, 1, ...[7, 14, 21, 28, 32].flatMap((bits) => [2 ** bits - 1, 2 ** bits])];
  for (const value of edges) {
    const writer = new Writer();
    writer.reserve(20);
    if (value < 2 ** 32) {
      writer.varint(value);
      equal(varintLength(value), concat(writer.take()).length, `${value}`);
      writer.reserve(20);
    }
    writer.varint64(BigInt(value));
    equal(varint64Length(BigInt(value)), concat(writer.take()).length, `${value}`);
  }
  equal(varint64Length(-1n), 10);
  equal(varint64Length((1n << 63n) - 1n), 9);
});

Deno.test("Writer.utf8() writes text as TextEncoder does, and utf8Length() is its length", () => {
  const units = [0x41, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xe000];
  const texts = ["", "a".repeat(64), "a".repeat(65), "é".repeat(100)];
  for (const a of units) {
    for (const b of units) for (const c of units) texts.push(String.fromCharCode(a, b, c));
  }
  for (const text of texts) {
    const expected = new TextEncoder().encode(text);
    equal(utf8Length(text), expected.length);
    const writer = new Writer();
    writer.reserve(expected.length + 2);
    writer.byte(6);
    writer.utf8(text, expected.length);
    writer.byte(7);
    deepEqual(concat(writer.take()), new Uint8Array([6, ...expected, 7]));
  }
});

Deno.test("Writer hands over all bytes in order, whatever their lengths, and none twice", () => {
  const lengths = fc.oneof(
    fc.nat(100),
    fc.nat(70_000),
    fc.constantFrom(0, 1, 4_095, 4_096, 4_097, 8_191, 8_192, 8_193, 32_767, 32_768, 32_769),
  );
  const part = fc.record({
    length: lengths,
    way: fc.constantFrom("copy", "bytes", "freed", "in room", "taken"),
  });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
      const writer = new Writer();
      const expected: Uint8Array[] = [];
      const taken: Uint8Array[] = [];
      parts.forEach(({ length, way }, i) => {
        const value = pattern(length, i);
        expected.push(value.slice());
        if (way === "copy") copy(writer, value);
        else if (way === "freed") writer.bytes(freeWhenSent(value));
        else if (way === "in room") {
          const room = new Uint8Array(length + 20);
          room.set(value, 20);
          writer.bytes(freeWhenSent(room).subarray(20));
        } else writer.bytes(value);
        if (way === "taken") taken.push(...writer.take());
      });
      taken.push(...writer.take());
      deepEqual(concat(taken), concat(expected));
      ok(taken.every((chunk) => chunk.length > 0));
      deepEqual(writer.take(), []);
    }),
    { numRuns: 100, seed: 1 },
  );
});

Deno.test("Writer never writes to what it has handed over", () => {
  const writer = new Writer();
  copy(writer, pattern(10));
  const first = writer.take();
  copy(writer, pattern(10, 100));
  deepEqual(concat(first), pattern(10));
  deepEqual(concat(writer.take()), pattern(10, 100));
});

Deno.test("Writer takes room of any length, also as its first", () => {
  for (const length of [4_096, 4_097, 32_768, 32_769, 100_000]) {
    for (const before of [0, 1, 5_000]) {
      const writer = new Writer();
      const bytes = [pattern(before), pattern(length, 9)];
      for (const part of bytes) copy(writer, part);
      deepEqual(concat(writer.take()), concat(bytes));
    }
  }
});

Deno.test("Writer leaves what a user sends as it is, also the memory around it", () => {
  for (const length of [8_192, 32_768]) {
    const around = pattern(length + 200);
    const before = around.slice();
    const writer = new Writer();
    copy(writer, new Uint8Array(50));
    writer.bytes(around.subarray(100, 100 + length));
    copy(writer, new Uint8Array(50));
    writer.take().forEach(recycle);
    deepEqual(around, before);
  }
});

Deno.test("Writer copies short bytes, and sends long ones from where they are", () => {
  const sent = (length: number) => {
    const bytes = pattern(length);
    const writer = new Writer();
    writer.bytes(bytes);
    return writer.take().some(({ buffer }) => buffer === bytes.buffer);
  };
  equal(sent(8 * KIB - 1), false);
  equal(sent(8 * KIB), true);
});

Deno.test("Writer puts what stands before long bytes into room before them, if that is free", () => {
  const head = pattern(30);
  const chunks = (room: number, free: boolean) => {
    const memory = new Uint8Array(room + 20_000).fill(5);
    if (free) freeWhenSent(memory);
    const writer = new Writer();
    copy(writer, head);
    writer.bytes(memory.subarray(room));
    copy(writer, head);
    const chunks = writer.take();
    deepEqual(concat(chunks), concat([head, new Uint8Array(20_000).fill(5), head]));
    return chunks.length;
  };
  equal(chunks(30, true), 2);
  equal(chunks(31, true), 2);
  equal(chunks(29, true), 3);
  equal(chunks(0, true), 3);
  equal(chunks(30, false), 3);
});

Deno.test("Writer keeps no buffer for the few bytes before long ones", () => {
  const writer = new Writer();
  const long = new Uint8Array(10_000);
  for (let i = 0; i < 50; i++) {
    copy(writer, pattern(10, i));
    writer.bytes(long);
  }
  const heads = writer.take().filter(({ buffer }) => buffer !== long.buffer);
  deepEqual(heads, Array.from({ length: 50 }, (_, i) => pattern(10, i)));
  ok(heads.every(({ buffer }) => buffer.byteLength === 10));
});

Deno.test("Writer takes 4 KiB for a little, and joins much into few chunks", () => {
  const sizes = (length: number, parts: number) => {
    const writer = new Writer();
    for (let i = 0; i < parts; i++) copy(writer, new Uint8Array(length));
    return writer.take().map(({ buffer }) => buffer.byteLength / KIB);
  };
  deepEqual(sizes(1, 1), [4]);
  deepEqual(sizes(1_024, 4), [4]);
  deepEqual(sizes(4_096, 1), [4]);
  deepEqual(sizes(1_024, 5), [4, 32]);
  deepEqual(sizes(1_000, 100), [4, 32, 32, 32]);
  deepEqual(sizes(4_097, 1), [32]);
});

Deno.test("Writer starts with more if it had more last time, until it has little again", () => {
  const writer = new Writer();
  const turn = (length: number) => {
    for (let left = length; left > 0; left -= 100) copy(writer, new Uint8Array(100));
    return writer.take().map(({ buffer }) => buffer.byteLength / KIB);
  };
  deepEqual(turn(5_000), [4, 32]);
  deepEqual(turn(5_000), [32]);
  deepEqual(turn(5_000), [32]);
  deepEqual(turn(100), [32]);
  deepEqual(turn(100), [4]);
});

Deno.test("memory that was sent is used again, but only so much is kept", () => {
  equal(usedAgain(100, 10), 100);
  equal(usedAgain(1_100, 10), 1_024);
  equal(usedAgain(10, 32 * KIB), 10);
  equal(usedAgain(40, 32 * KIB), 16);
});

Deno.test("room that nothing was written to is used again", () => {
  const [buffer] = memoryOf([new Writer()], 10);
  recycle(new Uint8Array(buffer!));
  const idle = new Writer();
  idle.reserve(10);
  deepEqual(idle.take(), []);
  equal(memoryOf([new Writer()], 10)[0], buffer);
});

Deno.test("recycle() does not use again what a user has sent", () => {
  for (const length of [4 * KIB, 32 * KIB]) {
    const theirs = pattern(length);
    recycle(theirs);
    const buffers = memoryOf(Array.from({ length: 50 }, () => new Writer()), length);
    ok(!buffers.includes(theirs.buffer));
    deepEqual(theirs, pattern(length));
  }
});

Deno.test("recycle() frees the memory of long bytes that nobody else has", () => {
  for (const length of [8 * KIB, 32 * KIB]) {
    const bytes = freeWhenSent(pattern(length));
    const others = pattern(length);
    const writer = new Writer();
    writer.bytes(bytes);
    writer.bytes(others);
    writer.take().forEach(recycle);
    equal(bytes.length, 0);
    equal(others.length, length);
  }
});

Deno.test("freeWhenSent() gives the bytes, and leaves short ones to the collector", () => {
  const short = pattern(8 * KIB - 1);
  equal(freeWhenSent(short), short);
  recycle(short);
  notEqual(short.length, 0);
});
