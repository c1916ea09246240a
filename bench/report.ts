import type { Run, Workload } from "./workloads.ts";

/** One run, and where it belongs. */
export interface Entry {
  readonly round: number;
  readonly contender: string;
  readonly workload: Workload;
  readonly run: Run;
}

/** A figure over all rounds. */
export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The figures of a report: how each is called, shown and taken from a run. */
const columns = [
  { name: "p50Us", title: "p50 us", of: (run: Run) => run.p50Us },
  { name: "p99Us", title: "p99 us", of: (run: Run) => run.p99Us },
  { name: "callsPerSecond", title: "calls/s", of: callsPerSecond },
  {
    name: "mibPerSecond",
    title: "MiB/s",
    of: (run: Run, { bytes }: Workload) => callsPerSecond(run) * bytes / (1 << 20),
  },
  { name: "serverRssMiB", title: "server MiB", of: ({ rss }: Run) => rss / (1 << 20) },
] as const;

type Column = typeof columns[number];

/** The ratios of ours over others: which figures, with what in the name. */
const compared = [
  { column: columns[0], infix: "_p50", title: "p50" },
  { column: columns[1], infix: "_p99", title: "p99" },
  { column: columns[2], infix: "", title: "calls/s" },
  { column: columns[4], infix: "_rss", title: "server memory" },
] as const;

/** Ratios that have a second name. */
const aliases = { unary_1MiB_over_raw: "unary_1MiB_c1_over_raw" };

/** The figures of each contender and workload that was run. */
export function figures(
  entries: readonly Entry[],
): Record<string, Record<string, Record<string, Figure>>> {
  const all: Record<string, Record<string, Record<string, Figure>>> = {};
  for (const { contender, workload } of entries) {
    const own = all[contender] ??= {};
    if (own[workload.name]) continue;
    const found: Record<string, Figure> = {};
    for (const column of columns) {
      const figure = summary([...values(entries, contender, workload, column).values()]);
      if (figure) found[column.name] = figure;
    }
    own[workload.name] = found;
  }
  return all;
}

/** All ratios of ours over the others. `null` where either has not been run. */
export function ratios(
  entries: readonly Entry[],
  workloads: readonly Workload[],
  others: readonly string[],
): Record<string, number | null> {
  const all: Record<string, number | null> = {};
  for (const workload of workloads) {
    for (const { column, infix } of comparedIn(workload)) {
      for (const other of others) {
        const name = `${workload.name}${infix}_over_${other.replaceAll("-", "")}`;
        all[name] = ratio(entries, other, workload, column);
      }
    }
  }
  for (const [alias, name] of Object.entries(aliases)) all[alias] = all[name] ?? null;
  return all;
}

/** The tables that a human reads. */
export function tables(
  entries: readonly Entry[],
  workloads: readonly Workload[],
  contenders: readonly string[],
): string {
  const measured = figures(entries);
  const rows = [["workload", "contender", ...columns.map(({ title }) => title)]];
  const ratioRows = [];
  const others = contenders.filter((name) => name !== "ours");
  for (const workload of workloads) {
    for (const contender of contenders) {
      const own = measured[contender]?.[workload.name];
      if (!own) continue;
      rows.push([workload.name, contender, ...columns.map(({ name }) => withSpread(own[name]))]);
    }
    for (const { column, title } of comparedIn(workload)) {
      const cells = others.map((other) => significant(ratio(entries, other, workload, column)));
      if (cells.some((cell) => cell !== "")) {
        ratioRows.push([`${workload.name} ${title}`, ...cells]);
      }
    }
  }
  const blocks = [aligned(rows, 2)];
  if (ratioRows.length > 0) blocks.push(aligned([["ours over", ...others], ...ratioRows], 1));
  return blocks.join("\n\n");
}

function callsPerSecond({ calls, seconds }: Run): number {
  return calls / seconds;
}

function comparedIn({ inFlight }: Workload): typeof compared[number][] {
  return compared.filter(({ infix }) => inFlight === 1 || (infix !== "_p50" && infix !== "_p99"));
}

/** A figure by round. */
function values(
  entries: readonly Entry[],
  contender: string,
  workload: Workload,
  column: Column,
): Map<number, number> {
  const found = new Map<number, number>();
  for (const entry of entries) {
    if (entry.contender !== contender || entry.workload !== workload) continue;
    const value = column.of(entry.run, workload);
    if (value !== null) found.set(entry.round, value);
  }
  return found;
}

/**
 * The median of the ratios within each round, which the machine's moods change less than they do
 * the ratio of the medians.
 */
function ratio(
  entries: readonly Entry[],
  other: string,
  workload: Workload,
  column: Column,
): number | null {
  const theirs = values(entries, other, workload, column);
  const each = [];
  for (const [round, value] of values(entries, "ours", workload, column)) {
    const their = theirs.get(round);
    if (their !== undefined && their > 0) each.push(value / their);
  }
  return summary(each)?.median ?? null;
}

function summary(numbers: number[]): Figure | undefined {
  const sorted = numbers.toSorted((a, b) => a - b);
  const low = sorted[(sorted.length - 1) >> 1];
  const high = sorted[sorted.length >> 1];
  if (low === undefined || high === undefined) return undefined;
  return { median: (low + high) / 2, min: sorted[0]!, max: sorted.at(-1)! };
}

function withSpread(figure: Figure | undefined): string {
  if (!figure) return "";
  const spread = Math.round((figure.max - figure.min) / 2 / figure.median * 100);
  return `${significant(figure.median)} ±${String(spread).padStart(2)}%`;
}

function significant(value: number | null): string {
  if (value === null) return "";
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** Lines of columns, the first of which are names, and the others numbers. */
function aligned(rows: readonly string[][], names: number): string {
  const widths = rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)));
  const cell = (text: string, at: number) =>
    at < names ? text.padEnd(widths[at]!) : text.padStart(widths[at]!);
  return rows.map((row) => row.map(cell).join("  ").trimEnd()).join("\n");
}
