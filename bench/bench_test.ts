import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { pathOf } from "./build.ts";
import { chart } from "./chart.ts";
import { deno } from "./contenders.ts";
import { candidatesOf, jobs, parseOptions, probesOf } from "./options.ts";
import { goals, ratios, reaches } from "./ratios.ts";
import { realistic } from "./realistic.ts";
import { Pair, planOf } from "./run.ts";
import { Results } from "./results.ts";
import { median, ratioByRound, significant, withSpread } from "./statistics.ts";
import { aligned, markdown, tables } from "./tables.ts";
import { workloadNamed, workloads } from "./workloads.ts";

const NAMES = ["raw", "ours", "go", "grpc-js"];

/** Results of runs at 100 bytes: the contender, the round, and the calls in one second. */
function resultsOf(...runs: [contender: string, round: number, calls: number][]): Results {
  const results = new Results();
  const rss = { idle: 1 << 20, load: 2 << 20 };
  for (const [contender, round, calls] of runs) {
    const latency = 1e6 / calls;
    const run = {
      ...{ calls, seconds: 1, p50Us: latency, p99Us: latency * 2, p999Us: latency * 3 },
      ...{ rss, cpuUs: { client: latency, server: latency } },
    };
    for (const name of ["unary_100B_c1", "unary_100B_c64"]) {
      results.entries.push({ round, contender, workload: workloadNamed(name), run });
    }
  }
  return results;
}

Deno.test("the benchmark's arguments are read, and unknown names are refused", () => {
  deepEqual(parseOptions(["--quick", "--json", "--only", "raw,unary_100B_c1"]), {
    quick: true,
    only: ["raw", "unary_100B_c1"],
    runs: 1,
    json: true,
    profiles: undefined,
  });
  throws(
    () => parseOptions(["--only", "unary_99B"]),
    /Cannot measure only "unary_99B": the names are /,
  );
  throws(() => parseOptions(["--fast"]), TypeError);
  equal(parseOptions(["--runs", "3"]).runs, 3);
  for (const runs of ["0", "-1", "1.5", "three", ""]) {
    throws(() => parseOptions([`--runs=${runs}`]), RangeError);
  }
});

Deno.test("only what was named is measured, of workloads, probes and contenders", () => {
  const options = parseOptions(["--only", "raw,ours,unary_1KiB_c64,realistic_c1"]);
  deepEqual(candidatesOf(options).map(({ name }) => name), ["raw", "ours"]);
  deepEqual(
    jobs(options, ["raw", "ours"]).map(({ workload, by }) => [workload.name, by]),
    [["unary_1KiB_c64", ["raw", "ours"]], ["realistic_c1", ["ours"]]],
  );
  deepEqual(probesOf(options), []);
  const probe = parseOptions(["--only", "bundle"]);
  deepEqual(jobs(probe, NAMES), []);
  deepEqual(probesOf(probe).map(({ name }) => name), ["bundle"]);
});

Deno.test("a quick run has all that the goals compare, and only that", () => {
  const quick = jobs(parseOptions(["--quick"]), NAMES);
  ok(quick.length < workloads.length);
  const results = new Results();
  const run = {
    ...{ calls: 1, seconds: 1, p50Us: 1, p99Us: 1, p999Us: 1 },
    ...{ rss: { idle: 1, load: 1, after: 1 }, cpuUs: { client: 1, server: 1 } },
  };
  for (const { workload, by } of quick) {
    for (const contender of by) results.entries.push({ round: 0, contender, workload, run });
  }
  const compared = goals.filter(({ name }) => /_over_(raw|go|grpcjs)$|^cost_/.test(name));
  for (const goal of compared) {
    ok(goal.of(results) !== null, goal.name);
  }
});

Deno.test("a workload's name says what it is", () => {
  const { kind, bytes, inFlight, connections, openStreams } = workloadNamed(
    "unary_100B_c64_10000_streams",
  );
  deepEqual([kind, bytes, inFlight, connections, openStreams], ["unary", 100, 64, 1, 10_000]);
  const many = workloadNamed("unary_100B_1000_connections");
  deepEqual([many.inFlight, many.connections], [1_000, 1_000]);
  const stream = workloadNamed("server_stream_64KiB");
  deepEqual([stream.kind, stream.bytes, stream.inFlight], ["server_stream", 65_536, 1]);
});

Deno.test("the realistic message is about as long as containerd's", () => {
  ok(Math.abs(realistic.length - 650) < 10, `${realistic.length} bytes`);
});

Deno.test("a ratio is the median of those within each round", () => {
  const over = new Map([[0, 10], [1, 30], [2, 10]]);
  const under = new Map([[0, 5], [1, 3], [2, 10], [3, 1]]);
  equal(ratioByRound(over, under), 2);
  equal(ratioByRound(over, new Map()), null);
  equal(median([1, 2, 3, 10]), 2.5);
  equal(median([]), null);
});

Deno.test("ratios have all names, and null where a peer is missing", () => {
  const all = ratios(
    resultsOf(["ours", 0, 300], ["raw", 0, 600], ["ours", 1, 400], ["raw", 1, 400]),
  );
  for (const { name } of goals) ok(name in all, name);
  equal(all["unary_100B_c1_p50_over_raw"], 1.5);
  equal(all["unary_100B_c1_over_raw"], 0.75);
  equal(all["cost_per_call_c64_over_c1"], 1);
  equal(all["unary_100B_c64_over_go"], null);
  equal(all["unary_100B_c64_over_grpcjsnode"], null);
  equal(all["rss_small_load_minus_bare_mib"], null);
});

Deno.test("differences are of medians, and goals are bounds from either side", () => {
  const results = resultsOf(["ours", 0, 100], ["go", 0, 25]);
  for (const value of [0.5, 1.5, 1]) {
    results.readings.push({ figure: "listener_mib", contender: "bare", value });
  }
  equal(ratios(results)["rss_small_load_minus_bare_mib"], 1);
  const goal = goals.find(({ name }) => name === "unary_100B_c64_over_go")!;
  equal(goal.of(results), 4);
  equal(reaches(goal, 4), true);
  equal(reaches(goal, 2), false);
  equal(reaches(goal, null), undefined);
  equal(reaches(goals[0]!, 1.35), true);
  equal(reaches(goals[0]!, 1.36), false);
});

Deno.test("figures are shown with as many digits as say something", () => {
  deepEqual([0.0613, 0.5, 12.34, 1234.5].map(significant), ["0.061", "0.50", "12.3", "1,235"]);
  equal(withSpread({ median: 10, min: 9, max: 11 }), "10.0 ±10%");
  equal(withSpread(undefined), "");
});

Deno.test("tables and the chart show what was measured, and what was not", () => {
  const results = resultsOf(["ours", 0, 300], ["go", 0, 100]);
  const [first, ...rest] = tables(results, ["ours", "go"]);
  equal(first?.title, "Goals");
  match(aligned(first!), /calls\/s over Go's +at least 2\.5 +3\.00 +yes\n/);
  match(aligned(first!), /not measured/);
  match(rest.map(markdown).join("\n"), /\| unary_100B_c64 +\| go +\|/);
  const svg = chart(results, ["ours", "go"]);
  match(svg, /^<svg [^]*class="bar ours"[^]*<\/svg>\n$/);
  ok(!svg.includes("NaN"));
});

Deno.test("several runs are taken together, and each is shown beside", () => {
  const calls = [[300, 100], [500, 100], [200, 100]] as const;
  const runs = calls.map(([ours, go]) => {
    const results = resultsOf(["ours", 0, ours], ["go", 0, go]);
    results.readings.push({ figure: "syscalls", contender: "ours", value: ours });
    return results;
  });
  runs[1]!.missing["rust"] = "no cargo";
  const all = Results.merged(runs);
  equal(ratios(all)["unary_100B_c64_over_go"], 3);
  equal(all.reading("syscalls", "ours")?.median, 300);
  deepEqual(all.missing, { rust: "no cargo" });
  const [goalsOfRuns] = tables(all, ["ours", "go"], runs);
  match(aligned(goalsOfRuns!), /reached +run 1 +run 2 +run 3\n/);
  match(
    aligned(goalsOfRuns!),
    /calls\/s over Go's +at least 2\.5 +3\.00 +yes +3\.00 +5\.00 +2\.00\n/,
  );
});

Deno.test("our peer does as it is told, and every kind of call works", async () => {
  const command = await deno("ours.ts");
  const ours = { name: "ours", about: "", server: command, client: command };
  const folder = await Deno.makeTempDir();
  const schedule = { rounds: 1, warmUpMs: 10, measureMs: 200 };
  for (
    const name of ["realistic_c1", "server_stream_100B", "client_stream_100B", "bidi_stream_100B"]
  ) {
    const plan = planOf(workloadNamed(name), schedule);
    await using pair = await Pair.start(ours, plan, `${folder}/${name}`);
    const { client, server } = pair;
    const { calls } = await client.ask<{ calls: number }>("calls 2");
    equal(calls, plan.kind === "unary" ? 2 : plan.perStream, name);
    for (const line of ["connect 2", "streams 2", "touch"]) deepEqual(await client.ask(line), {});
    deepEqual(await server.ask("gc"), {});
    ok((await pair.load()).calls > 0, name);
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("the benchmark prints one JSON object with the ratios", async () => {
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--allow-all", pathOf("main.ts")],
      ...["--quick", "--json", "--only", "raw,ours,unary_100B_c1"],
    ],
    stderr: "inherit",
  }).output();
  ok(success);
  const report = JSON.parse(new TextDecoder().decode(stdout));
  deepEqual(report.missing, {});
  deepEqual(Object.keys(report.figures), ["raw", "ours"]);
  ok(report.figures.ours.unary_100B_c1.callsPerSecond.median > 0);
  for (const { name } of goals) ok(name in report.ratios, name);
  ok(report.ratios.unary_100B_c1_p50_over_raw > 0);
  ok(report.ratios.unary_100B_c1_p99_over_raw > 0);
  equal(report.ratios.unary_100B_c1_p50_over_go, null);
});
