/**
 * Metadata of a request: an ordered list of keys and values.
 *
 * @module
 */

/**
 * What metadata can be created from: other metadata, an object, or pairs of keys and values. In an
 * object, an array has several values of one key.
 *
 * @category Services and calls
 */
export type MetadataInit =
  | Readonly<Record<string, string | readonly string[]>>
  | Iterable<readonly [key: string, value: string]>;

/**
 * The metadata of a call: an ordered list of keys and values, in which a key can occur repeatedly.
 *
 * ASCII letters in keys are folded to lower case; everything else is left as it is. ttrpc has
 * metadata of requests only, not of responses.
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
  /** Keys and values in turn: an array for each pair would take five times as much memory. */
  #pairs: string[] = [];

  /**
   * Creates metadata.
   *
   * @param init The initial pairs, which are copied. None by default.
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

  /** The number of pairs. */
  get size(): number {
    return this.#pairs.length / 2;
  }

  /**
   * The first value of a key.
   *
   * @param key The key, in any case.
   * @returns The value; `undefined` if the key is absent.
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
   * @returns The values in order; an empty array if the key is absent.
   */
  getAll(key: string): string[] {
    key = fold(key);
    return this.#pairs.filter((_, at, pairs) => at % 2 === 1 && pairs[at - 1] === key);
  }

  /**
   * Whether a key is present.
   *
   * @param key The key, in any case.
   * @returns `true` if it has a value, even an empty one.
   */
  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /**
   * Replaces all values of a key.
   *
   * @param key The key, in any case.
   * @param values The new values.
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
   * @returns Whether it was present.
   */
  delete(key: string): boolean {
    key = fold(key);
    const kept = this.#pairs.filter((_, at, pairs) => pairs[at - at % 2] !== key);
    const found = kept.length < this.#pairs.length;
    this.#pairs = kept;
    return found;
  }

  /**
   * Copies the metadata.
   *
   * @returns The copy.
   */
  clone(): Metadata {
    return new Metadata(this);
  }

  /**
   * Iterates over the pairs, in order.
   *
   * @returns The iterator.
   */
  *[Symbol.iterator](): IterableIterator<[key: string, value: string]> {
    const pairs = this.#pairs;
    for (let at = 0; at < pairs.length; at += 2) yield [pairs[at]!, pairs[at + 1]!];
  }

  /**
   * What `console.log()` shows.
   *
   * @ignore
   */
  [Symbol.for("Deno.customInspect")](inspect: (value: unknown) => string): string {
    return `Metadata ${inspect([...this])}`;
  }
}

function pairOf(key: string, value: string): [string, string] {
  if (typeof key !== "string" || typeof value !== "string") {
    throw new TypeError(`Cannot add ${key} to metadata: keys and values must be strings`);
  }
  return [fold(key), value];
}

/**
 * Folds ASCII letters only. By Unicode's rules some other characters become ASCII letters, too: a
 * peer could use them to send a key past a filter that looks for its ASCII form.
 */
function fold(key: string): string {
  const lower = key.toLowerCase();
  if (lower === key || !/[^\0-\x7f]/.test(key)) return lower;
  return key.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
