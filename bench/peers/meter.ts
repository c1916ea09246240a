import type { Measured, Plan } from "../workloads.ts";

/** Is told of calls, and says when there are enough. */
export interface Tally {
  /** Whether the load is to end. */
  readonly over: boolean;
  /** Says that so many calls were completed, or messages came. */
  completed(calls: number): void;
}

/** Counts to a number. */
export class Counter implements Tally {
  /** How many there were. */
  count = 0;
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get over(): boolean {
    return this.count >= this.#limit;
  }

  completed(calls: number): void {
    this.count += calls;
  }
}

/**
 * Counts the calls of a load for a while. The load runs on while the count starts and ends, so
 * that neither filling the pipeline nor draining it is measured.
 */
export class Meter implements Tally {
  /** Whether the load is to end. */
  over = false;
  readonly #plan: Plan;
  readonly #single: boolean;
  readonly #latencies: Float64Array;
  readonly #said: (event: object) => void;
  #count = 0;
  #measuring = false;
  #from = 0;
  #before = 0;

  /** `said` is called when the count starts, and with a {@linkcode Measured} when it ends. */
  constructor(plan: Plan, said: (event: object) => void) {
    this.#plan = plan;
    this.#said = said;
    this.#single = plan.inFlight === 1 && plan.kind === "unary";
    // Enough for a call every two microseconds; pages that stay empty cost nothing.
    this.#latencies = new Float64Array(this.#single ? plan.measureMs * 500 : 0);
  }

  /** Says that the load starts. */
  start(): void {
    const { warmUpMs, measureMs } = this.#plan;
    this.#before = performance.now();
    setTimeout(() => {
      this.#said({ measuring: true });
      this.#count = 0;
      this.#measuring = true;
      this.#from = performance.now();
      setTimeout(() => this.#end(), measureMs);
    }, warmUpMs);
  }

  completed(calls: number): void {
    if (this.#single) {
      // With one call in flight, each begins where the one before it ended.
      const now = performance.now();
      if (this.#measuring) this.#latencies[this.#count] = now - this.#before;
      this.#before = now;
    }
    this.#count += calls;
  }

  #end(): void {
    const seconds = (performance.now() - this.#from) / 1e3;
    const calls = this.#count;
    this.over = true;
    const sorted = this.#latencies.subarray(0, calls).slice().sort();
    const quantile = (q: number) => {
      const latency = sorted[Math.floor(q * sorted.length)];
      return latency === undefined ? null : latency * 1e3;
    };
    const measured: Measured = {
      calls,
      seconds,
      p50Us: quantile(0.5),
      p99Us: quantile(0.99),
      p999Us: quantile(0.999),
    };
    this.#said(measured);
  }
}
