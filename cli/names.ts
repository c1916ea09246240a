/**
 * Names of methods, and suggestions for names that are not found.
 *
 * @module
 */

import { usage } from "./failure.ts";

/**
 * Finds the name that is most similar to one that was not found.
 *
 * @param wanted The name that was not found.
 * @param names The names that exist.
 * @returns The most similar name; `undefined` if none is similar.
 */
export function nearest(wanted: string, names: Iterable<string>): string | undefined {
  const lower = wanted.toLowerCase();
  let best: string | undefined;
  let least = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  for (const name of names) {
    const candidate = name.toLowerCase();
    // A suffix, such as "Task/State" for "containerd.task.v2.Task/State", or a prefix beats a typo.
    const part = candidate.endsWith(`.${lower}`) || candidate.startsWith(lower);
    const distance = part ? 0.5 : editDistance(lower, candidate, least);
    if (distance < least) {
      least = distance;
      best = name;
    }
  }
  return best;
}

/**
 * A suggestion to add to an error about a name that was not found.
 *
 * @param wanted The name that was not found.
 * @param names The names that exist.
 * @returns The suggestion; an empty string if no name is similar.
 */
export function didYouMean(wanted: string, names: Iterable<string>): string {
  const name = nearest(wanted, names);
  return name === undefined ? "" : `; did you mean ${name}?`;
}

/**
 * Splits the name of a method.
 *
 * @param name `pkg.Service/Method` or `pkg.Service.Method`, with or without a slash or dot before.
 * @returns The service and the method.
 * @throws {Failure} If the name has another form.
 */
export function splitMethod(name: string): [service: string, method: string] {
  const bare = name.replace(/^[/.]/, "");
  const at = bare.includes("/") ? bare.lastIndexOf("/") : bare.lastIndexOf(".");
  if (at < 1 || at === bare.length - 1) {
    throw usage(`Cannot call ${JSON.stringify(name)}: expected a name such as pkg.Service/Method`);
  }
  return [bare.slice(0, at), bare.slice(at + 1)];
}

/** The number of edits between two texts, counted up to a bound. */
function editDistance(a: string, b: string, bound: number): number {
  if (Math.abs(a.length - b.length) >= bound) return bound;
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
