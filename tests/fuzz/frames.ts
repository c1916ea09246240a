/** The decoder of frames, against one that is too simple to be wrong. */

import { concat } from "@std/bytes/concat";
import fc from "fast-check";
import { deepEqual, equal, ok } from "node:assert/strict";
import { encodeFrame, FrameDecoder, HEADER_LENGTH } from "../../framing.ts";
import { RpcError } from "../../status.ts";
import { mutated, noise, randomOf, type Target } from "./target.ts";

const LIMITS = [1, 30, 20_000, 4 << 20];

const frame = fc.record({
  streamId: fc.oneof(fc.nat(9), fc.constantFrom(2 ** 31, 2 ** 32 - 1)),
  type: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.nat(255)),
  flags: fc.oneof(fc.nat(7), fc.nat(255)),
  data: fc.oneof(
    { weight: 30, arbitrary: fc.uint8Array({ maxLength: 40 }) },
    { weight: 1, arbitrary: fc.nat(40_000).map((length) => new Uint8Array(length).fill(length)) },
  ),
}).map(encodeFrame);

/** Decodes what is whole, all at once. */
function expected(input: Uint8Array, limit: number): string[] {
  const events: string[] = [];
  const view = new DataView(input.buffer, input.byteOffset, input.length);
  for (let at = 0; at < input.length;) {
    if (input[at] !== 0) return [...events, "not ttrpc"];
    if (at + HEADER_LENGTH > input.length) return [...events, "partial"];
    const length = view.getUint32(at);
    const head = `${view.getUint32(at + 4)} ${input[at + 8]} ${input[at + 9]}`;
    const end = at + HEADER_LENGTH + length;
    if (length > limit) events.push(`oversized ${head} ${length}`);
    if (end > input.length) return [...events, "partial"];
    if (length <= limit) events.push(`${head} ${hex(input.subarray(at + HEADER_LENGTH, end))}`);
    at = end;
  }
  return events;
}

function hex(bytes: Uint8Array): string {
  return bytes.length > 200 ? `${bytes.length}:${bytes.at(-1)}` : bytes.toHex();
}

function decode(input: Uint8Array): void {
  const random = randomOf(input);
  const limit = LIMITS[random(LIMITS.length)]!;
  const piece = [1, 7, 100, 1 << 16][random(4)]!;
  const decoder = new FrameDecoder(limit);
  const events: string[] = [];
  const kept: { data: Uint8Array; was: string }[] = [];
  let received = 0;
  let handedOut = 0;
  try {
    for (let at = 0; at < input.length;) {
      const space = decoder.space();
      ok(space.length > 0, "there is no space for the next bytes");
      const room = space.buffer.byteLength;
      ok(room <= Math.max(1 << 16, 2 * received + 64), `${room} bytes for ${received}`);
      const part = input.subarray(at, at + Math.min(space.length, 1 + random(piece)));
      space.set(part);
      at += part.length;
      received += part.length;
      decoder.push(part.length, {
        frame: (streamId, type, flags, data) => {
          handedOut += HEADER_LENGTH + data.length;
          kept.push({ data, was: hex(data) });
          events.push(`${streamId} ${type} ${flags} ${hex(data)}`);
        },
        oversized: (streamId, type, flags, length) =>
          void events.push(`oversized ${streamId} ${type} ${flags} ${length}`),
      });
    }
    if (decoder.partial) events.push("partial");
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    events.push("not ttrpc");
  }
  deepEqual(events, expected(input, limit));
  ok(handedOut <= received, "more was handed out than has come");
  for (const { data, was } of kept) equal(hex(data), was, "a frame was overwritten");
}

export const frames: Target = {
  name: "frames",
  inputs: fc.oneof(
    { weight: 4, arbitrary: mutated(fc.array(frame, { maxLength: 8 }).map(concat)) },
    { weight: 1, arbitrary: noise },
  ),
  run: decode,
};
