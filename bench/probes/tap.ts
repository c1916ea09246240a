import { setTimeout as delay } from "node:timers/promises";
import type { Contender } from "../contenders.ts";
import { pathOf } from "../build.ts";
import { PeerProcess } from "../process.ts";
import type { Measured } from "../workloads.ts";
import { contenderNamed, type Probe, type ProbeContext, smallPlan } from "./probe.ts";

/** What stands between client and server: nothing, a program that forwards, and `ttrpc tap`. */
const BETWEEN = {
  "direct": undefined,
  "forwarder": pathOf("peers/forward.ts"),
  "ttrpc tap": pathOf("../cli/main.ts"),
};

/** What `ttrpc tap` adds to a small call, beside the least that anything in between adds. */
export const tap: Probe = {
  name: "tap",
  async run(context) {
    const ours = contenderNamed(context, "ours");
    if (!ours) throw new Error("it takes ours");
    for (let round = 0; round < (context.quick ? 1 : 3); round++) {
      for (const [name, program] of Object.entries(BETWEEN)) {
        context.note("call_through_us", name, await latency(context, ours, program));
      }
    }
  },
};

/** The median latency in microseconds. */
async function latency(
  context: ProbeContext,
  { server: [deno = "", ...args], client }: Contender,
  program: string | undefined,
): Promise<number> {
  const plan = smallPlan(context);
  const path = context.socket();
  await using _server = await PeerProcess.start("server", [deno, ...args], path, plan);
  const between = program && new Between(deno, program, path, context.socket());
  try {
    if (between) await between.ready();
    const peer = await PeerProcess.start("client", client, between ? between.path : path, plan);
    await using process = peer;
    await process.ask("load");
    const { p50Us } = await process.answer<Measured>();
    return p50Us!;
  } finally {
    if (between) await between.end();
  }
}

/** A process that stands between. */
class Between {
  /** Where it listens. */
  readonly path: string;
  readonly #process: Deno.ChildProcess;

  constructor(deno: string, program: string, target: string, path: string) {
    this.path = path;
    const tapping = program.includes("/cli/") ? ["tap"] : [];
    this.#process = new Deno.Command(deno, {
      args: ["run", "--quiet", "--allow-all", program, ...tapping, path, target],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** Waits until it listens. */
  async ready(): Promise<void> {
    for (;;) {
      try {
        await Deno.stat(this.path);
        return;
      } catch {
        await delay(10);
      }
    }
  }

  async end(): Promise<void> {
    this.#process.kill();
    await this.#process.status;
  }
}
