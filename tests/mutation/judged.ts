/** Changes that were judged not to matter, each with the reason. */

import type { Mutant } from "./mutants.ts";

/** What `judged.json` has for one reason. */
export interface Judgement {
  /** The file, from the project's folder. */
  file: string;
  /** Why nobody can notice. */
  reason: string;
  /** The changes: the line as it was, and as it became. */
  changes: [was: string, became: string][];
}

/** The judgements of one file. Each is good for one change, so that no other hides behind it. */
export class Judged {
  readonly #reasons = new Map<string, string[]>();

  constructor(judgements: readonly Judgement[], file: string) {
    for (const judgement of judgements) {
      if (judgement.file !== file) continue;
      for (const [was, became] of judgement.changes) {
        const change = key({ was, became });
        this.#reasons.set(change, [...this.#reasons.get(change) ?? [], judgement.reason]);
      }
    }
  }

  /**
   * Why a change does not matter.
   *
   * @param mutant One that survived.
   * @returns The reason; `undefined` if it was not judged.
   */
  reason(mutant: Mutant): string | undefined {
    return this.#reasons.get(key(mutant))?.pop();
  }

  /** The judgements that nobody has asked for: no such change is possible, or tests notice it. */
  get unused(): string[] {
    return [...this.#reasons].flatMap(([change, reasons]) => reasons.map(() => change));
  }
}

function key({ was, became }: Pick<Mutant, "was" | "became">): string {
  return `${was} -> ${became}`;
}

/**
 * Reads the judgements of a project.
 *
 * @param root Its folder.
 * @returns What `tests/mutation/judged.json` has; nothing if there is none.
 */
export async function readJudgements(root: string): Promise<Judgement[]> {
  try {
    return JSON.parse(await Deno.readTextFile(`${root}/tests/mutation/judged.json`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
