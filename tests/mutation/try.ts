/** Makes every small change to a file in turn, and sees whether its tests notice. */

import type { Copies, Copy, End } from "./copies.ts";
import { apply, type Mutant, mutantsOf } from "./mutants.ts";

/** What to try. */
export interface Trial {
  /** Copies of the project; as many changes are tried at once. */
  copies: Copies;
  /** The file that is changed, from the project's folder. */
  file: string;
  /** Its text. */
  source: string;
  /** The tests, from the project's folder. */
  tests: string[];
  /** Ends the trial. */
  signal: AbortSignal;
  /** Called when a change has been tried. */
  onEnd(mutant: Mutant, end: End): void;
}

/** A run may take so many times as long as without a change, and so much more. */
const TIMES = 10;
const SPARE_MS = 5_000;
/** How long the tests may take without a change. */
const LONGEST_MS = 300_000;

/**
 * Tries all changes to a file.
 *
 * @returns How long the tests take without a change, in milliseconds.
 * @throws {Error} If they fail without a change, before or after.
 */
export async function tryMutants(trial: Trial): Promise<number> {
  const { copies, file, source, tests, onEnd } = trial;
  const failed = new AbortController();
  const signal = AbortSignal.any([trial.signal, failed.signal]);
  const everywhere = async (work: (copy: Copy) => Promise<void>) => {
    const done = copies.all.map((copy) =>
      work(copy).catch((error) => {
        failed.abort(error);
        throw error;
      })
    );
    await Promise.allSettled(done); // so that no test runs on in a folder that is being removed
    await Promise.all(done);
  };
  let longest = 0;
  const unchanged = async (copy: Copy, when: string) => {
    await copy.write(file, source);
    const start = performance.now();
    if (await copy.test(tests, LONGEST_MS, signal) !== "passed") {
      await copy.test(tests, LONGEST_MS, signal, true);
      throw new Error(`Cannot try changes to ${file}: without one its tests fail${when}`);
    }
    longest = Math.max(longest, performance.now() - start);
  };
  await unchanged(copies.all[0]!, ""); // fills the caches
  longest = 0;
  await everywhere((copy) => unchanged(copy, ""));
  const limit = TIMES * longest + SPARE_MS;
  const mutants = mutantsOf(source).values();
  await everywhere(async (copy) => {
    for (const mutant of mutants) {
      await copy.write(file, apply(source, mutant));
      onEnd(mutant, await copy.test(tests, limit, signal));
    }
    // What a run has left behind, or taken away, may have failed those that followed.
    await unchanged(copy, " now, as they did not before");
  });
  return longest;
}
