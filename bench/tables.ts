import { explanations, goals, hasLatency, othersOf, type Ratio, reaches } from "./ratios.ts";
import { type ColumnName, columns, type Results } from "./results.ts";
import { significant, withSpread } from "./statistics.ts";
import { workloads } from "./workloads.ts";

/** A table of text. The first row has the titles. */
export interface Table {
  readonly title: string;
  /** How many columns, from the left, are names, not numbers. */
  readonly names: number;
  readonly rows: readonly string[][];
}

/**
 * The tables of the results, without empty ones.
 *
 * @param results All results.
 * @param contenders The names of the contenders.
 * @param runs The results of each run, if there were several.
 * @returns The tables.
 */
export function tables(
  results: Results,
  contenders: readonly string[],
  runs: readonly Results[] = [],
): Table[] {
  const all = [
    goalsTable(results, runs.length > 1 ? runs : []),
    ratiosTable(results, contenders),
    figuresTable(results, contenders),
    probesTable(results),
  ];
  return all.filter(({ rows }) => rows.length > 1);
}

function goalsTable(results: Results, runs: readonly Results[]): Table {
  const each = runs.map((_, at) => `run ${at + 1}`);
  const rows = [["figure", "goal", "measured", "reached", ...each]];
  for (const goal of [...goals, ...explanations]) {
    const value = goal.of(results);
    const bound = boundOf(goal);
    if (value === null && bound === "") continue;
    const reached = { true: "yes", false: "no", undefined: "" }[`${reaches(goal, value)}`];
    const measured = value === null ? "not measured" : significant(value);
    const byRun = runs.map((run) => significant(goal.of(run)));
    rows.push([goal.title, bound, measured, reached, ...byRun]);
  }
  return { title: "Goals", names: 1, rows };
}

function boundOf({ atMost, atLeast }: Ratio): string {
  if (atMost !== undefined) return `at most ${short(atMost)}`;
  return atLeast === undefined ? "" : `at least ${short(atLeast)}`;
}

function short(bound: number): string {
  return String(Number(bound.toPrecision(3)));
}

function ratiosTable(results: Results, contenders: readonly string[]): Table {
  const others = contenders.filter((name) => !name.split("-").includes("ours"));
  const rows = [["ours over", ...others]];
  for (const workload of workloads) {
    const { name } = workload;
    const add = (title: string, column: ColumnName) => {
      const cells = others.map((other) =>
        othersOf(workload).includes(other)
          ? significant(results.ratio("ours", other, name, column))
          : ""
      );
      if (cells.some((cell) => cell !== "")) rows.push([`${name} ${title}`, ...cells]);
    };
    if (hasLatency(workload)) {
      add("p50", "p50Us");
      add("p99", "p99Us");
    }
    add("calls/s", "callsPerSecond");
  }
  return { title: "Ours compared", names: 1, rows };
}

function figuresTable(results: Results, contenders: readonly string[]): Table {
  const names = Object.keys(columns) as ColumnName[];
  const rows = [["workload", "contender", ...names.map((name) => columns[name].title)]];
  for (const workload of workloads) {
    for (const contender of contenders) {
      const figures = names.map((name) => results.figure(contender, workload.name, name));
      if (figures.every((figure) => !figure)) continue;
      rows.push([workload.name, contender, ...figures.map(withSpread)]);
    }
  }
  return { title: "Under load", names: 2, rows };
}

function probesTable(results: Results): Table {
  const rows = [["figure", "contender", "median"]];
  for (const [figure, own] of Object.entries(results.probed())) {
    for (const [contender, value] of Object.entries(own)) {
      rows.push([figure, contender, withSpread(value)]);
    }
  }
  return { title: "Probes", names: 2, rows };
}

/** A table for a terminal. */
export function aligned({ rows, names }: Table): string {
  const widths = widthsOf(rows);
  const cell = (text: string, at: number) =>
    at < names ? text.padEnd(widths[at]!) : text.padStart(widths[at]!);
  return rows.map((row) => row.map(cell).join("  ").trimEnd()).join("\n");
}

/** A table in Markdown, formatted as by `deno fmt`. */
export function markdown({ rows, names }: Table): string {
  const tidy = rows.map((row) => row.map((text) => text.replace("± ", "±")));
  const widths = widthsOf(tidy).map((width) => Math.max(width, 3));
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  const cell = (text: string, at: number) =>
    at < names ? text.padEnd(widths[at]!) : text.padStart(widths[at]!);
  const rule = widths.map((width, at) =>
    at < names ? "-".repeat(width) : `${"-".repeat(width - 1)}:`
  );
  const [titles = [], ...rest] = tidy.map((row) => row.map(cell));
  return [titles, rule, ...rest].map(line).join("\n");
}

function widthsOf(rows: readonly string[][]): number[] {
  return rows[0]!.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)));
}
