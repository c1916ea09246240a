/** Runs targets, and keeps the inputs that break them. */

import fc from "fast-check";
import { codegen } from "./codegen.ts";
import { requests, responses } from "./envelope.ts";
import { frames } from "./frames.ts";
import { model } from "./model.ts";
import { clients, servers } from "./roles.ts";
import { attempt, type Target } from "./target.ts";

export const targets: readonly Target[] = [
  frames,
  requests,
  responses,
  servers,
  clients,
  model,
  codegen,
];

/** Inputs that broke something once, as hexadecimal text: `<target>-<digest>.hex`. */
export const REGRESSIONS = new URL("regressions/", import.meta.url);

/** How much to try. */
export interface Effort {
  seed: number;
  numRuns: number;
  /** Stops after so many milliseconds, successfully. */
  timeLimitMs?: number;
}

/**
 * Tries inputs that follow from the seed.
 *
 * @returns How many were tried.
 * @throws What the smallest input that broke the target led to; the input is saved.
 */
export async function fuzz(target: Target, effort: Effort): Promise<number> {
  const { seed, numRuns, timeLimitMs } = effort;
  const result = await fc.check(
    fc.asyncProperty(target.inputs, (input) => attempt(target, input)),
    {
      seed,
      numRuns,
      ...timeLimitMs === undefined ? {} : { interruptAfterTimeLimit: timeLimitMs },
    },
  );
  if (!result.failed || result.counterexample === null) return result.numRuns;
  const [input] = result.counterexample;
  const file = await save(target, input);
  throw new Error(
    `${target.name}, seed ${seed}: broken by ${input.length} bytes, saved as ${file}`,
    { cause: result.errorInstance },
  );
}

async function save(target: Target, input: Uint8Array): Promise<string> {
  const bytes = new Uint8Array(input);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 12);
  const file = `${target.name}-${digest}.hex`;
  await Deno.writeTextFile(new URL(file, REGRESSIONS), `${bytes.toHex()}\n`);
  return file;
}

/** The inputs that were saved, with their targets. */
export async function* regressions(): AsyncIterableIterator<[string, Target, Uint8Array]> {
  for await (const { name } of Deno.readDir(REGRESSIONS)) {
    if (!name.endsWith(".hex")) continue;
    const target = targets.find((target) => name.startsWith(`${target.name}-`));
    if (!target) throw new Error(`There is no target for ${name}`);
    const text = await Deno.readTextFile(new URL(name, REGRESSIONS));
    yield [name, target, Uint8Array.fromHex(text.trim())];
  }
}
