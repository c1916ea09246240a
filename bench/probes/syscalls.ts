import type { Contender } from "../contenders.ts";
import { output } from "../build.ts";
import { Pair } from "../run.ts";
import { contenderNamed, type Probe, type ProbeContext, smallPlan } from "./probe.ts";

/** Counts the system calls per call, of client and server together. */
export const syscalls: Probe = {
  name: "syscalls",
  async run(context) {
    await output(["strace", "--version"]);
    for (const name of ["raw", "ours", "go"]) {
      const contender = contenderNamed(context, name);
      if (!contender || (context.quick && name !== "ours")) continue;
      for (const [inFlight, calls] of [[1, 2_000], [64, 40_000]] as const) {
        const count = await perCall(context, contender, inFlight, calls);
        context.note(`syscalls_per_call_c${inFlight}`, name, count);
      }
    }
  },
};

async function perCall(
  context: ProbeContext,
  contender: Contender,
  inFlight: 1 | 64,
  count: number,
): Promise<number> {
  await using pair = await Pair.start(contender, smallPlan(context, inFlight), context.socket());
  await pair.client.ask(`calls ${count / 2}`);
  const path = context.socket();
  const pids = [pair.server.pid, pair.client.pid];
  const strace = new Deno.Command("strace", {
    args: ["-f", "-c", "-o", path, ...pids.flatMap((pid) => ["-p", `${pid}`])],
    stderr: "piped",
  }).spawn();
  const messages = strace.stderr.pipeThrough(new TextDecoderStream()).getReader();
  // strace prints a line for each process that it has attached to.
  for (let text = ""; pids.some((pid) => !text.includes(`Process ${pid} attached`));) {
    const { done, value } = await messages.read();
    if (done) throw new Error(`strace: ${text.trim()}`);
    text += value;
  }
  const { calls } = await pair.client.ask<{ calls: number }>(`calls ${count}`);
  strace.kill("SIGINT");
  while (!(await messages.read()).done);
  await strace.status;
  return total(await Deno.readTextFile(path)) / calls;
}

/** The fourth number of the last line of strace's table. */
function total(table: string): number {
  const line = table.split("\n").find((line) => line.endsWith(" total"));
  const calls = Number(line?.trim().split(/\s+/)[3]);
  if (!(calls > 0)) throw new Error(`strace has counted nothing:\n${table}`);
  return calls;
}
