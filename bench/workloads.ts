/** What is asked of every contender. */
export interface Workload {
  /** What it is called in figures and on the command line. */
  readonly name: string;
  /** The length of the payload, which travels in both directions. */
  readonly bytes: number;
  /** How many calls are in flight at any time, on one connection. */
  readonly inFlight: number;
  /** Whether it is part of a quick run. */
  readonly quick: boolean;
}

const SIZES = { "100B": 100, "64KiB": 1 << 16, "1MiB": 1 << 20 };
const IN_FLIGHT = [1, 64];

// A quick run has what the most telling ratios need.
const QUICK = ["unary_100B_c1", "unary_100B_c64", "unary_64KiB_c1", "unary_1MiB_c1"];

/** All workloads. */
export const workloads: readonly Workload[] = Object.entries(SIZES).flatMap(([size, bytes]) =>
  IN_FLIGHT.map((inFlight) => {
    const name = `unary_${size}_c${inFlight}`;
    return { name, bytes, inFlight, quick: QUICK.includes(name) };
  })
);

/** What a client and its server are told: a workload, and for how long. */
export interface Plan extends Pick<Workload, "bytes" | "inFlight"> {
  /** How long the load runs before it counts, in milliseconds. */
  readonly warmUpMs: number;
  /** How long it counts, in milliseconds. */
  readonly measureMs: number;
}

/** What a client measured. */
export interface Measured {
  /** How many calls were completed. */
  readonly calls: number;
  /** In how much time. */
  readonly seconds: number;
  /** The median latency in microseconds, if a single call was in flight. */
  readonly p50Us: number | null;
  /** The latency that 99 of 100 calls stayed below, in microseconds, likewise. */
  readonly p99Us: number | null;
}

/** What a run gave: one client's load on one server. */
export interface Run extends Measured {
  /** What the server had in memory after the load, in bytes. */
  readonly rss: number;
}
