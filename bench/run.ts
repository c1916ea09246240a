import { setTimeout as delay } from "node:timers/promises";
import type { Contender } from "./contenders.ts";
import { PeerProcess } from "./process.ts";
import { realisticHex } from "./realistic.ts";
import type { Measured, Plan, Workload } from "./workloads.ts";

/** The result of a run: one client's load on one server. */
export interface Run extends Measured {
  /** The memory of the server, if it is known. */
  readonly rss: Memory | null;
  /** The CPU time of a call, in microseconds, if it is known. */
  readonly cpuUs: { readonly client: number; readonly server: number } | null;
}

/** The resident memory of a server, in bytes. */
export interface Memory {
  /** Before the load. */
  readonly idle: number;
  /** At the end of the load. */
  readonly load: number;
  /** Ten seconds after the load, with the client still connected; only in some workloads. */
  after?: number;
}

/** How often and how long to measure. */
export interface Schedule {
  /** How often each workload is run. */
  readonly rounds: number;
  /** The duration of the warm-up, in milliseconds. */
  readonly warmUpMs: number;
  /** The duration of the measurement, in milliseconds. */
  readonly measureMs: number;
}

/** The most messages and bytes of one stream, so that it takes a few milliseconds. */
const PER_STREAM = 1_000;
const PER_STREAM_BYTES = 4 << 20;

/** The time between the load and the `after` figure, in milliseconds. */
const AFTER_MS = 10_000;

/** The plan of a workload, for both sides. */
export function planOf(workload: Workload, { warmUpMs, measureMs }: Schedule): Plan {
  const { kind, bytes, realistic, inFlight, connections } = workload;
  const perStream = Math.ceil(Math.min(PER_STREAM, PER_STREAM_BYTES / Math.max(bytes, 1)));
  const message = realisticHex;
  return {
    ...{ kind, bytes, realistic, inFlight, connections },
    ...{ warmUpMs, measureMs, perStream, message },
  };
}

/** A server and its client, each in a separate process. */
export class Pair implements AsyncDisposable {
  /** The server. */
  readonly server: PeerProcess;
  /** The client. */
  readonly client: PeerProcess;
  readonly #idle: number | undefined;

  private constructor(server: PeerProcess, client: PeerProcess, idle: number | undefined) {
    this.server = server;
    this.client = client;
    this.#idle = idle;
  }

  /** Starts both, and waits until the client is connected. */
  static async start(contender: Contender, plan: Plan, path: string): Promise<Pair> {
    const server = await PeerProcess.start("server", contender.server, path, plan);
    const idle = server.usage?.rss;
    try {
      const client = await PeerProcess.start("client", contender.client, path, plan);
      return new Pair(server, client, idle);
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs the load. */
  async load(): Promise<Run> {
    await this.client.ask<{ measuring: true }>("load");
    const before = this.#cpu();
    const measured = await this.client.answer<Measured>();
    const after = this.#cpu();
    const load = this.server.usage?.rss;
    const each = (side: "client" | "server") => (after![side] - before![side]) / measured.calls;
    return {
      ...measured,
      rss: this.#idle === undefined || load === undefined ? null : { idle: this.#idle, load },
      cpuUs: before && after ? { client: each("client"), server: each("server") } : null,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }

  #cpu(): { client: number; server: number } | undefined {
    const client = this.client.usage?.cpuUs;
    const server = this.server.usage?.cpuUs;
    return client === undefined || server === undefined ? undefined : { client, server };
  }
}

/** A run whose processes may still be running. */
export interface Started {
  /** The result. */
  readonly run: Run;
  /** Settles when the processes have exited and the result is complete. */
  readonly ended: Promise<void>;
}

/**
 * Runs a workload once, in new processes. If memory is measured again ten seconds later, the
 * processes stay idle until then, while others are measured.
 */
export async function run(
  contender: Contender,
  workload: Workload,
  schedule: Schedule,
  path: string,
): Promise<Started> {
  const pair = await Pair.start(contender, planOf(workload, schedule), path);
  try {
    if (workload.openStreams > 0) await pair.client.ask(`streams ${workload.openStreams}`);
    const run = await pair.load();
    if (workload.after && run.rss) return { run, ended: endLater(pair, run.rss) };
    await pair[Symbol.asyncDispose]();
    return { run, ended: Promise.resolve() };
  } catch (error) {
    await pair[Symbol.asyncDispose]();
    throw error;
  }
}

async function endLater(pair: Pair, memory: Memory): Promise<void> {
  await delay(AFTER_MS);
  const { usage } = pair.server;
  if (usage) memory.after = usage.rss;
  await pair[Symbol.asyncDispose]();
}
