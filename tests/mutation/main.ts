/**
 * Makes small changes to a file, one at a time, and tells those that its tests do not notice:
 * `deno task mutate FILE... [--tests GLOB...] [--least PERCENT] [--jobs N]`.
 */

import { Copies } from "./copies.ts";
import { Judged, readJudgements } from "./judged.ts";
import { report, type Survivor } from "./report.ts";
import { testsOf } from "./tests.ts";
import { tryMutants } from "./try.ts";

interface Options {
  files: string[];
  tests: string[];
  least: number;
  jobs: number;
}

function parse(args: string[]): Options | undefined {
  const given: Record<string, string[]> = { files: [], tests: [], least: [], jobs: [] };
  let values = given["files"]!;
  for (const arg of args) {
    if (!arg.startsWith("--")) values.push(arg);
    else if (Object.hasOwn(given, arg.slice(2))) values = given[arg.slice(2)]!;
    else return undefined;
  }
  const { files, tests, least, jobs } = given as Record<keyof Options, string[]>;
  const options = {
    files,
    tests,
    least: Number(least[0] ?? 85),
    jobs: Number(jobs[0] ?? navigator.hardwareConcurrency),
  };
  const sound = files.length > 0 && least.length < 2 && options.least >= 0 &&
    options.least <= 100 && jobs.length < 2 && Number.isInteger(options.jobs) && options.jobs > 0;
  return sound ? options : undefined;
}

/** Tries the changes to one file, and tells whether enough were noticed. */
async function mutate(
  root: string,
  file: string,
  options: Options,
  copies: Copies,
  signal: AbortSignal,
): Promise<boolean> {
  const tests = options.tests.length > 0 ? options.tests : await testsOf(root, file);
  if (tests.length === 0) {
    throw new Error(`Cannot try changes to ${file}: it has no tests, say which with --tests`);
  }
  const source = await Deno.readTextFile(`${root}/${file}`);
  const judged = new Judged(await readJudgements(root), file);
  const survivors: Survivor[] = [];
  const counts = { failed: 0, "timed out": 0, passed: 0 };
  const start = performance.now();
  const testMs = await tryMutants({
    copies,
    file,
    source,
    tests,
    signal,
    onEnd: (mutant, end) => {
      counts[end]++;
      if (end === "passed") survivors.push({ mutant, reason: judged.reason(mutant) });
      progress(`${file}: ${counts.failed + counts["timed out"] + counts.passed} tried`);
    },
  });
  progress("");
  const { text, score } = report({
    file,
    tests,
    testMs,
    totalMs: performance.now() - start,
    failed: counts.failed,
    timedOut: counts["timed out"],
    survivors,
    unused: judged.unused,
  });
  console.log(text);
  return score >= options.least;
}

function progress(text: string): void {
  if (Deno.stderr.isTerminal()) Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
}

const options = parse(Deno.args);
if (!options) {
  console.error("usage: mutate FILE... [--tests GLOB...] [--least PERCENT] [--jobs N]");
  Deno.exit(2);
}
const stopped = new AbortController();
const stop = () => stopped.abort(new Error("stopped"));
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
try {
  const root = Deno.cwd();
  await using copies = await Copies.make(root, options.jobs);
  for (const file of options.files) {
    if (!await mutate(root, file, options, copies, stopped.signal)) Deno.exitCode = 1;
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  Deno.exitCode = 2;
} finally {
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.removeSignalListener(signal, stop);
}
