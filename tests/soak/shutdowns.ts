/**
 * `deno task prove:shutdown`: `--rounds N` (200) graceful shutdowns each, over a unix socket and
 * TCP, with messages of 100 B, 20 KB and 3.5 MB, unary and of all kinds, while 64 callers in two
 * processes call (6 with the largest messages). Fails if one answer is lost.
 */

import { allRounds, shutdownRounds, startClients } from "../faults/shutdown_rounds.ts";
import { numberOption } from "./options.ts";

const rounds = numberOption("rounds", 200);
const clients = await startClients(2);
let failed = false;
console.log("| over | message | calls     | shutdowns | answered | refused | lost | slowest |");
console.log("| ---- | ------- | --------- | --------- | -------- | ------- | ---- | ------- |");
for (const what of allRounds(rounds)) {
  const result = await shutdownRounds(clients, what);
  const { served, answered, refused, lossy, refusals, wrong, slowestMs } = result;
  const cells = [
    what.transport.padEnd(4),
    `${what.size}`.padStart(7),
    (what.unary ? "unary" : "all kinds").padEnd(9),
    `${rounds}`.padStart(9),
    `${answered}`.padStart(8),
    `${refused}`.padStart(7),
    `${served - answered}`.padStart(4),
    `${slowestMs.toFixed(0)} ms`.padStart(7),
  ];
  console.log(`| ${cells.join(" | ")} |`);
  for (const line of [...refusals, ...new Set(wrong)]) console.log(`  ${line}`);
  failed ||= lossy > 0 || wrong.length > 0 || answered !== served;
}
for (const client of clients) await client[Symbol.asyncDispose]();
console.log(failed ? "FAILED" : "ok");
Deno.exitCode = failed ? 1 : 0;
