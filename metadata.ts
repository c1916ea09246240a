/**
 * What travels beside a request: an ordered list of keys and values.
 *
 * @module
 */

/**
 * What metadata can be made of: other metadata, an object, or pairs. In an object an array stands
 * for several values of one key.
 *
 * @category Services and calls
 */
export type MetadataInit =
  | Readonly<Record<string, string | readonly string[]>>
  | Iterable<readonly [key: string, value: string]>;

/**
 * The metadata of a call: an ordered list in which a key can come more than once.
 *
 * ASCII letters in keys are folded to lower case; all else is left as it is. The wire has metadata
 * on requests only, never on responses.
 *
 * @category Services and calls
 * @example Read and write
 * ```ts
 * import { Metadata } from "@ttrpc/ttrpc";
 * import { deepEqual, equal } from "node:assert/strict";
 *
 * const metadata = new Metadata({ "containerd-namespace-ttrpc": "k8s.io" });
 * metadata.append("X-Tag", "a");
 * metadata.append("X-Tag", "b");
 * equal(metadata.get("x-tag"), "a");
 * deepEqual(metadata.getAll("x-tag"), ["a", "b"]);
 * ```
 */
export class Metadata implements Iterable<[key: string, value: string]> {
  /** A key, its value, the next key: a pair of its own would take five times as much memory. */
  #pairs: string[] = [];

  /**
   * Makes metadata.
   *
   * @param init What to start with. Copied, not kept.
   * @throws {TypeError} If a key or a value is not a string.
   */
  constructor(init?: MetadataInit) {
    if (init === undefined) return;
    if (init instanceof Metadata) {
      this.#pairs = [...init.#pairs];
      return;
    }
    if (Symbol.iterator in init) {
      for (const [key, value] of init as Iterable<readonly [string, string]>) {
        this.append(key, value);
      }
      return;
    }
    for (const [key, value] of Object.entries(init)) {
      if (Array.isArray(value)) { for (const each of value) this.append(key, each); }
      else this.append(key, value as string);
    }
  }

  /** How many pairs there are. */
  get size(): number {
    return this.#pairs.length / 2;
  }

  /**
   * The first value of a key.
   *
   * @param key The key, in any case.
   * @returns The value, or `undefined` if the key is not there.
   */
  get(key: string): string | undefined {
    key = fold(key);
    const pairs = this.#pairs;
    for (let at = 0; at < pairs.length; at += 2) if (pairs[at] === key) return pairs[at + 1];
    return undefined;
  }

  /**
   * All values of a key.
   *
   * @param key The key, in any case.
   * @returns The values in order; none if the key is not there.
   */
  getAll(key: string): string[] {
    key = fold(key);
    return this.#pairs.filter((_, at, pairs) => at % 2 === 1 && pairs[at - 1] === key);
  }

  /**
   * Whether a key is there.
   *
   * @param key The key, in any case.
   * @returns `true` if it has a value, even an empty one.
   */
  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /**
   * Gives a key these values instead of those it has.
   *
   * @param key The key, in any case.
   * @param values The values.
   * @throws {TypeError} If the key or a value is not a string.
   */
  set(key: string, ...values: string[]): void {
    const pairs = values.flatMap((value) => pairOf(key, value));
    this.delete(key);
    for (const each of pairs) this.#pairs.push(each);
  }

  /**
   * Adds a pair at the end.
   *
   * @param key The key, in any case.
   * @param value The value.
   * @throws {TypeError} If either is not a string.
   */
  append(key: string, value: string): void {
    this.#pairs.push(...pairOf(key, value));
  }

  /**
   * Removes a key with all its values.
   *
   * @param key The key, in any case.
   * @returns Whether it was there.
   */
  delete(key: string): boolean {
    key = fold(key);
    const kept = this.#pairs.filter((_, at, pairs) => pairs[at - at % 2] !== key);
    const found = kept.length < this.#pairs.length;
    this.#pairs = kept;
    return found;
  }

  /**
   * A copy that changes independently.
   *
   * @returns The copy.
   */
  clone(): Metadata {
    return new Metadata(this);
  }

  /** The pairs, in order. */
  *[Symbol.iterator](): IterableIterator<[key: string, value: string]> {
    const pairs = this.#pairs;
    for (let at = 0; at < pairs.length; at += 2) yield [pairs[at]!, pairs[at + 1]!];
  }

  /** What `console.log` shows. */
  [Symbol.for("Deno.customInspect")](inspect: (value: unknown) => string): string {
    return `Metadata ${inspect([...this])}`;
  }
}

function pairOf(key: string, value: string): [string, string] {
  if (typeof key !== "string" || typeof value !== "string") {
    throw new TypeError(`Cannot add ${key} to metadata: keys and values are strings`);
  }
  return [fold(key), value];
}

/**
 * Folds ASCII letters only. By Unicode's rules other characters become ASCII letters, too, so that a
 * peer could send a key in a form that no filter knows.
 */
function fold(key: string): string {
  const lower = key.toLowerCase();
  if (lower === key || !/[^\0-\x7f]/.test(key)) return lower;
  return key.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
