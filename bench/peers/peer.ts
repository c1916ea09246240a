/**
 * What the peers written in TypeScript have in common. Every peer, in whatever language, is
 * started as one of
 *
 *     PEER server PATH PLAN
 *     PEER client PATH PLAN
 *
 * A server prints `{"ready":true}` when it listens, answers each line on its standard input with
 * `{"rss":BYTES}`, and ends with its input. A client runs the load and prints a `Measured`.
 */

import type { Measured, Plan } from "../workloads.ts";

/** Runs the load of a plan until {@linkcode Meter.over}. */
export type Load = (meter: Meter) => Promise<void>;

/** The two sides of a contender. */
export interface Peer {
  /** Listens on a unix socket, and echoes. Settles when clients can connect. */
  serve(path: string, plan: Plan): Promise<void> | void;
  /** Connects to it. */
  connect(path: string, plan: Plan): Promise<Load> | Load;
}

/** Is what the command line says. */
export async function runPeer(peer: Peer): Promise<void> {
  const [role, path, json] = Deno.args;
  if ((role !== "server" && role !== "client") || !path || !json) {
    throw new TypeError("usage: server|client PATH PLAN");
  }
  const plan: Plan = JSON.parse(json);
  if (role === "server") {
    await peer.serve(path, plan);
    console.log(JSON.stringify({ ready: true }));
    for await (const _question of Deno.stdin.readable) {
      console.log(JSON.stringify({ rss: Deno.memoryUsage().rss }));
    }
  } else {
    const meter = new Meter(plan);
    const load = await peer.connect(path, plan);
    meter.start();
    await load(meter);
    console.log(JSON.stringify(meter.measured));
  }
  Deno.exit();
}

/** A load of calls that keeps as many in flight as the plan says. */
export function callLoad({ inFlight }: Plan, call: () => Promise<void>): Load {
  const worker = async (meter: Meter) => {
    while (!meter.over) {
      await call();
      meter.completed(1);
    }
  };
  return async (meter) => {
    await Promise.all(Array.from({ length: inFlight }, () => worker(meter)));
  };
}

/** The payload of every request. */
export function payloadOf({ bytes }: Plan): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes).fill(0x61);
}

/** Throws unless as much came back as was sent. */
export function check(payload: Uint8Array | undefined, { bytes }: Plan): void {
  if (payload?.length === bytes) return;
  throw new Error(`${payload?.length} bytes came back instead of ${bytes}`);
}

/**
 * Counts the calls of a load. The load runs on while the count starts and ends, so that neither
 * filling the pipeline nor draining it is measured.
 */
export class Meter {
  /** Whether the load is to end. */
  over = false;
  readonly #plan: Plan;
  readonly #latencies: Float64Array;
  #count = 0;
  #measuring = false;
  #from = 0;
  #before = 0;
  #measured: Measured | undefined;

  constructor(plan: Plan) {
    this.#plan = plan;
    // Enough for a call every two microseconds; pages that stay empty cost nothing.
    this.#latencies = new Float64Array(plan.inFlight === 1 ? plan.measureMs * 500 : 0);
  }

  /** Says that the load starts. */
  start(): void {
    const { warmUpMs, measureMs } = this.#plan;
    this.#before = performance.now();
    setTimeout(() => {
      this.#count = 0;
      this.#measuring = true;
      this.#from = performance.now();
      setTimeout(() => this.#end(), measureMs);
    }, warmUpMs);
  }

  /** Says that so many calls were completed. */
  completed(calls: number): void {
    if (this.#plan.inFlight === 1) {
      // With one call in flight, each begins where the one before it ended.
      const now = performance.now();
      if (this.#measuring) this.#latencies[this.#count] = now - this.#before;
      this.#before = now;
    }
    this.#count += calls;
  }

  /** What came out of it. */
  get measured(): Measured | undefined {
    return this.#measured;
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
    this.#measured = { calls, seconds, p50Us: quantile(0.5), p99Us: quantile(0.99) };
  }
}
