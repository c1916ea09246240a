/** Tells what came of the changes to a file. */

import type { Mutant } from "./mutants.ts";

/** A change that no test noticed. */
export interface Survivor {
  mutant: Mutant;
  /** Why it does not matter, if it was judged. */
  reason: string | undefined;
}

/** What came of the changes to a file. */
export interface Results {
  file: string;
  tests: string[];
  /** How long the tests take without a change, in milliseconds. */
  testMs: number;
  /** How long all took, in milliseconds. */
  totalMs: number;
  /** How many changes failed a test. */
  failed: number;
  /** How many made the tests take too long. */
  timedOut: number;
  survivors: Survivor[];
  /** Judgements for which there was no survivor. */
  unused: string[];
}

/**
 * The results in words.
 *
 * @returns The text, and the score: of the changes that matter, the percentage that was noticed.
 */
export function report(results: Results): { text: string; score: number } {
  const { file, failed, timedOut, unused } = results;
  const lines: string[] = [];
  const survivors = results.survivors.toSorted((a, b) => a.mutant.start - b.mutant.start);
  for (const { mutant, reason } of survivors) {
    lines.push(
      `${file}:${mutant.line} ${mutant.kind}${reason === undefined ? "" : `, judged: ${reason}`}`,
      `  was    ${mutant.was}`,
      `  became ${mutant.became}`,
    );
  }
  for (const text of unused) {
    lines.push(`judged.json has for ${file} what is not possible, or noticed: ${text}`);
  }
  const judged = survivors.filter(({ reason }) => reason !== undefined).length;
  const noticed = failed + timedOut;
  const total = noticed + survivors.length - judged;
  const score = total === 0 ? 100 : 100 * noticed / total;
  lines.push(
    `${file}: ${score.toFixed(1)} % (${noticed} of ${total} noticed, ${timedOut} of them by ` +
      `time; ${judged} judged) in ${(results.totalMs / 1_000).toFixed(0)} s ` +
      `(${(results.testMs / 1_000).toFixed(2)} s a run of ${results.tests.join(" ")})`,
  );
  return { text: lines.join("\n"), score };
}
