// The stand-ins for packages on JSR do what the real ones do; without the links, the real ones are
// tested here.

import { concat } from "@std/bytes/concat";
import { toTransformStream } from "@std/streams/to-transform-stream";
import { deepEqual, equal, rejects, throws } from "node:assert/strict";

Deno.test("concat() joins byte arrays into a new one", () => {
  const one = new Uint8Array([1, 2]);
  const joined = concat([one, new Uint8Array(0), new Uint8Array([3])]);
  deepEqual(joined, new Uint8Array([1, 2, 3]));
  one[0] = 9;
  equal(joined[0], 1);
  deepEqual(concat([]), new Uint8Array(0));
});

Deno.test("toTransformStream() passes on what a generator yields", async () => {
  const doubled = ReadableStream.from([1, 2, 3]).pipeThrough(
    toTransformStream(async function* (source: ReadableStream<number>) {
      for await (const number of source) yield 2 * number;
    }),
  );
  deepEqual(await Array.fromAsync(doubled), [2, 4, 6]);
});

Deno.test("toTransformStream() passes an error of the generator to both sides", async () => {
  let cancelled = false;
  const source = new ReadableStream<number>({
    pull: (controller) => controller.enqueue(1),
    cancel: () => void (cancelled = true),
  });
  const failure = new Error("no");
  const failing = source.pipeThrough(
    // deno-lint-ignore require-yield -- it fails before it would
    toTransformStream(async function* (source: ReadableStream<number>) {
      for await (const _ of source) throw failure;
    }),
  );
  await rejects(Array.fromAsync(failing), failure);
  equal(cancelled, true);
});

Deno.test("toTransformStream() tells the generator that its reader is gone", async () => {
  let cleanedUp = false;
  const endless = new ReadableStream<number>({ pull: (controller) => controller.enqueue(1) });
  const passed = endless.pipeThrough(
    toTransformStream(async function* (source: ReadableStream<number>) {
      try {
        yield* source;
      } finally {
        cleanedUp = true;
      }
    }),
  );
  for await (const _ of passed) break;
  equal(cleanedUp, true);
});

Deno.test("toTransformStream() refuses a function that returns nothing to iterate over", () => {
  throws(() => toTransformStream((() => 1) as unknown as () => number[]), TypeError);
});
