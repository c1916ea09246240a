import type { Contender } from "./contenders.ts";
import { describeMachine } from "./machine.ts";
import {
  candidatesOf,
  type Job,
  jobs,
  type Options,
  parseOptions,
  probesOf,
  USAGE,
} from "./options.ts";
import { type Report, scheduleOf, writePage } from "./page.ts";
import { goals, ratios, reaches } from "./ratios.ts";
import { Results } from "./results.ts";
import { run, type Schedule } from "./run.ts";
import { aligned, tables } from "./tables.ts";

// V8 optimises code during the first seconds; before that, ours makes half the calls per second.
const FULL: Schedule = { rounds: 2, warmUpMs: 2_500, measureMs: 1_000 };
const QUICK: Schedule = { rounds: 2, warmUpMs: 400, measureMs: 350 };

async function main(options: Options): Promise<void> {
  const schedule = options.quick ? QUICK : FULL;
  const missing = new Results();
  const contenders = await prepare(options, missing);
  const machine = describeMachine();
  const folder = await Deno.makeTempDir();
  let sockets = 0;
  const socket = () => `${folder}/${sockets++}.sock`;
  const runs: Results[] = [];
  try {
    const work = jobs(options, contenders.map(({ name }) => name));
    while (runs.length < options.runs) {
      progress(`run ${runs.length + 1} of ${options.runs}`);
      const results = new Results();
      const ended = await measure(contenders, work, schedule, results, socket);
      await probe(options, contenders, schedule, results, socket);
      await Promise.all(ended);
      runs.push(results);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const report = { machine, schedule, contenders, runs, all: Results.merged([missing, ...runs]) };
  if (!options.quick && !options.only) await writePage(report);
  if (options.json) printJson(options, report);
  else print(report);
}

async function prepare(options: Options, { missing }: Results): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const { name, prepare } of candidatesOf(options)) {
    try {
      contenders.push({ name, ...await prepare(options.profiles) });
    } catch (error) {
      missing[name] = messageOf(error);
    }
  }
  return contenders;
}

/** Lets the contenders take turns, so that other work of the machine affects all of them. */
async function measure(
  contenders: readonly Contender[],
  work: readonly Job[],
  schedule: Schedule,
  { entries, missing }: Results,
  socket: () => string,
): Promise<Promise<void>[]> {
  const later: Promise<void>[] = [];
  for (let round = 0; round < schedule.rounds; round++) {
    for (const { workload, by } of work) {
      progress(`round ${round + 1} of ${schedule.rounds}: ${workload.name}`);
      const asked = contenders.filter(({ name }) => by.includes(name));
      for (const contender of rotated(asked, round)) {
        try {
          const { run: result, ended } = await run(contender, workload, schedule, socket());
          entries.push({ round, contender: contender.name, workload, run: result });
          later.push(ended);
        } catch (error) {
          missing[`${contender.name} at ${workload.name}`] = messageOf(error);
        }
      }
    }
  }
  return later;
}

async function probe(
  options: Options,
  contenders: readonly Contender[],
  schedule: Schedule,
  { readings, missing }: Results,
  socket: () => string,
): Promise<void> {
  const note = (figure: string, contender: string, value: number) => {
    readings.push({ figure, contender, value });
  };
  for (const { name, run } of probesOf(options)) {
    progress(name);
    try {
      await run({ contenders, quick: options.quick, schedule, socket, note });
    } catch (error) {
      missing[name] = messageOf(error);
    }
  }
}

function printJson(
  { quick }: Options,
  { machine, schedule, contenders, runs, all: results }: Report,
): void {
  const all = ratios(results);
  const report = {
    machine,
    runs: {
      ...schedule,
      runs: runs.length,
      quick,
      contenders: Object.fromEntries(contenders.map(({ name, about }) => [name, about])),
    },
    figures: results.figures(),
    probes: results.probed(),
    ratios: all,
    goals: goals.map((goal) => {
      const { name, atMost, atLeast } = goal;
      const value = all[name] ?? null;
      return {
        ...{ name, atMost, atLeast, value, reached: reaches(goal, value) ?? null },
        byRun: runs.map((run) => goal.of(run)),
      };
    }),
    missing: results.missing,
  };
  console.log(JSON.stringify(report, null, 2));
}

function print(report: Report): void {
  const { machine, contenders, runs, all } = report;
  console.log(`${machine.cores} x ${machine.cpu}, ${machine.memoryMiB} MiB, ${machine.os}`);
  for (const { name, about } of contenders) console.log(`${name}: ${about}`);
  for (const [name, why] of Object.entries(all.missing)) {
    console.log(`${name}: MISSING, ${why}`);
  }
  console.log(`Medians of ${scheduleOf(report)}.`);
  for (const table of tables(all, contenders.map(({ name }) => name), runs)) {
    console.log(`\n${table.title}\n\n${aligned(table)}`);
  }
}

function progress(text: string): void {
  if (Deno.stderr.isTerminal()) console.error(text);
}

function rotated<T>(items: readonly T[], by: number): T[] {
  return items.map((_, at) => items[(at + by) % items.length]!);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

let options: Options;
try {
  options = parseOptions(Deno.args);
} catch (error) {
  console.error(`${messageOf(error)}\n\n${USAGE}`);
  Deno.exit(2);
}
await main(options);
