import { type Contender, deno } from "../contenders.ts";
import { PeerProcess } from "../process.ts";
import { Pair } from "../run.ts";
import { contenderNamed, type Probe, type ProbeContext, smallPlan } from "./probe.ts";

const KIB = 1 << 10;

/** Measures the memory of an open connection and of an open stream, after a garbage collection. */
export const memory: Probe = {
  name: "memory",
  async run(context) {
    const command = await deno("bare.ts");
    const bare = { name: "bare", about: "a bare Deno.Conn", server: command, client: command };
    for (let round = 0; round < (context.quick ? 2 : 3); round++) {
      await listenerAlone(context, bare);
      await connections(context, bare);
      for (const name of ["ours", "go", "rust"]) {
        const contender = contenderNamed(context, name);
        if (!contender || (context.quick && name !== "ours")) continue;
        await connections(context, contender);
        await streams(context, contender);
      }
    }
  },
};

async function listenerAlone(context: ProbeContext, bare: Contender): Promise<void> {
  await using server = await PeerProcess.start(
    "server",
    bare.server,
    context.socket(),
    smallPlan(context),
  );
  context.note("listener_mib", bare.name, resident(server) / KIB ** 2);
}

async function connections(context: ProbeContext, contender: Contender): Promise<void> {
  await using pair = await Pair.start(contender, smallPlan(context), context.socket());
  const count = 2_000;
  // The first connections load code and grow the heap, and are not counted.
  await pair.client.ask("connect 200");
  const before = await afterGc(pair);
  await pair.client.ask(`connect ${count}`);
  const each = (now: number) => (now - before) / count / KIB;
  context.note("idle_connection_kib", contender.name, each(await afterGc(pair)));
  await pair.client.ask("touch");
  context.note("used_connection_kib", contender.name, each(await afterGc(pair)));
}

async function streams(context: ProbeContext, contender: Contender): Promise<void> {
  await using pair = await Pair.start(contender, smallPlan(context), context.socket());
  const count = 10_000;
  await pair.client.ask("streams 1000");
  const before = await afterGc(pair);
  await pair.client.ask(`streams ${count}`);
  const after = await afterGc(pair);
  context.note("open_stream_kib", contender.name, (after - before) / count / KIB);
}

async function afterGc({ server }: Pair): Promise<number> {
  await server.ask("gc");
  await server.ask("gc");
  return resident(server);
}

function resident({ usage }: PeerProcess): number {
  if (!usage) throw new Error("there is no /proc");
  return usage.rss;
}
