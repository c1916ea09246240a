// Inputs that nobody would send, the same ones each time. `deno task fuzz` tries others, for as
// long as one likes; what it finds comes to regressions/, and is tried here ever after.

import { ok, rejects } from "node:assert/strict";
import { fuzz, regressions, targets } from "./fuzz.ts";
import { attempt, noise } from "./target.ts";

/** So many inputs of each target take about a second. */
const RUNS: Record<string, number> = {
  frames: 1_500,
  request: 3_000,
  response: 3_000,
  server: 400,
  client: 400,
  model: 40,
  codegen: 500,
};

const SEEDS = [1, 20_260_101];

for (const target of targets) {
  Deno.test(`no input breaks the target "${target.name}"`, async () => {
    for (const seed of SEEDS) {
      const numRuns = RUNS[target.name]!;
      ok(await fuzz(target, { seed, numRuns }) === numRuns);
    }
  });
}

Deno.test("no input that broke something once does so again", async (t) => {
  for await (const [name, target, input] of regressions()) {
    await t.step(name, () => attempt(target, input));
  }
});

Deno.test("attempt() notices a rejection that nobody handles", async () => {
  const run = () => {
    void Promise.reject(new Error("stray"));
    return Promise.resolve();
  };
  const attempting = attempt({ name: "stray", inputs: noise, run }, new Uint8Array(0));
  await rejects(attempting, { message: "a rejection that nobody handles" });
});
