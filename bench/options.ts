import { parseArgs } from "node:util";
import { candidates } from "./contenders.ts";
import { probes } from "./probes/all.ts";
import { can, type Workload, workloads } from "./workloads.ts";

/** Printed below an error in the arguments. */
export const USAGE =
  `deno task bench [--quick] [--only NAME,...] [--runs N] [--json] [--cpu-prof DIR]

  --quick         run some of the workloads, in less than a minute
  --only NAME,... run only these workloads, probes or contenders
  --runs N        run everything N times; the figures are medians over all runs
  --json          print one JSON object
  --cpu-prof DIR  write V8 profiles of the peers under Deno, which makes them slower
`;

/** The options of the benchmark. */
export interface Options {
  readonly quick: boolean;
  readonly only: readonly string[] | undefined;
  readonly runs: number;
  readonly json: boolean;
  readonly profiles: string | undefined;
}

/** Reads the command line. */
export function parseOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      runs: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
      "cpu-prof": { type: "string" },
    },
  });
  const only = values.only?.split(",");
  const known = [...workloads, ...probes, ...candidates].map(({ name }) => name);
  const unknown = only?.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new TypeError(`Cannot measure only "${unknown}": the names are ${known.join(", ")}`);
  }
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1) {
    throw new RangeError(`Cannot measure "${values.runs}" times: expected a whole number above 0`);
  }
  return { quick: values.quick, only, runs, json: values.json, profiles: values["cpu-prof"] };
}

/** A workload, and the contenders that run it. */
export interface Job {
  readonly workload: Workload;
  readonly by: readonly string[];
}

/** The workloads that the options select, for these contenders. */
export function jobs(
  { quick, only }: Pick<Options, "quick" | "only">,
  contenders: readonly string[],
): Job[] {
  const named = isNamed(only, [...workloads, ...probes]);
  const contendersNamed = isNamed(only, candidates);
  return workloads.flatMap((workload) => {
    if (named && !only!.includes(workload.name)) return [];
    // A workload and a contender that are both named are run, if that is possible.
    const usual = quick && !named ? workload.quickBy : workload.by;
    const by = contenders.filter((name) =>
      named && contendersNamed ? can(name, workload) : usual.includes(name)
    );
    return by.length > 0 ? [{ workload, by }] : [];
  });
}

/** The probes that the options select. */
export function probesOf({ only }: Options): typeof probes {
  if (!isNamed(only, [...workloads, ...probes])) return probes;
  return probes.filter(({ name }) => only!.includes(name));
}

/** The contenders that the options select. */
export function candidatesOf({ only, quick }: Options): typeof candidates {
  if (isNamed(only, candidates)) return candidates.filter(({ name }) => only!.includes(name));
  const works = jobs({ quick, only }, candidates.map(({ name }) => name));
  if (isNamed(only, [...workloads, ...probes]) && works.length === 0) return candidates;
  return candidates.filter(({ name }) => works.some(({ by }) => by.includes(name)));
}

function isNamed(only: readonly string[] | undefined, all: readonly { name: string }[]): boolean {
  return all.some(({ name }) => only?.includes(name));
}
