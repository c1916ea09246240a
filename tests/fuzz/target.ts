/** What can be fuzzed: something that takes bytes, and the bytes to give it. */

import { concat } from "@std/bytes/concat";
import fc from "fast-check";
import { ok } from "node:assert/strict";
import { setImmediate } from "node:timers";

/** Something that takes bytes. */
export interface Target {
  /** Its name, which regression files bear. */
  readonly name: string;
  /** Bytes to give it: some good, most of them nearly so. */
  readonly inputs: fc.Arbitrary<Uint8Array>;
  /** Throws, or rejects, if the bytes break a promise of the library. */
  run(input: Uint8Array): void | Promise<void>;
}

/** Random numbers below a bound that come again for the same bytes, so that replays are exact. */
export function randomOf(input: Uint8Array): (below: number) => number {
  let state = 0x811c9dc5;
  for (const byte of input) state = Math.imul(state ^ byte, 0x01000193);
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

interface Mutation {
  kind: "set" | "flip" | "insert" | "remove" | "repeat" | "cut";
  at: number;
  value: number;
}

const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({
    kind: fc.constantFrom("set", "flip", "insert", "remove", "repeat", "cut"),
    at: fc.nat(1 << 16),
    value: fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
  }),
  { maxLength: 4 },
);

/** Good bytes with a few mistakes in them, or none. */
export function mutated(inputs: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  return fc.tuple(inputs, mutations).map(([input, mistakes]) => {
    let bytes = input.slice();
    for (const { kind, at: anywhere, value } of mistakes) {
      const at = anywhere % (bytes.length + 1);
      const before = bytes.subarray(0, at);
      if (kind === "insert") bytes = concat([before, Uint8Array.of(value), bytes.subarray(at)]);
      else if (kind === "remove") bytes = concat([before, bytes.subarray(at + 1 + value % 8)]);
      else if (kind === "repeat") {
        bytes = concat([bytes.subarray(0, at + value), bytes.subarray(at)]);
      } else if (kind === "cut") bytes = before;
      else if (at < bytes.length) {
        bytes[at] = kind === "set" ? value : bytes[at]! ^ (1 << value % 8);
      }
    }
    return bytes;
  });
}

/** Bytes with more or less order in them. */
export const noise: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  fc.array(fc.constantFrom(0, 0, 0, 1, 2, 3, 10, 0x7f, 0x80, 0xff), { maxLength: 60 })
    .map((bytes) => Uint8Array.from(bytes)),
);

/** The longest that one input may take, in milliseconds: none has more than some KiB. */
const PATIENCE_MS = 5_000;

/**
 * Gives a target one input, and watches for what it must not do beside: take for ever, or reject
 * promises that nobody holds.
 */
export async function attempt(target: Target, input: Uint8Array): Promise<void> {
  const stray: unknown[] = [];
  const onStray = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    stray.push(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", onStray);
  const started = performance.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const running = target.run(input);
    if (running) {
      const { promise: late, reject } = Promise.withResolvers<never>();
      const hangs = () => reject(new Error(`it hangs for more than ${PATIENCE_MS} ms`));
      timer = setTimeout(hangs, PATIENCE_MS);
      await Promise.race([running, late]);
      // Promises without an owner are found at the end of a turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    clearTimeout(timer);
    globalThis.removeEventListener("unhandledrejection", onStray);
  }
  if (stray.length > 0) throw new Error("a rejection that nobody handles", { cause: stray[0] });
  const took = performance.now() - started;
  ok(took < PATIENCE_MS, `${input.length} bytes took ${took} ms`);
}
