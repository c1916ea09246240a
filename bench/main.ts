import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { candidates, type Contender } from "./contenders.ts";
import { type Entry, figures, ratios, tables } from "./report.ts";
import { run } from "./run.ts";
import { type Workload, workloads } from "./workloads.ts";

const USAGE = `deno task bench [--quick] [--only NAME,...] [--json] [--cpu-prof DIR]

  --quick         less than a minute, with a part of the workloads
  --only NAME,... only these workloads or contenders
  --json          print one JSON object
  --cpu-prof DIR  have the peers that run under Deno write V8 profiles; the figures suffer
`;

const FULL = { rounds: 5, warmUpMs: 1_000, measureMs: 2_000 };
const QUICK = { rounds: 3, warmUpMs: 450, measureMs: 350 };

interface Options {
  readonly quick: boolean;
  readonly only: readonly string[] | undefined;
  readonly json: boolean;
  readonly profiles: string | undefined;
}

function parseOptions(): Options {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      json: { type: "boolean", default: false },
      "cpu-prof": { type: "string" },
    },
  });
  const only = values.only?.split(",");
  const known = [...workloads, ...candidates].map(({ name }) => name);
  const unknown = only?.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new TypeError(`Cannot measure only "${unknown}": there are ${known.join(", ")}`);
  }
  return { quick: values.quick, only, json: values.json, profiles: values["cpu-prof"] };
}

async function main({ quick, only, json, profiles }: Options): Promise<void> {
  const { contenders, missing } = await prepare(chosen(candidates, only), profiles);
  const work = chosen(workloads, only)
    .filter((workload) => workload.quick || !quick || only?.includes(workload.name));
  const schedule = quick ? QUICK : FULL;
  const machine = describeMachine();
  const entries = await measure(contenders, work, schedule);

  if (json) {
    const about = Object.fromEntries(contenders.map(({ name, about }) => [name, about]));
    const others = candidates.map(({ name }) => name).filter((name) => name !== "ours");
    const report = {
      machine,
      runs: { ...schedule, quick, contenders: about },
      figures: figures(entries),
      ratios: ratios(entries, workloads, others),
      missing,
    };
    console.log(JSON.stringify(report, null, 2));
    return;
  }
  const { rounds, warmUpMs, measureMs } = schedule;
  console.log(`${machine.cores} x ${machine.cpu}, ${machine.memoryMiB} MiB, ${machine.os}`);
  for (const { name, about } of contenders) console.log(`${name}: ${about}`);
  for (const [name, why] of Object.entries(missing)) console.log(`${name}: MISSING, ${why}`);
  console.log(`Medians of ${rounds} rounds of ${measureMs} ms, each after ${warmUpMs} ms.\n`);
  console.log(tables(entries, work, contenders.map(({ name }) => name)));
}

/** Those that were named, or all if none was. */
function chosen<T extends { name: string }>(
  all: readonly T[],
  only: readonly string[] | undefined,
): readonly T[] {
  const named = all.filter(({ name }) => only?.includes(name));
  return named.length > 0 ? named : all;
}

async function prepare(
  wanted: typeof candidates,
  profiles: string | undefined,
): Promise<{ contenders: Contender[]; missing: Record<string, string> }> {
  const contenders: Contender[] = [];
  const missing: Record<string, string> = {};
  for (const { name, prepare } of wanted) {
    try {
      contenders.push({ name, ...await prepare(profiles) });
    } catch (error) {
      missing[name] = error instanceof Error ? error.message : String(error);
    }
  }
  return { contenders, missing };
}

/** Lets the contenders take turns, so that what else the machine does meets all of them. */
async function measure(
  contenders: readonly Contender[],
  work: readonly Workload[],
  { rounds, warmUpMs, measureMs }: typeof FULL,
): Promise<Entry[]> {
  const entries: Entry[] = [];
  const folder = await Deno.makeTempDir();
  try {
    for (let round = 0; round < rounds; round++) {
      for (const workload of work) {
        const { bytes, inFlight } = workload;
        for (const contender of rotated(contenders, round)) {
          const plan = { bytes, inFlight, warmUpMs, measureMs };
          const path = `${folder}/${entries.length}.sock`;
          try {
            const result = await run(contender, plan, path);
            entries.push({ round, contender: contender.name, workload, run: result });
          } catch (cause) {
            throw new Error(`Cannot measure ${contender.name} at ${workload.name}`, { cause });
          }
        }
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  return entries;
}

function rotated<T>(items: readonly T[], by: number): T[] {
  return items.map((_, at) => items[(at + by) % items.length]!);
}

function describeMachine() {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: navigator.hardwareConcurrency,
    memoryMiB: Math.round(Deno.systemMemoryInfo().total / (1 << 20)),
    os: `${Deno.build.os} ${Deno.osRelease()} ${Deno.build.arch}`,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    load: Deno.loadavg(),
  };
}

let options: Options;
try {
  options = parseOptions();
} catch (error) {
  console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
  Deno.exit(2);
}
await main(options);
