import { setTimeout as delay } from "node:timers/promises";
import type { Contender } from "../contenders.ts";
import { pathOf } from "../build.ts";
import { PeerProcess } from "../process.ts";
import type { Measured } from "../workloads.ts";
import { contenderNamed, type Probe, type ProbeContext, smallPlan } from "./probe.ts";

/** The programs between client and server: none, one that only forwards, and `ttrpc tap`. */
const BETWEEN = {
  "direct": undefined,
  "forwarder": [pathOf("peers/forward.ts")],
  "ttrpc tap": [pathOf("../cli/main.ts"), "tap"],
};

/** Measures the latency that `ttrpc tap` adds to a small call, compared with a plain forwarder. */
export const tap: Probe = {
  name: "tap",
  async run(context) {
    const ours = contenderNamed(context, "ours");
    if (!ours) throw new Error('it needs the contender "ours"');
    for (let round = 0; round < (context.quick ? 1 : 3); round++) {
      for (const [name, command] of Object.entries(BETWEEN)) {
        context.note("call_through_us", name, await latency(context, ours, command));
      }
    }
  },
};

/** The median latency in microseconds. */
async function latency(
  context: ProbeContext,
  { server, client }: Contender,
  command: readonly string[] | undefined,
): Promise<number> {
  const plan = smallPlan(context);
  const path = context.socket();
  await using _server = await PeerProcess.start("server", server, path, plan);
  await using between = command && await Between.start(command, path, context.socket());
  await using peer = await PeerProcess.start("client", client, between?.path ?? path, plan);
  await peer.ask("load");
  const { p50Us } = await peer.answer<Measured>();
  return p50Us!;
}

/** A process between client and server. */
class Between implements AsyncDisposable {
  /** The path that it listens on. */
  readonly path: string;
  readonly #process: Deno.ChildProcess;

  private constructor(command: readonly string[], target: string, path: string) {
    this.path = path;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--allow-all", ...command, path, target],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** Starts it, and waits until it listens. */
  static async start(command: readonly string[], target: string, path: string): Promise<Between> {
    const between = new Between(command, target, path);
    let ended = false;
    void between.#process.status.then(() => ended = true);
    while (!await exists(path)) {
      if (ended) throw new Error(`${command.join(" ")} has ended`);
      await delay(10);
    }
    return between;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill();
    await this.#process.status;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}
