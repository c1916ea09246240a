import { setTimeout as delay } from "node:timers/promises";
import type { Contender } from "../contenders.ts";
import { bundleTo, output, pathOf } from "../build.ts";
import { Pair, planOf } from "../run.ts";
import { workloadNamed } from "../workloads.ts";
import { contenderNamed, type Probe, type ProbeContext } from "./probe.ts";

/** The settings of a Deno process: flags of V8, and variables of glibc's allocator. */
const SETTINGS = [
  "none",
  "--max-semi-space-size=1",
  "--optimize-for-size",
  "--lite-mode",
  "--single-threaded-gc",
  "MALLOC_TRIM_THRESHOLD_=131072",
  "MALLOC_MMAP_THRESHOLD_=1048576",
];

/** The settings of a server that is bundled into one file. */
const BUNDLED_SETTINGS = ["none", "--max-semi-space-size=1"];

/** How long a server is idle before its memory is measured, in milliseconds. */
const AFTER_MS = 3_000;

/** Values of `limits.connectionQueueBytes`, in KiB. The last one is the default. */
const QUEUES = [256, 1_024, 8_192];

/** Measures the effect of settings on speed and memory. */
export const settings: Probe = {
  name: "settings",
  async run(context) {
    if (context.quick) return;
    const ours = contenderNamed(context, "ours");
    if (!ours) throw new Error('it needs the contender "ours"');
    const bundle = `${context.socket()}.js`;
    await bundleTo(bundle, pathOf("peers/ours.ts"), "--minify");
    const bundled = { ...ours, server: [...ours.server.slice(0, -1), bundle] };
    for (const setting of SETTINGS) await under(context, setting, withSetting(ours, setting));
    for (const setting of BUNDLED_SETTINGS) {
      await under(context, `bundled, ${setting}`, withSetting(bundled, setting));
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
