/**
 * `deno task soak`: a million calls, a hundred thousand streams and ten thousand connections,
 * then everything at once, with faults, for `--seconds N` (120), and then a flood of hostile peers for
 * half of that. `--seed N` repeats a run; `--small` leaves the first part to the ordinary tests.
 */

import { flood, floodFaults, showFlood } from "./flood.ts";
import { leaks, measure, show, watchTimers } from "./figures.ts";
import { endure, mustEnd } from "./leaks.ts";
import { mix } from "./mix.ts";
import { numberOption } from "./options.ts";

watchTimers();
const seconds = numberOption("seconds", 120);
const seed = numberOption("seed", Date.now() % 1_000_000);
const found = Deno.args.includes("--small")
  ? []
  : await endure({ calls: 1_000_000, streams: 100_000, connections: 10_000 });

console.log(`everything at once for ${seconds} s, seed ${seed}`);
let said = "";
try {
  // The first tenth is for code to be compiled and pools to fill.
  await mix(Math.max(1, seconds / 10), seed);
  const before = await measure();
  const { outcomes, clients, cuts, hostile } = await mix(seconds, seed + 1_000);
  const after = await measure();
  console.log(`  before: ${show(before)}\n  after:  ${show(after)}`);
  found.push(...leaks(before, after).map((leak) => `everything at once: ${leak}`));
  const calls = [...outcomes.values()].reduce((sum, count) => sum + count, 0);
  const ends = [...outcomes].map(([name, count]) => `${count} ${name}`).join(", ");
  said = `${calls} calls (${ends}) of ${clients} clients, ${cuts} cuts, ${hostile} hostile peers`;
} catch (error) {
  console.log(error);
  found.push(`everything at once: ${error}`);
}

const floodSeconds = Math.ceil(seconds / 2);
console.log(`a flood for ${floodSeconds} s, seed ${seed}`);
try {
  const result = await flood(floodSeconds, seed);
  console.log(`  ${showFlood(result)}`);
  found.push(...floodFaults(result).map((fault) => `a flood: ${fault}`));
} catch (error) {
  console.log(error);
  found.push(`a flood: ${error}`);
}
console.log(
  found.length === 0
    ? `ok | ${said} | seed ${seed}`
    : `FAILED | ${found.join("; ")} | seed ${seed}`,
);
Deno.exitCode = found.length === 0 ? 0 : 1;
mustEnd();
