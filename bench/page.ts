import { fileURLToPath } from "node:url";
import { output } from "./build.ts";
import { chart } from "./chart.ts";
import type { describeMachine } from "./machine.ts";
import type { Contender } from "./contenders.ts";
import type { Results } from "./results.ts";
import type { Schedule } from "./run.ts";
import { markdown, tables } from "./tables.ts";

const FOLDER = new URL("../docs/performance/", import.meta.url);

/** The results, and how they were measured. */
export interface Report {
  readonly machine: ReturnType<typeof describeMachine>;
  readonly schedule: Schedule;
  readonly contenders: readonly Contender[];
  /** The results of each run of the benchmark. */
  readonly runs: readonly Results[];
  /** The results of all runs together. */
  readonly all: Results;
}

/** A description of the runs and rounds that the medians are taken over. */
export function scheduleOf({ schedule: { rounds, warmUpMs, measureMs }, runs }: Report): string {
  const times = runs.length === 1 ? "" : `${runs.length} runs of `;
  return `${times}${rounds} rounds of ${measureMs} ms, each after ${warmUpMs} ms`;
}

/** Writes the table and the chart that the documentation shows. */
export async function writePage(report: Report): Promise<void> {
  const { machine, contenders, runs, all: results } = report;
  const names = contenders.map(({ name }) => name);
  const parts = [
    "# Figures",
    "Written by `deno task bench`; do not edit. `bench/README.md` explains what is measured.",
    `Deno ${machine.deno} on ${machine.cores} cores of ${machine.cpu}, ${machine.os}, ` +
    `${new Date().toISOString().slice(0, 10)}. Medians of ${scheduleOf(report)}, ` +
    `with half the difference between best and worst as spread.`,
    contenders.map(({ name, about }) => `- **${name}**: ${about}`).join("\n"),
  ];
  const missing = Object.entries(results.missing);
  if (missing.length > 0) {
    const lines = missing.map(([name, why]) => `- ${name}: ${why.split("\n")[0]}`);
    parts.push("Missing:", lines.join("\n"));
  }
  parts.push("![The most important figures](chart.svg)");
  for (const table of tables(results, names, runs)) {
    parts.push(`## ${table.title}`, markdown(table));
  }
  await Deno.mkdir(FOLDER, { recursive: true });
  await Deno.writeTextFile(new URL("figures.md", FOLDER), parts.join("\n\n") + "\n");
  await Deno.writeTextFile(new URL("chart.svg", FOLDER), chart(results, names));
  await output([Deno.execPath(), "fmt", "--quiet", fileURLToPath(FOLDER)]);
}
