import type { Measured, Plan } from "../workloads.ts";

/** Counts calls, and decides when the load ends. */
export interface Tally {
  /** Whether the load should end. */
  readonly over: boolean;
  /** Counts completed calls, or received messages. */
  completed(calls: number): void;
}

/** Ends the load after a number of calls. */
export class Counter implements Tally {
  /** The number of calls so far. */
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
 * Counts the calls of a load for a time. The load is already running when counting starts, and
 * still running when it ends, so that neither filling nor draining the pipeline is measured.
 */
export class Meter implements Tally {
  /** Whether the load should end. */
  over = false;
  readonly #plan: Plan;
  readonly #single: boolean;
  readonly #latencies: Float64Array;
  readonly #said: (event: object) => void;
  #count = 0;
  #measuring = false;
  #from = 0;
  #before = 0;

  /** `said` is called when counting starts, and with a {@linkcode Measured} when it ends. */
  constructor(plan: Plan, said: (event: object) => void) {
    this.#plan = plan;
    this.#said = said;
    this.#single = plan.inFlight === 1 && plan.kind === "unary";
    // Enough for a call every two microseconds; unused pages cost no memory.
    this.#latencies = new Float64Array(this.#single ? plan.measureMs * 500 : 0);
  }

  /** Called when the load starts. */
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
      // With one call in flight, each starts when the one before it ends.
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
