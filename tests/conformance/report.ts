/** What came of a run, for people and for programs. */

import type { Result } from "./run.ts";
import type { Case, Level } from "./vector.ts";

interface Count {
  passed: number;
  failed: number;
}

/** A whole run. */
export interface Report {
  must: Count;
  may: Count;
  results: Result[];
}

export function report(results: Result[]): Report {
  return { must: count(results, "must"), may: count(results, "may"), results };
}

function count(results: readonly Result[], level: Level): Count {
  const passed = results.filter((each) => each.level === level && each.passed).length;
  return { passed, failed: results.filter((each) => each.level === level).length - passed };
}

/** A line a case, and below those that failed what was expected and what came. */
export function table({ must, may, results }: Report): string {
  const width = Math.max(0, ...results.map(({ id }) => id.length));
  const lines = results.flatMap((each) => {
    const head = `${each.passed ? "ok  " : "FAIL"} ${each.level.padEnd(4)} ${
      each.id.padEnd(width)
    }  ${each.title}  [${each.source}]`;
    if (each.passed) return [head];
    return [head, `       expected ${each.expected}`, `       received ${each.received}`];
  });
  return [...lines, "", `must: ${totals(must)}; may: ${totals(may)}`].join("\n");
}

function totals({ passed, failed }: Count): string {
  return `${passed} passed, ${failed} failed`;
}

/** The cases there are, for `--list`. */
export function listing(cases: readonly Case[]): string {
  const width = Math.max(0, ...cases.map(({ id }) => id.length));
  return cases.map(({ id, role, level, title, tags, source }) =>
    `${role} ${level.padEnd(4)} ${id.padEnd(width)}  ${title}  [${source}]` +
    (tags.length > 0 ? `  {${tags.join(", ")}}` : "")
  ).join("\n");
}
