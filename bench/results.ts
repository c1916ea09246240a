import type { Reading } from "./probes/probe.ts";
import type { Run } from "./run.ts";
import { type Figure, ratioByRound, summary } from "./statistics.ts";
import type { Workload } from "./workloads.ts";

/** One run, with its round, contender and workload. */
export interface Entry {
  readonly round: number;
  readonly contender: string;
  readonly workload: Workload;
  readonly run: Run;
}

/** The columns of the tables: their titles, and their values of a run. */
export const columns = {
  p50Us: { title: "p50 us", of: (run: Run) => run.p50Us },
  p99Us: { title: "p99 us", of: (run: Run) => run.p99Us },
  p999Us: { title: "p99.9 us", of: (run: Run) => run.p999Us },
  callsPerSecond: { title: "calls/s", of: callsPerSecond },
  mibPerSecond: {
    title: "MiB/s",
    of: (run: Run, { bytes }: Workload) =>
      bytes === 0 ? null : callsPerSecond(run) * bytes / (1 << 20),
  },
  clientCpuUs: { title: "client CPU us", of: ({ cpuUs }: Run) => cpuUs?.client ?? null },
  serverCpuUs: { title: "server CPU us", of: ({ cpuUs }: Run) => cpuUs?.server ?? null },
  serverIdleMiB: { title: "idle MiB", of: ({ rss }: Run) => mib(rss?.idle) },
  serverLoadMiB: { title: "load MiB", of: ({ rss }: Run) => mib(rss?.load) },
  serverAfterMiB: { title: "10 s after MiB", of: ({ rss }: Run) => mib(rss?.after) },
} as const;

/** The name of a column. */
export type ColumnName = keyof typeof columns;

/** Takes a value from a run. */
export type Of = (run: Run, workload: Workload) => number | null;

/** The results of the benchmark. */
export class Results {
  /** The runs. */
  readonly entries: Entry[] = [];
  /** The figures of probes. */
  readonly readings: Reading[] = [];
  /** Contenders and probes that are not available, and runs that failed, with the reason. */
  readonly missing: Record<string, string> = {};

  /** Combines the results of several runs of the benchmark. */
  static merged(runs: readonly Results[]): Results {
    const all = new Results();
    let rounds = 0;
    for (const { entries, readings, missing } of runs) {
      const before = rounds;
      for (const entry of entries) {
        all.entries.push({ ...entry, round: before + entry.round });
        rounds = Math.max(rounds, before + entry.round + 1);
      }
      all.readings.push(...readings);
      Object.assign(all.missing, missing);
    }
    return all;
  }

  /** The values of a contender's runs, by round. */
  byRound(contender: string, workload: string, of: Of): Map<number, number> {
    const found = new Map<number, number>();
    for (const entry of this.entries) {
      if (entry.contender !== contender || entry.workload.name !== workload) continue;
      const value = of(entry.run, entry.workload);
      if (value !== null && Number.isFinite(value)) found.set(entry.round, value);
    }
    return found;
  }

  /** A figure of a contender's runs. */
  figure(contender: string, workload: string, column: ColumnName): Figure | undefined {
    return summary([...this.byRound(contender, workload, columns[column].of).values()]);
  }

  /** A figure of a probe. */
  reading(figure: string, contender: string): Figure | undefined {
    return summary(
      this.readings
        .filter((reading) => reading.figure === figure && reading.contender === contender)
        .map(({ value }) => value),
    );
  }

  /** One contender's figure over another's; `null` if either was not run. */
  ratio(one: string, other: string, workload: string, column: ColumnName): number | null {
    const { of } = columns[column];
    return ratioByRound(this.byRound(one, workload, of), this.byRound(other, workload, of));
  }

  /** The CPU time of a call on both sides in one workload, over that in another. */
  growth(workload: string, base: string, contender = "ours"): number | null {
    const of = ({ cpuUs }: Run) => cpuUs && cpuUs.client + cpuUs.server;
    return ratioByRound(
      this.byRound(contender, workload, of),
      this.byRound(contender, base, of),
    );
  }

  /** All figures, by contender and workload. */
  figures(): Record<string, Record<string, Record<string, Figure>>> {
    const all: Record<string, Record<string, Record<string, Figure>>> = {};
    for (const { contender, workload: { name } } of this.entries) {
      const own = all[contender] ??= {};
      if (own[name]) continue;
      const found: Record<string, Figure> = own[name] = {};
      for (const column of Object.keys(columns) as ColumnName[]) {
        const figure = this.figure(contender, name, column);
        if (figure) found[column] = figure;
      }
    }
    return all;
  }

  /** All figures of probes, by figure and contender. */
  probed(): Record<string, Record<string, Figure>> {
    const all: Record<string, Record<string, Figure>> = {};
    for (const { figure, contender } of this.readings) {
      const own = all[figure] ??= {};
      own[contender] ??= this.reading(figure, contender)!;
    }
    return all;
  }
}

function callsPerSecond({ calls, seconds }: Run): number {
  return calls / seconds;
}

function mib(bytes: number | undefined): number | null {
  return bytes === undefined ? null : bytes / (1 << 20);
}
