import { concat } from "@std/bytes/concat";
import {
  encodeFrame,
  type Frame,
  FrameDecoder,
  frameDecoderStream,
  frameEncoderStream,
  FrameFlag,
  FrameType,
  HEADER_LENGTH,
} from "@ttrpc/ttrpc/framing";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import fc from "fast-check";
import { Code, RpcError } from "../status.ts";

const MIB = 1 << 20;

interface Oversized {
  streamId: number;
  type: number;
  flags: number;
  oversized: number;
}

/** Decodes bytes that arrive in pieces of at most these lengths, and then as they come. */
function decode(
  bytes: Uint8Array,
  pieces: number[] = [],
  decoder = new FrameDecoder(),
): (Frame | Oversized)[] {
  const found: (Frame | Oversized)[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const space = decoder.space();
    ok(space.length > 0);
    const length = Math.min(space.length, bytes.length - at, pieces[i] ?? Infinity);
    space.set(bytes.subarray(at, at + length));
    decoder.push(length, {
      frame: (streamId, type, flags, data) => void found.push({ streamId, type, flags, data }),
      oversized: (streamId, type, flags, oversized) =>
        void found.push({ streamId, type, flags, oversized }),
    });
    at += length;
  }
  return found;
}

function frame(streamId: number, length: number, fill = streamId): Frame {
  return { streamId, type: FrameType.Data, flags: 0, data: new Uint8Array(length).fill(fill) };
}

Deno.test("encodeFrame() writes length, stream, type and flags before the data", () => {
  const bytes = encodeFrame({
    streamId: 0x01020305,
    type: FrameType.Request,
    flags: FrameFlag.RemoteOpen | FrameFlag.NoData,
    data: new Uint8Array([0xaa, 0xbb]),
  });
  deepEqual([...bytes], [0, 0, 0, 2, 1, 2, 3, 5, 1, 6, 0xaa, 0xbb]);
});

Deno.test("encodeFrame() refuses data that a header cannot announce", () => {
  throws(() => encodeFrame(frame(1, 16 * MIB)), /16777216 bytes/);
});

Deno.test("encodeFrame() takes all that a header can announce", () => {
  const bytes = encodeFrame(frame(1, 16 * MIB - 1));
  equal(bytes.length, HEADER_LENGTH + 16 * MIB - 1);
  deepEqual([...bytes.subarray(0, 4)], [0, 0xff, 0xff, 0xff]);
});

Deno.test("FrameType and FrameFlag have the numbers of the wire", () => {
  deepEqual(FrameType, { Request: 1, Response: 2, Data: 3, Ping: 4, Pong: 5, Cancel: 0xc0 });
  deepEqual(FrameFlag, { RemoteClosed: 1, RemoteOpen: 2, NoData: 4 });
});

Deno.test("FrameDecoder finds frames however their bytes are split", () => {
  const data = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.nat(70_000).map((length) => new Uint8Array(length).fill(length)),
  );
  const frames = fc.array(
    fc.record({
      streamId: fc.nat(0xffffffff),
      type: fc.nat(255),
      flags: fc.nat(255),
      data,
    }),
    { maxLength: 8 },
  );
  const pieces = fc.array(fc.integer({ min: 1, max: 3_000 }), { maxLength: 200 });
  fc.assert(
    fc.property(frames, pieces, (frames, pieces) => {
      deepEqual(decode(concat(frames.map(encodeFrame)), pieces), frames);
    }),
    { numRuns: 200 },
  );
});

Deno.test("FrameDecoder takes one byte at a time", () => {
  const frames = [frame(1, 0), frame(3, 5), frame(5, 9_000)];
  const bytes = concat(frames.map(encodeFrame));
  deepEqual(decode(bytes, Array.from(bytes, () => 1)), frames);
});

Deno.test("FrameDecoder never overwrites what it has handed out", () => {
  const frames = Array.from({ length: 2_000 }, (_, i) => frame(2 * i + 1, i % 90, i));
  const found = decode(concat(frames.map(encodeFrame)), Array.from({ length: 9_000 }, () => 13));
  deepEqual(found, frames);
});

Deno.test("FrameDecoder passes the limit to the byte and discards one more in step", () => {
  const limit = 1_000;
  const bytes = concat([frame(1, limit), frame(3, limit + 1), frame(5, 3)].map(encodeFrame));
  for (const pieces of [[], [HEADER_LENGTH + limit, 4, 6, 1], Array.from(bytes, () => 1)]) {
    deepEqual(decode(bytes, pieces, new FrameDecoder(limit)), [
      frame(1, limit),
      { streamId: 3, type: FrameType.Data, flags: 0, oversized: limit + 1 },
      frame(5, 3),
    ]);
  }
});

Deno.test("FrameDecoder takes 4 MiB by default, and not one byte more", () => {
  const bytes = concat([frame(1, 4 * MIB), frame(3, 4 * MIB + 1)].map(encodeFrame));
  deepEqual(decode(bytes), [
    frame(1, 4 * MIB),
    { streamId: 3, type: FrameType.Data, flags: 0, oversized: 4 * MIB + 1 },
  ]);
});

Deno.test("FrameDecoder allocates for the bytes that came, not for those announced", () => {
  const decoder = new FrameDecoder();
  const header = encodeFrame(frame(1, 4 * MIB)).subarray(0, HEADER_LENGTH);
  let received = 0;
  let largest = 0;
  const put = (bytes: Uint8Array) => {
    const space = decoder.space();
    largest = Math.max(largest, space.buffer.byteLength);
    space.set(bytes.subarray(0, space.length));
    decoder.push(Math.min(bytes.length, space.length), { frame() {}, oversized() {} });
    received += bytes.length;
    ok(largest <= Math.max(2 * received, 64 * 1024), `${largest} bytes for ${received}`);
  };
  put(header);
  for (let i = 0; i < 1_000; i++) put(new Uint8Array(1_000));
  ok(largest >= MIB / 2);
});

/** Has a decoder read bytes, at most so many at once, and tells how long its buffer was each time. */
function reads(decoder: FrameDecoder, bytes: Uint8Array, most = Infinity): number[] {
  const lengths: number[] = [];
  for (let at = 0; at < bytes.length;) {
    const space = decoder.space();
    const length = Math.min(space.length, bytes.length - at, most);
    space.set(bytes.subarray(at, at + length));
    decoder.push(length, { frame() {}, oversized() {} });
    lengths.push(space.buffer.byteLength);
    at += length;
  }
  return lengths;
}

/** The bytes of many small frames. */
function smallFrames(length: number): Uint8Array {
  return concat(Array.from({ length: length / 100 }, (_, i) => encodeFrame(frame(i, 90))));
}

Deno.test("FrameDecoder holds 1 KiB before anything comes, and 4 KiB for a little", () => {
  const decoder = new FrameDecoder();
  equal(decoder.space().buffer.byteLength, 1 << 10);
  const lengths = reads(decoder, smallFrames(8_000), 20);
  equal(lengths.at(-1), 1 << 12);
});

Deno.test("FrameDecoder reads much at once, but no more than 32 KiB, where much comes", () => {
  const lengths = reads(new FrameDecoder(), smallFrames(MIB / 2));
  equal(Math.max(...lengths), 1 << 15);
  ok(lengths.length < 25, `${lengths.length} reads`);
});

Deno.test("FrameDecoder reads much at once as long as a part of it comes, and less after that", () => {
  const decoder = new FrameDecoder();
  reads(decoder, smallFrames(MIB / 4));
  const half = reads(decoder, smallFrames(MIB / 4), 1 << 13);
  ok(half.every((length) => length === 1 << 15));
  const few = reads(decoder, smallFrames(MIB / 4), 20);
  equal(few.at(-1), 1 << 12);
  ok(few.every((length) => length >= 1 << 12));
});

Deno.test("FrameDecoder puts many small frames into one buffer, with room worth a read", () => {
  const decoder = new FrameDecoder();
  const buffers = new Set<ArrayBuffer>();
  for (let i = 0; i < 1_000; i++) {
    const space = decoder.space();
    ok(space.length >= 256, `room for ${space.length} bytes`);
    buffers.add(space.buffer);
    space.set(encodeFrame(frame(i, 7)));
    decoder.push(HEADER_LENGTH + 7, { frame() {}, oversized() {} });
  }
  ok(buffers.size < 9, `${buffers.size} buffers`);
});

Deno.test("FrameDecoder takes frames that fill its buffer to the last byte", () => {
  const decoder = new FrameDecoder();
  const found = decode(encodeFrame(frame(1, decoder.space().length - HEADER_LENGTH)), [], decoder);
  equal(found.length, 1);
  deepEqual(decode(encodeFrame(frame(3, 3)), [], decoder), [frame(3, 3)]);
});

Deno.test("FrameDecoder gives a long frame memory of its own, which it alone keeps", () => {
  for (const pieces of [[], [5, 1_000]]) {
    const [, long] = decode(concat([frame(1, 5), frame(3, 9_000)].map(encodeFrame)), pieces);
    deepEqual(long, frame(3, 9_000));
    equal((long as Frame).data.buffer.byteLength, HEADER_LENGTH + 9_000);
  }
});

Deno.test("FrameDecoder reads a long frame in few pieces, and in one from a peer that sent as long a one", () => {
  const decoder = new FrameDecoder();
  const pieces = (length: number) => {
    const bytes = encodeFrame(frame(1, length));
    reads(decoder, bytes.subarray(0, HEADER_LENGTH));
    return reads(decoder, bytes.subarray(HEADER_LENGTH)).length;
  };
  const first = pieces(4 * MIB);
  ok(first > 1 && first < 9, `${first} pieces`);
  equal(pieces(4 * MIB), 1);
  equal(pieces(100_000), 1);
  equal(pieces(4 * MIB), 1);
});

Deno.test("FrameDecoder needs no memory for what it discards", () => {
  const decoder = new FrameDecoder(1_000);
  const sink = { frame() {}, oversized() {} };
  const put = (bytes: Uint8Array) => {
    const space = decoder.space();
    ok(space.buffer.byteLength <= 64 * 1024);
    const length = Math.min(space.length, bytes.length);
    space.set(bytes.subarray(0, length));
    decoder.push(length, sink);
    return length;
  };
  put(encodeFrame(frame(1, 15 * MIB)).subarray(0, HEADER_LENGTH));
  const noise = new Uint8Array(64 * 1024).fill(7);
  for (let left = 15 * MIB; left > 0;) left -= put(noise.subarray(0, Math.min(left, noise.length)));
  equal(decoder.partial, false);
});

Deno.test("FrameDecoder gives a fatal error for a first byte that is not zero", () => {
  const bytes = concat([encodeFrame(frame(1, 2)), new TextEncoder().encode("HTTP/1.1 400")]);
  throws(() => decode(bytes), (error) => {
    ok(error instanceof RpcError);
    equal(error.code, Code.INTERNAL);
    equal(
      error.rawMessage,
      "protocol error: a frame starts with byte 72, not with zero; the peer does not speak ttrpc",
    );
    return true;
  });
});

Deno.test("FrameDecoder sees a wrong first byte before the header is whole", () => {
  throws(() => decode(new Uint8Array([1])), /starts with byte 1/);
});

Deno.test("FrameDecoder tells whether it is inside a frame", () => {
  const whole = encodeFrame(frame(1, 20_000));
  for (const cut of [1, 9, 10, 11, 15_000, 19_999]) {
    const decoder = new FrameDecoder();
    decode(whole.subarray(0, cut), [], decoder);
    equal(decoder.partial, true, `${cut}`);
    decode(whole.subarray(cut), [], decoder);
    equal(decoder.partial, false, `${cut}`);
  }
});

Deno.test("FrameDecoder is inside a frame while it discards", () => {
  const decoder = new FrameDecoder(10);
  const bytes = concat([frame(1, 3), frame(3, 100)].map(encodeFrame));
  decode(bytes.subarray(0, 50), [], decoder);
  equal(decoder.partial, true);
  decode(bytes.subarray(50, bytes.length - 1), [], decoder);
  equal(decoder.partial, true);
  decode(bytes.subarray(bytes.length - 1), [], decoder);
  equal(decoder.partial, false);
});

Deno.test("FrameDecoder refuses a limit that no header can announce", () => {
  for (const limit of [0, -1, 1.5, NaN, 16 * MIB]) {
    throws(() => new FrameDecoder(limit), RangeError);
  }
  new FrameDecoder(16 * MIB - 1);
  deepEqual(decode(encodeFrame(frame(1, 1)), [], new FrameDecoder(1)), [frame(1, 1)]);
});

Deno.test("frameDecoderStream() and frameEncoderStream() undo each other", async () => {
  const frames = [frame(1, 0), frame(3, 100_000), frame(5, 7)];
  const found = ReadableStream.from(frames)
    .pipeThrough(frameEncoderStream())
    .pipeThrough(frameDecoderStream());
  deepEqual(await Array.fromAsync(found), frames);
});

Deno.test("frameDecoderStream() takes its bytes one by one", async () => {
  const frames = [frame(1, 3), frame(3, 0)];
  const bytes = [...concat(frames.map(encodeFrame))].map((byte) => new Uint8Array([byte]));
  const found = ReadableStream.from(bytes).pipeThrough(frameDecoderStream());
  deepEqual(await Array.fromAsync(found), frames);
});

async function streamError(bytes: Uint8Array, maxLength?: number): Promise<unknown> {
  const stream = ReadableStream.from([bytes])
    .pipeThrough(frameDecoderStream(maxLength === undefined ? {} : { maxLength }));
  try {
    await Array.fromAsync(stream);
  } catch (error) {
    ok(error instanceof RpcError);
    return error.code;
  }
  return undefined;
}

Deno.test("frameDecoderStream() errors for bytes that end inside a frame", async () => {
  equal(await streamError(encodeFrame(frame(1, 5)).subarray(0, 12)), Code.UNAVAILABLE);
});

Deno.test("frameDecoderStream() errors for bytes that are not ttrpc", async () => {
  equal(await streamError(new Uint8Array([9, 9])), Code.INTERNAL);
});

Deno.test("frameDecoderStream() errors for a frame over its limit", async () => {
  equal(await streamError(encodeFrame(frame(1, 11)), 10), Code.RESOURCE_EXHAUSTED);
  equal(await streamError(encodeFrame(frame(1, 10)), 10), undefined);
  const stream = ReadableStream.from([encodeFrame(frame(1, 4 * MIB + 1))])
    .pipeThrough(frameDecoderStream());
  await rejects(Array.fromAsync(stream), {
    rawMessage: "message length 4194305 exceed maximum message size of 4194304",
  });
});
