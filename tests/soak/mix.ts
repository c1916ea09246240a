/** Everything at once, with faults that follow from a seed. */

import { type Client, Code, connect, RpcError, serve } from "@ttrpc/ttrpc";
import { equal, ok } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { Proxy } from "../faults/proxy.ts";
import { SocketFolder, testHandlers } from "../fixture.ts";
import { RawPeer, requestData } from "../raw_peer.ts";
import { sleep, until } from "../wait.ts";

const WORKERS = 16;
const CALLS_PER_CLIENT = 50;

/** Random numbers that come again for the same seed. */
export function random(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = ReturnType<typeof random>;

/** What happened. */
export interface Summary {
  /** How calls ended, by the name of the code. */
  outcomes: Map<string, number>;
  clients: number;
  cuts: number;
  hostile: number;
}

const EXPECTED = [Code.ABORTED, Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE];

/** One call of any kind and size, with or without trouble. */
async function call(client: Client, pick: Random): Promise<void> {
  const service = client.service(TestService);
  const leaving = new AbortController();
  const options = {
    ...pick(3) === 0 ? { signal: leaving.signal } : {},
    ...pick(3) === 0 ? { timeoutMs: pick(20) } : {},
  };
  const timer = pick(2) === 0 ? setTimeout(() => leaving.abort(), pick(10)) : undefined;
  const size = [0, 10, 1_000, 10_000, 300_000][pick(5)]!;
  try {
    const kind = pick(7);
    if (kind === 0) {
      const payload = new Uint8Array(size).fill(size);
      const reply = await service.echo({ payload }, options);
      ok(reply.payload.length === size && (size === 0 || reply.payload.at(-1) === size % 256));
    } else if (kind === 1) await service.fail({ code: Code.ABORTED, message: "asked for" });
    else if (kind === 2) await service.sleep({ milliseconds: BigInt(pick(10)) }, options);
    else if (kind === 3) {
      const { value } = await service.sum([{ value: 1n }, { value: BigInt(size) }], options);
      equal(value, BigInt(size) + 1n);
    } else if (kind === 4) {
      let next = 0n;
      for await (const { value } of service.count({ count: pick(100) }, options)) {
        equal(value, next++);
        if (pick(200) === 0) break;
      }
    } else {
      const messages = Array.from({ length: pick(20) }, (_, at) => ({
        text: `${at}`,
        payload: new Uint8Array(Math.min(size, 10_000)),
      }));
      let next = 0;
      for await (const { text } of service.chat(messages, options)) equal(text, `${next++}`);
      equal(next, messages.length);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** A peer that sends what it should not, and leaves. */
async function hostile(path: string, pick: Random): Promise<void> {
  using peer = await RawPeer.connect(path);
  const data = [
    requestData({ method: "Nope" }),
    requestData({ method: "Chat" }),
    requestData({ method: "Sleep", payload: new Uint8Array([8, 128, 128, 8]) }),
    crypto.getRandomValues(new Uint8Array(200)),
  ][pick(4)]!;
  try {
    for (let i = 0; i < 200; i++) await peer.send({ streamId: 2 * i + pick(2), data });
    if (pick(2) === 0) await peer.sendBytes(new Uint8Array([0, 0, 1, 0, 0]));
    if (pick(2) === 0) await peer.sendBytes(new Uint8Array([1]));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // it was thrown out
  }
}

/** Cuts, stalls and splits what goes through a proxy, now and then. */
async function disturb(proxy: Proxy, pick: Random, over: () => boolean, summary: Summary) {
  while (!over()) {
    await sleep(20 + pick(60));
    const line = pick(2) === 0 ? proxy.up : proxy.down;
    line.piece = [64, 1_000, 4_096, 1 << 16][pick(4)]!;
    const kind = pick(4);
    if (kind === 0) {
      proxy.cut();
      summary.cuts++;
    } else if (kind === 1) {
      line.stall();
      await sleep(pick(30));
    }
    line.resume();
  }
}

/**
 * Does everything at once for so many seconds.
 *
 * @throws If a caller saw what it should not have.
 */
export async function mix(seconds: number, seed: number): Promise<Summary> {
  const summary: Summary = { outcomes: new Map(), clients: 0, cuts: 0, hostile: 0 };
  const end = performance.now() + 1_000 * seconds;
  const over = () => performance.now() >= end;
  using socket = new SocketFolder();
  using beside = new SocketFolder();
  const { path } = socket;
  const errors: unknown[] = [];
  await using server = serve({
    path,
    onError: (error, method) => void (method ?? errors.push(error)),
  }, (router) => router.service(TestService, testHandlers));
  await using proxy = new Proxy({ transport: "unix", path: beside.path }, path);

  const count = (name: string) => summary.outcomes.set(name, (summary.outcomes.get(name) ?? 0) + 1);
  const attempt = async (client: Client, pick: Random) => {
    try {
      await call(client, pick);
      count("OK");
    } catch (error) {
      ok(error instanceof RpcError && EXPECTED.includes(error.code), Deno.inspect(error));
      count(Code[error.code]!);
    }
  };
  const worker = async (index: number) => {
    const pick = random(seed + index);
    while (!over()) {
      const direct = pick(2) === 0;
      const client = await connect({ path: direct ? path : beside.path }, {
        ...pick(2) === 0 ? { reconnect: { initialDelayMs: 1 } } : {},
      });
      summary.clients++;
      for (let i = 0; i < CALLS_PER_CLIENT && !over(); i++) {
        await Promise.all(Array.from({ length: 1 + pick(8) }, () => attempt(client, pick)));
      }
      await client[Symbol.asyncDispose]();
      const { callsInFlight, openStreams, queuedBytes, heldBytes } = client.stats();
      equal(callsInFlight + openStreams + queuedBytes + heldBytes, 0);
      if (pick(4) === 0) {
        await hostile(path, pick);
        summary.hostile++;
      }
    }
  };
  await Promise.all([
    ...Array.from({ length: WORKERS }, (_, index) => worker(index)),
    disturb(proxy, random(seed - 1), over, summary),
  ]);
  proxy.cut();
  await until(() => server.stats().connections + server.stats().callsInFlight === 0);
  const { openStreams, queuedBytes, heldBytes } = server.stats();
  equal(openStreams + queuedBytes + heldBytes, 0);
  for (const error of errors) ok(error instanceof RpcError, Deno.inspect(error));
  return summary;
}
