/**
 * A flood of peers that mean harm, and one client that does not: `flood.ts --seconds 60
 * --seed N`. The server and its enemies have processes of their own; the good client has this one.
 * `TTRPC_FLOOD` is a pattern for the kinds of peers, to find out which of them matters.
 */

import { connect, type Limits } from "@ttrpc/ttrpc";
import { equal } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { DECODE_BYTES, resolveLimits } from "../../limits.ts";
import { Child } from "../faults/child.ts";
import type { Report } from "../faults/server.ts";
import { Victim } from "../faults/victim.ts";
import { FLOODERS } from "./flooders.ts";
import { numberOption } from "./options.ts";
import { moment, sleep } from "../wait.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;

/** How many calls a second the good client makes. */
const RATE = 1_000;
/** When a call of the good client counts as failed, in milliseconds. */
const TIMEOUT_MS = 30_000;
/** How long the server may take to let go of everything, in milliseconds. */
const SETTLE_MS = 30_000;

/** How many connections the server takes: those that have just gone may count for a moment. */
const CONNECTIONS = FLOODERS + 28;
/** How many calls it runs on each of them. */
const CALLS = 100;

/** What the server allows: less than by default, so that it is reached. */
const LIMITS: Readonly<Limits> = resolveLimits({
  connections: CONNECTIONS,
  concurrentCalls: CALLS,
  serverCalls: CONNECTIONS * CALLS, // or those who open most would leave none to others
  heldBytes: 32 * MIB,
  serverHeldBytes: 128 * MIB,
  frameTimeoutMs: 5_000,
});

/** What the server may hold with these limits, in bytes: the sum that SECURITY.md has. */
function mostHeld(limits: Readonly<Limits>): number {
  const { messageBytes, decodeFactor, serverHeldBytes, serverCalls, connections } = limits;
  const oneMore = (decodeFactor + 2) * messageBytes + DECODE_BYTES;
  const calls = serverCalls * 2.6 * KIB;
  return serverHeldBytes + oneMore + calls + connections * 176 * KIB + GARBAGE_BYTES;
}

/** What was read and sent, and is not collected yet. */
const GARBAGE_BYTES = 128 * MIB;
/** So many times what is held may be resident: the garbage collector is not always at work. */
const RESIDENT = 2;

/** How the good client fared. */
interface Calls {
  /** How long each call took from when it was due, in milliseconds, the shortest first. */
  took: number[];
  /** What failed, in words, and how often. */
  failed: Map<string, number>;
}

/** What has happened. */
export interface FloodResult extends Calls {
  /** How often each kind of peer has connected. */
  flooders: Record<string, number>;
  /** How much larger the server was than before at the worst moment, in bytes. */
  grown: number;
  /** How much that may be, in bytes. */
  bound: number;
  /** What the server holds when all are gone. */
  left: Pick<Report, "callsInFlight" | "connections" | "heldBytes">;
}

/** Makes calls when they are due, however long the ones before take. */
async function goodCalls(path: string, seconds: number): Promise<Calls> {
  await using client = await connect({ path });
  const service = client.service(TestService);
  const took: number[] = [];
  const failed = new Map<string, number>();
  const options = { timeoutMs: TIMEOUT_MS };
  const call = async (index: number, due: number) => {
    try {
      if (index % 2 === 0) await service.nothing({}, options);
      else equal((await service.echo({ text: `${index}` }, options)).text, `${index}`);
      took.push(performance.now() - due);
    } catch (error) {
      const text = String(error);
      failed.set(text, (failed.get(text) ?? 0) + 1);
    }
  };
  const calls: Promise<void>[] = [];
  const start = performance.now();
  while (calls.length < seconds * RATE) {
    for (;;) {
      const due = start + calls.length * 1_000 / RATE;
      if (due > performance.now() || calls.length === seconds * RATE) break;
      calls.push(call(calls.length, due));
    }
    await moment();
  }
  await Promise.all(calls);
  took.sort((a, b) => a - b);
  return { took, failed };
}

/** Waits until the server holds nothing, and tells what it holds if that takes too long. */
async function settled(victim: Victim): Promise<FloodResult["left"]> {
  const end = performance.now() + SETTLE_MS;
  for (;;) {
    try {
      const { callsInFlight, connections, heldBytes } = await victim.report();
      const free = callsInFlight === 1 && connections === 1 && heldBytes === 0; // the report itself
      if (free || performance.now() >= end) return { callsInFlight, connections, heldBytes };
    } catch (error) {
      // Those that have just gone may still take all places.
      if (performance.now() >= end) throw error;
    }
    await sleep(20);
  }
}

/**
 * Floods a server for so many seconds, while a good client calls.
 *
 * @param seconds For how long.
 * @param seed What is random follows from it.
 * @param kinds A pattern for the kinds of peers; all without it.
 */
export async function flood(seconds: number, seed: number, kinds = ""): Promise<FloodResult> {
  await using victim = await Victim.start({ limits: LIMITS, delayMs: 5 });
  const { child } = victim;
  const before = child.footprint.rss;
  let calls: Calls;
  let flooders: Record<string, number>;
  {
    await using enemies = await Child.start("../soak/flooders.ts", [victim.path, `${seed}`, kinds]);
    calls = await goodCalls(victim.path, seconds);
    await enemies.tell("tell");
    flooders = JSON.parse(await enemies.expect(/^\{/));
  }
  const left = await settled(victim);
  const grown = child.footprint.peak - before;
  return { ...calls, flooders, grown, bound: Math.round(RESIDENT * mostHeld(LIMITS)), left };
}

/** What should not be, in words. */
export function floodFaults({ took, failed, grown, bound, left, flooders }: FloodResult): string[] {
  const found = [...failed].map(([error, count]) => `${count} good calls failed with ${error}`);
  if (took.length === 0) found.push("no good call was answered");
  if (grown > bound) found.push(`the server has grown by ${grown} bytes, and may by ${bound}`);
  const { callsInFlight, connections, heldBytes } = left;
  if (callsInFlight !== 1 || connections !== 1 || heldBytes !== 0) {
    found.push(`the server still holds ${JSON.stringify(left)}, and should only the report`);
  }
  for (const [name, count] of Object.entries(flooders)) {
    if (count === 0) found.push(`no peer of the kind "${name}" has connected`);
  }
  return found;
}

/** The figures in a line. */
export function showFlood({ took, grown, bound, flooders }: FloodResult): string {
  const at = (part: number) => took[Math.ceil(part * took.length) - 1]?.toFixed(1);
  const mib = (bytes: number) => (bytes / MIB).toFixed(0);
  const peers = Object.values(flooders).reduce((sum, count) => sum + count, 0);
  return `${took.length} good calls among ${peers} hostile connections: p50 ${at(0.5)} ms, ` +
    `p99 ${at(0.99)} ms, max ${at(1)} ms; ` +
    `the server has grown by ${mib(grown)} MiB of ${mib(bound)} MiB`;
}

if (import.meta.main) {
  const seed = numberOption("seed", Date.now() % 1_000_000);
  const result = await flood(numberOption("seconds", 60), seed, Deno.env.get("TTRPC_FLOOD"));
  console.log(showFlood(result));
  for (const [name, count] of Object.entries(result.flooders)) console.log(`  ${count} ${name}`);
  const found = floodFaults(result);
  console.log(`${found.length === 0 ? "ok" : `FAILED | ${found.join("; ")}`} | seed ${seed}`);
  Deno.exitCode = found.length === 0 ? 0 : 1;
}
