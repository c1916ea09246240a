import { create, toBinary } from "@bufbuild/protobuf";
import type { Contender } from "../contenders.ts";
import { output, pathOf } from "../build.ts";
import { BenchService, PayloadSchema } from "../gen/ttrpc/bench/v1/bench_pb.ts";
import { RequestSchema } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { payloadOf } from "../peers/peer.ts";
import { PeerProcess } from "../process.ts";
import { contenderNamed, type Probe, type ProbeContext, smallPlan } from "./probe.ts";

const OTHERS = ["go", "rust", "grpc-js", "grpc-js-node", "connect-node"];

const REQUEST = toBinary(
  PayloadSchema,
  create(PayloadSchema, { payload: payloadOf({ bytes: 100 }) }),
);
const FRAME = frameOf(REQUEST);

/** The smallest programs that make one call: their names and their files. */
const PROGRAMS = {
  "bare": "bare.ts",
  "bare + protobuf-es": "bare_protobuf.ts",
  "ours, core": "core.ts",
  "ours": "ours.ts",
};

/** Measures the time from the start of a process to its first reply. */
export const coldStart: Probe = {
  name: "cold_start",
  async run(context) {
    const paths = new Map<Contender, string>();
    await using servers = new AsyncDisposableStack();
    const ours = contenderNamed(context, "ours");
    if (!ours) throw new Error('it needs the contender "ours"');
    const others = context.quick
      ? []
      : OTHERS.flatMap((name) => contenderNamed(context, name) ?? []);
    for (const contender of [ours, ...others]) {
      const path = context.socket();
      paths.set(contender, path);
      servers.use(
        await PeerProcess.start("server", contender.server, path, smallPlan(context)),
      );
    }
    for (const file of Object.values(PROGRAMS)) {
      await output([Deno.execPath(), "cache", "--quiet", pathOf(`cold/${file}`)]);
    }
    // The first round fills caches, and is not counted.
    for (let round = 0; round < (context.quick ? 6 : 12); round++) {
      const heard = round === 0 ? { ...context, note: () => {} } : context;
      for (const [name, file] of Object.entries(PROGRAMS)) {
        await startProgram(heard, name, file, paths.get(ours)!);
      }
      for (const other of others) await startPeer(heard, other, paths.get(other)!);
    }
  },
};

async function startProgram(
  context: ProbeContext,
  name: string,
  file: string,
  path: string,
): Promise<void> {
  const program = pathOf(`cold/${file}`);
  const args = ["run", "--quiet", "--allow-all", program, path, FRAME.toHex(), REQUEST.toHex()];
  const before = performance.now();
  const process = new Deno.Command(Deno.execPath(), { args, stdout: "piped" }).spawn();
  const reader = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await reader.read();
  const milliseconds = performance.now() - before;
  const rss = Number(value);
  await reader.cancel();
  const { success } = await process.status;
  if (!success || !(rss > 0)) throw new Error(`${program} has failed`);
  context.note("cold_start_ms", name, milliseconds);
  context.note("cold_start_mib", name, rss / (1 << 20));
}

/** Measures another contender, whose peer makes its first call on command. */
async function startPeer(context: ProbeContext, peer: Contender, path: string): Promise<void> {
  const before = performance.now();
  await using client = await PeerProcess.start("client", peer.client, path, smallPlan(context));
  await client.ask("calls 1");
  context.note("cold_start_ms", peer.name, performance.now() - before);
}

/** The first frame of a client: a Request for an echo. */
function frameOf(payload: Uint8Array): Uint8Array {
  const data = toBinary(
    RequestSchema,
    create(RequestSchema, { service: BenchService.typeName, method: "Echo", payload }),
  );
  const frame = new Uint8Array(10 + data.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, data.length);
  view.setUint32(4, 1); // the first stream
  view.setUint8(8, 1); // a Request
  frame.set(data, 10);
  return frame;
}
