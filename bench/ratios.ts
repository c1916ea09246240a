import type { ColumnName, Results } from "./results.ts";
import { type Workload, workloads } from "./workloads.ts";

/** A ratio or a difference with a goal, or one that explains a goal. */
export interface Ratio {
  /** Its key in the JSON object. */
  readonly name: string;
  /** Its title in tables. */
  readonly title: string;
  /** The goal, if it is an upper bound. */
  readonly atMost?: number;
  /** The goal, if it is a lower bound. */
  readonly atLeast?: number;
  /** The value; `null` if a figure that it needs was not measured. */
  of(results: Results): number | null;
}

/** The goals of the project, in the order of the table. */
export const goals: readonly Ratio[] = [
  {
    name: "unary_100B_c1_p50_over_raw",
    title: "unary 100 B, one in flight, p50 over raw's",
    atMost: 1.35,
    of: (results) => results.ratio("ours", "raw", "unary_100B_c1", "p50Us"),
  },
  {
    name: "unary_100B_c1_p50_over_go",
    title: "the same over Go's",
    atMost: 0.5,
    of: (results) => results.ratio("ours", "go", "unary_100B_c1", "p50Us"),
  },
  {
    name: "unary_100B_c1_p99_over_raw",
    title: "unary 100 B, one in flight, p99 over raw's",
    atMost: 1.5,
    of: (results) => results.ratio("ours", "raw", "unary_100B_c1", "p99Us"),
  },
  calls("unary_100B_c64_over_go", "unary 100 B, 64 in flight, calls/s over Go's", 2.5),
  calls("unary_100B_c64_over_grpcjs", "the same over grpc-js's", 25),
  calls("realistic_c64_over_go", "realistic message, 64 in flight, calls/s over Go's", 1.5),
  calls("unary_1MiB_over_raw", "unary 1 MiB, bandwidth over raw's", 0.5),
  calls("unary_1MiB_over_go", "the same over Go's", 3),
  {
    name: "unary_64KiB_over_raw",
    title: "unary 64 KiB, p50 over raw's",
    atMost: 2,
    of: (results) => results.ratio("ours", "raw", "unary_64KiB_c1", "p50Us"),
  },
  calls("server_stream_100B_over_go", "server streaming 100 B, messages/s over Go's", 2),
  {
    name: "raw_cost_over_typed",
    title: "CPU time of a call by client.callRaw() over one by service()",
    atMost: 1.3,
    of: (results) => cost(results, "ours-raw", "ours-typed"),
  },
  {
    name: "intercepted_cost_over_typed",
    title: "the same with an interceptor on each side; each may add the cost of one call",
    atMost: 3,
    of: (results) => cost(results, "ours-intercepted", "ours-typed"),
  },
  growth("c1024_over_c1", "1,024 in flight over 1", "unary_100B_c1024", "unary_100B_c1", 1.3),
  growth(
    "1000_connections_over_1",
    "1,000 connections over 1",
    "unary_100B_1000_connections",
    "unary_100B_c1",
    1.3,
  ),
  growth(
    "10000_streams_over_0",
    "10,000 open streams over none",
    "unary_100B_c64_10000_streams",
    "unary_100B_c64",
    1.3,
  ),
  {
    name: "rss_small_load_minus_bare_mib",
    title: "server's memory under the load of 100 B, minus a bare listener's, MiB",
    atMost: 24,
    of: (results) => minusListener(results, "unary_100B_c64", "serverLoadMiB"),
  },
  {
    name: "rss_small_load_over_grpcjs",
    title: "the same over grpc-js's",
    atMost: 0.4,
    of: (results) => results.ratio("ours", "grpc-js", "unary_100B_c64", "serverLoadMiB"),
  },
  {
    name: "rss_after_1MiB_10s_minus_bare_mib",
    title: "server's memory 10 s after a load of 1 MiB, minus a bare listener's, MiB",
    atMost: 32,
    of: (results) => minusListener(results, "unary_1MiB_c1", "serverAfterMiB"),
  },
  {
    name: "idle_connection_minus_bare_kib",
    title: "an idle connection, minus a bare one, KiB",
    atMost: 6,
    of: (results) => minus(results, "idle_connection_kib", "ours", "bare"),
  },
  {
    name: "open_stream_kib",
    title: "an open idle stream, KiB",
    atMost: 1,
    of: (results) => results.reading("open_stream_kib", "ours")?.median ?? null,
  },
  {
    name: "syscalls_c64_over_c1",
    title: "system calls per call, 64 in flight over 1",
    atMost: 1 / 16,
    of: (results) =>
      quotient(
        results.reading("syscalls_per_call_c64", "ours")?.median,
        results.reading("syscalls_per_call_c1", "ours")?.median,
      ),
  },
  {
    name: "cold_start_over_bare",
    title: "start to first reply, over a bare program with protobuf-es",
    atMost: 1.2,
    of: (results) => coldStart(results, "ours", "bare + protobuf-es"),
  },
  {
    name: "bundle_kib",
    title: "client bundle, compressed, KiB",
    atMost: 28,
    of: (results) => results.reading("bundle_compressed_kib", "ours")?.median ?? null,
  },
  {
    name: "bundle_core_kib",
    title: "the same without protobuf-es",
    atMost: 10,
    of: (results) => results.reading("bundle_compressed_kib", "ours, core")?.median ?? null,
  },
];

/** Figures without a goal that explain those with one. */
export const explanations: readonly Ratio[] = [
  growth("c1024_over_c64", "1,024 in flight over 64", "unary_100B_c1024", "unary_100B_c64"),
  growth("c64_over_c1", "64 in flight over 1", "unary_100B_c64", "unary_100B_c1"),
  growth(
    "1000_connections_over_100",
    "1,000 connections over 100",
    "unary_100B_1000_connections",
    "unary_100B_100_connections",
  ),
  {
    name: "raw_cost_per_call_1000_connections_over_1",
    title: "raw's CPU time per call, 1,000 connections over 1",
    of: (results) => results.growth("unary_100B_1000_connections", "unary_100B_c1", "raw"),
  },
  {
    name: "rss_idle_minus_bare_mib",
    title: "server's memory before any load, minus a bare listener's, MiB",
    of: (results) => minusListener(results, "unary_100B_c64", "serverIdleMiB"),
  },
  {
    name: "used_connection_minus_bare_kib",
    title: "an idle connection after one call, minus a bare one, KiB",
    of: (results) => minus(results, "used_connection_kib", "ours", "bare"),
  },
  {
    name: "cold_start_core_over_bare",
    title: "start to first reply without protobuf-es, over a bare program",
    of: (results) => coldStart(results, "ours, core", "bare"),
  },
  {
    name: "protobuf_import_ms",
    title: "importing protobuf-es, ms",
    of: (results) => minus(results, "cold_start_ms", "bare + protobuf-es", "bare"),
  },
  {
    name: "protobuf_import_mib",
    title: "the same in memory, MiB",
    of: (results) => minus(results, "cold_start_mib", "bare + protobuf-es", "bare"),
  },
];

/** The ratios that every workload has: the column, and the part of the ratio's name. */
const general = [
  { column: "p50Us", infix: "_p50" },
  { column: "p99Us", infix: "_p99" },
  { column: "callsPerSecond", infix: "" },
  { column: "serverLoadMiB", infix: "_rss" },
] as const;

/** All ratios by name; `null` for those that were not measured. */
export function ratios(results: Results): Record<string, number | null> {
  const all: Record<string, number | null> = {};
  for (const ratio of [...goals, ...explanations]) all[ratio.name] = ratio.of(results);
  for (const workload of workloads) {
    for (const other of othersOf(workload)) {
      for (const { column, infix } of general) {
        if (column.startsWith("p") && !hasLatency(workload)) continue;
        const name = `${workload.name}${infix}_over_${other.replaceAll("-", "")}`;
        all[name] ??= results.ratio("ours", other, workload.name, column);
      }
    }
  }
  return all;
}

/** Whether a value reaches its goal; `undefined` if there is no value or no goal. */
export function reaches({ atMost, atLeast }: Ratio, value: number | null): boolean | undefined {
  if (value === null) return undefined;
  if (atMost !== undefined) return value <= atMost;
  if (atLeast !== undefined) return value >= atLeast;
  return undefined;
}

/** The contenders that ours is compared with in a workload. */
export function othersOf({ by }: Workload): string[] {
  return by.filter((name) => !name.split("-").includes("ours"));
}

/** Whether the latency of single calls is measured. */
export function hasLatency({ kind, inFlight }: Workload): boolean {
  return kind === "unary" && inFlight === 1;
}

/** A ratio of calls per second; its name has the workload and the contender. */
function calls(name: string, title: string, atLeast: number): Ratio {
  const [, work = "", other] = /^(.*)_over_(.*)$/.exec(name)!;
  const workload = workloads.some((workload) => workload.name === work) ? work : `${work}_c1`;
  const contender = other === "grpcjs" ? "grpc-js" : `${other}`;
  return {
    name,
    title,
    atLeast,
    of: (results) => results.ratio("ours", contender, workload, "callsPerSecond"),
  };
}

function growth(
  name: string,
  title: string,
  workload: string,
  base: string,
  atMost?: number,
): Ratio {
  return {
    name: `cost_per_call_${name}`,
    title: `CPU time per call, ${title}`,
    ...(atMost !== undefined && { atMost }),
    of: (results) => results.growth(workload, base),
  };
}

/** The CPU time per call of one way to call over another's. */
function cost(results: Results, one: string, other: string): number | null {
  const columns = ["clientCpuUs", "serverCpuUs"] as const;
  const of = (contender: string) =>
    columns.map((column) => results.figure(contender, "unary_100B_c64", column)?.median);
  const [client, server] = of(one);
  const [otherClient, otherServer] = of(other);
  if (!client || !server || !otherClient || !otherServer) return null;
  return (client + server) / (otherClient + otherServer);
}

function minusListener(results: Results, workload: string, column: ColumnName): number | null {
  return difference(
    results.figure("ours", workload, column)?.median,
    results.reading("listener_mib", "bare")?.median,
  );
}

function minus(results: Results, figure: string, one: string, other: string): number | null {
  return difference(results.reading(figure, one)?.median, results.reading(figure, other)?.median);
}

function coldStart(results: Results, one: string, other: string): number | null {
  return quotient(
    results.reading("cold_start_ms", one)?.median,
    results.reading("cold_start_ms", other)?.median,
  );
}

function difference(one: number | undefined, other: number | undefined): number | null {
  return one === undefined || other === undefined ? null : one - other;
}

function quotient(one: number | undefined, other: number | undefined): number | null {
  return one === undefined || other === undefined ? null : one / other;
}
