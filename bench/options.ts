import { parseArgs } from "node:util";
import { candidates } from "./contenders.ts";
import { probes } from "./probes/all.ts";
import { can, type Workload, workloads } from "./workloads.ts";

/** What is printed beside what is wrong with the arguments. */
export const USAGE =
  `deno task bench [--quick] [--only NAME,...] [--runs N] [--json] [--cpu-prof DIR]

  --quick         less than a minute, with a part of the workloads
  --only NAME,... only these workloads, probes or contenders
  --runs N        all of it N times; the figures are medians over all of them
  --json          print one JSON object
  --cpu-prof DIR  have the peers that run under Deno write V8 profiles; the figures suffer
`;

/** What is to be done. */
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
    throw new TypeError(`Cannot measure only "${unknown}": there are ${known.join(", ")}`);
  }
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1) {
    throw new RangeError(`Cannot measure "${values.runs}" times: it takes a number from 1 on`);
  }
  return { quick: values.quick, only, runs, json: values.json, profiles: values["cpu-prof"] };
}

/** A workload, and who is asked to do it. */
export interface Job {
  readonly workload: Workload;
  readonly by: readonly string[];
}

/** What the options leave of the workloads, for these contenders. */
export function jobs(
  { quick, only }: Pick<Options, "quick" | "only">,
  contenders: readonly string[],
): Job[] {
  const named = isNamed(only, [...workloads, ...probes]);
  const contendersNamed = isNamed(only, candidates);
  return workloads.flatMap((workload) => {
    if (named && !only!.includes(workload.name)) return [];
    // Who asks for both gets both, if at all possible.
    const usual = quick && !named ? workload.quickBy : workload.by;
    const by = contenders.filter((name) =>
      named && contendersNamed ? can(name, workload) : usual.includes(name)
    );
    return by.length > 0 ? [{ workload, by }] : [];
  });
}

/** What the options leave of the probes. */
export function probesOf({ only }: Options): typeof probes {
  if (!isNamed(only, [...workloads, ...probes])) return probes;
  return probes.filter(({ name }) => only!.includes(name));
}

/** What the options leave of the contenders. */
export function candidatesOf({ only, quick }: Options): typeof candidates {
  if (isNamed(only, candidates)) return candidates.filter(({ name }) => only!.includes(name));
  const works = jobs({ quick, only }, candidates.map(({ name }) => name));
  if (isNamed(only, [...workloads, ...probes]) && works.length === 0) return candidates;
  return candidates.filter(({ name }) => works.some(({ by }) => by.includes(name)));
}

function isNamed(only: readonly string[] | undefined, all: readonly { name: string }[]): boolean {
  return all.some(({ name }) => only?.includes(name));
}
