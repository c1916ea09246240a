/**
 * A histogram of durations, in constant memory.
 *
 * @module
 */

// Buckets of a power of two have this many parts, so that each is within 1.6 % of its values.
const PARTS = 64;
const POWERS = 48;

/** Counts durations. */
export class Histogram {
  readonly #counts = new Uint32Array(PARTS * POWERS);
  #count = 0;
  #sum = 0;
  #least = Infinity;
  #most = 0;

  /** Adds a duration in milliseconds. */
  add(ms: number): void {
    this.#count++;
    this.#sum += ms;
    if (ms < this.#least) this.#least = ms;
    if (ms > this.#most) this.#most = ms;
    this.#counts[bucketOf(ms)]!++;
  }

  /** The number of durations. */
  get count(): number {
    return this.#count;
  }

  /** The shortest, the mean and the longest, in milliseconds; zeros if there are none. */
  get summary(): { fastest: number; mean: number; slowest: number } {
    if (this.#count === 0) return { fastest: 0, mean: 0, slowest: 0 };
    return { fastest: this.#least, mean: this.#sum / this.#count, slowest: this.#most };
  }

  /**
   * A quantile: a duration that a share of all durations do not exceed.
   *
   * @param share From 0 to 1.
   * @returns Milliseconds.
   */
  quantile(share: number): number {
    let left = Math.ceil(this.#count * share);
    for (const [at, count] of this.#counts.entries()) {
      left -= count;
      if (left <= 0 && this.#count > 0) {
        return Math.min(Math.max(upperBound(at), this.#least), this.#most);
      }
    }
    return this.#most;
  }

  /**
   * The counts in a few bars, each for durations up to a bound in milliseconds.
   *
   * @param most The most bars, not counting one for outliers.
   * @returns The bars.
   */
  bars(most: number): { upTo: number; count: number }[] {
    if (this.#count === 0) return [];
    const first = bucketOf(this.#least);
    // The slowest 1 % would squeeze all others into one bar, so they share a last one.
    const last = Math.max(first, bucketOf(this.quantile(0.99)));
    const width = Math.ceil((last - first + 1) / most);
    const bars: { upTo: number; count: number }[] = [];
    for (let at = first; at <= last; at += width) {
      const end = at + width - 1;
      bars.push({ upTo: upperBound(end), count: this.#between(at, end) });
    }
    const rest = this.#count - bars.reduce((sum, { count }) => sum + count, 0);
    if (rest > 0) bars.push({ upTo: this.#most, count: rest });
    return bars;
  }

  #between(first: number, last: number): number {
    return this.#counts.subarray(first, last + 1).reduce((sum, count) => sum + count, 0);
  }
}

/** The bucket of a duration: by the power of two of its nanoseconds, and the part of that. */
function bucketOf(ms: number): number {
  const ns = Math.max(1, ms * 1e6);
  const power = Math.min(POWERS - 1, Math.floor(Math.log2(ns)));
  const part = Math.floor((ns / 2 ** power - 1) * PARTS);
  return power * PARTS + Math.min(PARTS - 1, Math.max(0, part));
}

function upperBound(bucket: number): number {
  const power = Math.floor(bucket / PARTS);
  return 2 ** power * (1 + (bucket % PARTS + 1) / PARTS) / 1e6;
}
