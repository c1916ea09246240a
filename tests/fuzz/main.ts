/**
 * Fuzzes for a given time: `deno task fuzz --seconds 600`. Other options: `--seed N`, and
 * `--target NAME` for one target alone. Inputs that break something are saved in regressions/. The
 * model is tried only by its name: what it finds in a long run may be a gap of its own.
 */

import { fuzz, targets } from "./fuzz.ts";

function option(name: string): string | undefined {
  const at = Deno.args.indexOf(`--${name}`);
  return at < 0 ? undefined : Deno.args[at + 1];
}

const seconds = Number(option("seconds") ?? 60);
const only = option("target");
const chosen = targets.filter(({ name }) => only === undefined ? name !== "model" : name === only);
if (!(seconds > 0) || chosen.length === 0) {
  console.error("usage: fuzz [--seconds N] [--seed N] [--target NAME]");
  Deno.exit(2);
}

let seed = Number(option("seed") ?? crypto.getRandomValues(new Int32Array(1))[0]);
let failures = 0;
const tried = new Map<string, number>();
const end = performance.now() + 1_000 * seconds;
console.log(`seed ${seed}, ${seconds} s`);
for (; performance.now() < end && failures < 10; seed = (seed + 1) | 0) {
  for (const target of chosen) {
    const left = end - performance.now();
    if (left <= 0) break;
    const timeLimitMs = Math.min(5_000, left);
    try {
      const runs = await fuzz(target, { seed, numRuns: 1_000_000, timeLimitMs });
      tried.set(target.name, (tried.get(target.name) ?? 0) + runs);
    } catch (error) {
      failures++;
      console.log(error);
    }
  }
}
const counts = [...tried].map(([name, runs]) => `${name} ${runs}`).join(", ");
console.log(`${failures === 0 ? "ok" : "FAILED"} | inputs tried: ${counts} | ${failures} failures`);
Deno.exitCode = failures === 0 ? 0 : 1;
