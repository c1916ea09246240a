/**
 * Does the same thing many times, and measures whether anything of it is left:
 * `leaks.ts --calls 1000000 --streams 100000 --connections 10000`.
 */

import { type Client, connect, serve, type Server } from "@ttrpc/ttrpc";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder, testHandlers } from "../fixture.ts";
import { type Figures, leaks, measure, show, watchTimers } from "./figures.ts";
import { numberOption } from "./options.ts";
import { moment, until } from "../wait.ts";

const CONCURRENCY = 64;

/** Runs something so many times, some at a time. */
async function times(count: number, run: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, count) }, worker));
}

/** Unary calls, each with a deadline, metadata, a signal, or none of them. */
async function unary(client: Client, count: number): Promise<void> {
  const service = client.service(TestService);
  const { signal } = new AbortController();
  const options = [{}, { timeoutMs: 60_000 }, { metadata: { "x-key": "value" } }, { signal }];
  await times(count, async (index) => {
    const { text } = await service.echo({ text: `${index}` }, options[index % 4]);
    if (text !== `${index}`) throw new Error(`call ${index} was answered ${text}`);
  });
}

/** Streams of all kinds, some of which are left early, aborted, or fail. */
async function streams(client: Client, count: number): Promise<void> {
  const service = client.service(TestService);
  await times(count, async (index) => {
    const kind = index % 5;
    if (kind === 0) await Array.fromAsync(service.count({ count: 3 }));
    else if (kind === 1) await service.sum([{ value: 1n }, { value: 2n }]);
    else if (kind === 2) await Array.fromAsync(service.chat([{ text: "a" }, { text: "b" }]));
    else if (kind === 3) { for await (const _ of service.chat(forEver())) break; }
    else {
      const stream = service.chat(forEver(), { signal: AbortSignal.abort() });
      await stream.next().catch(() => {});
    }
  });
}

/** Messages without end, with a pause between them. */
async function* forEver() {
  for (;;) {
    yield { text: "x" };
    await moment();
  }
}

/** Connections, each with a call, half of which are dropped with another in flight. */
async function connections(path: string, count: number): Promise<void> {
  await times(count, async (index) => {
    const client = await connect({ path });
    const service = client.service(TestService);
    await service.nothing({});
    const waiting = index % 2 === 0 ? undefined : service.sleep({ milliseconds: 60_000n });
    client.close();
    await waiting?.catch(() => {});
    await client.finished;
  });
}

async function idle(server: Server, connections: number): Promise<void> {
  await until(() =>
    server.stats().callsInFlight === 0 && server.stats().connections <= connections
  );
}

/** How much to do. */
export interface Work {
  calls: number;
  streams: number;
  connections: number;
}

/**
 * Does the work, and prints the figures.
 *
 * @returns What is left that should not be.
 */
export async function endure(work: Work): Promise<string[]> {
  const found: string[] = [];
  const first = await measure();
  const compare = (name: string, seconds: number, before: Figures, after: Figures) => {
    const rate = seconds === 0 ? "" : ` in ${seconds.toFixed(1)} s`;
    console.log(`${name}${rate}\n  before: ${show(before)}\n  after:  ${show(after)}`);
    found.push(...leaks(before, after).map((leak) => `${name}: ${leak}`));
  };
  {
    using socket = new SocketFolder();
    const { path } = socket;
    await using server = serve({ path }, (router) => router.service(TestService, testHandlers));
    await using client = await connect({ path });
    const tasks: [string, number, (count: number) => Promise<void>][] = [
      ["unary calls", work.calls, (count) => unary(client, count)],
      ["streams", work.streams, (count) => streams(client, count)],
      ["connections", work.connections, (count) => connections(path, count)],
    ];
    for (const [name, count, run] of tasks) {
      await run(Math.ceil(count / 10)); // code is compiled, pools fill
      await idle(server, 1);
      const before = await measure();
      const started = performance.now();
      await run(count);
      const seconds = (performance.now() - started) / 1_000;
      await idle(server, 1);
      const rate = Math.round(count / seconds);
      compare(`${count} ${name}, ${rate}/s`, seconds, before, await measure());
    }
  }
  const last = await measure();
  // Code and caches stay, and are measured above; what is open must not.
  const { descriptors, resources, timers } = last;
  compare("all closed", 0, { ...last, ...pick(first) }, {
    ...last,
    descriptors,
    resources,
    timers,
  });
  return found;
}

function pick({ descriptors, resources, timers }: Figures): Partial<Figures> {
  return { descriptors, resources, timers };
}

/** Ends a process that something keeps alive although all of it is closed. */
export function mustEnd(): void {
  const timer = setTimeout(() => {
    console.log("FAILED | something keeps the process alive");
    Deno.exit(1);
  }, 5_000);
  Deno.unrefTimer(timer as unknown as number);
}

if (import.meta.main) {
  watchTimers();
  const found = await endure({
    calls: numberOption("calls", 1_000_000),
    streams: numberOption("streams", 100_000),
    connections: numberOption("connections", 10_000),
  });
  console.log(found.length === 0 ? "ok | nothing is left" : `FAILED | ${found.join("; ")}`);
  Deno.exitCode = found.length === 0 ? 0 : 1;
  mustEnd();
}
