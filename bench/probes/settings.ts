import { setTimeout as delay } from "node:timers/promises";
import type { Contender } from "../contenders.ts";
import { output, pathOf } from "../build.ts";
import { Pair, planOf } from "../run.ts";
import { workloadNamed } from "../workloads.ts";
import { contenderNamed, type Probe, type ProbeContext } from "./probe.ts";

/** The program and all that it imports in one file of JavaScript. */
const BUNDLED = "deno bundle";

/** What can be set for a Deno process: flags of V8, variables of glibc's allocator; and one file. */
const SETTINGS = [
  "none",
  BUNDLED,
  `${BUNDLED}, --max-semi-space-size=1`,
  "--max-semi-space-size=1",
  "--optimize-for-size",
  "--lite-mode",
  "--single-threaded-gc",
  "MALLOC_TRIM_THRESHOLD_=131072",
  "MALLOC_MMAP_THRESHOLD_=1048576",
];

/** How long an idle server is given before its memory is looked at, in milliseconds. */
const AFTER_MS = 3_000;

/** Limits on what waits, in KiB. The last is the default. */
const QUEUES = [256, 1_024, 8_192];

/** What settings do to speed and memory, for those who have to choose. */
export const settings: Probe = {
  name: "settings",
  async run(context) {
    if (context.quick) return;
    const ours = contenderNamed(context, "ours");
    if (!ours) throw new Error("it takes ours");
    const bundle = `${context.socket()}.js`;
    await output([
      ...[Deno.execPath(), "bundle", "--quiet", "--minify", "--platform", "deno"],
      ...["-o", bundle, pathOf("peers/ours.ts")],
    ]);
    const bundled = { ...ours, server: [...ours.server.slice(0, -1), bundle] };
    for (const setting of SETTINGS) {
      const [contender, flag] = setting.startsWith(BUNDLED)
        ? [bundled, setting.slice(BUNDLED.length + 2) || "none"]
        : [ours, setting];
      await under(context, setting, withSetting(contender, flag));
    }
    for (const kib of QUEUES) {
      const bytes = String(kib << 10);
      const grown = await output([...ours.server.slice(0, -1), pathOf("peers/unread.ts"), bytes]);
      context.note("unread_stream_mib", `connectionQueueBytes: ${kib} KiB`, mib(Number(grown)));
    }
  },
};

async function under(context: ProbeContext, setting: string, contender: Contender): Promise<void> {
  for (const name of ["unary_100B_c64", "unary_1MiB_c1"]) {
    const plan = planOf(workloadNamed(name), context.schedule);
    await using pair = await Pair.start(contender, plan, context.socket());
    const { calls, seconds, rss } = await pair.load();
    context.note(`${name}_calls_per_second`, setting, calls / seconds);
    if (rss) {
      context.note("idle_mib", setting, mib(rss.idle));
      context.note(`${name}_load_mib`, setting, mib(rss.load));
    }
    await delay(AFTER_MS);
    await pair.server.ask("gc");
    const { usage } = pair.server;
    if (usage) context.note(`${name}_collected_mib`, setting, mib(usage.rss));
  }
}

function withSetting(contender: Contender, setting: string): Contender {
  const command = setting.startsWith("--")
    ? contender.server.map((arg) => arg.startsWith("--v8-flags=") ? `${arg},${setting}` : arg)
    : ["env", ...(setting === "none" ? [] : [setting]), ...contender.server];
  return { ...contender, server: command, client: command };
}

function mib(bytes: number): number {
  return bytes / (1 << 20);
}
