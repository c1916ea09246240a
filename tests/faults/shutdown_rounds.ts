/** Graceful shutdowns of a server whose clients, in processes of their own, call all the time. */

import { serve } from "@ttrpc/ttrpc/core";
import { SocketFolder } from "../fixture.ts";
import { Bytes, pass } from "../everywhere.ts";
import { Child } from "./child.ts";
import type { Outcome, Task } from "./shutdown_client.ts";
import { turn } from "../wait.ts";

/** What is to be tried. */
export interface Rounds {
  transport: "unix" | "tcp";
  /** The size of messages in bytes. */
  size: number;
  /** How many calls each process has in flight. */
  callers: number;
  /** Whether all calls are unary; they are of all kinds otherwise. */
  unary: boolean;
  /** How many servers are shut down. */
  rounds: number;
}

/** What has come of it. */
export interface Result {
  /** Calls that the server counted as answered. */
  served: number;
  /** Calls that were answered at the clients. */
  answered: number;
  /** Calls that ended with UNAVAILABLE. */
  refused: number;
  /** In how many rounds a client did not get what the server counted. */
  lossy: number;
  /** What the calls said that were not answered in these rounds. */
  refusals: Set<string>;
  /** What should not have happened. */
  wrong: string[];
  /** How long a shutdown took at most, in milliseconds. */
  slowestMs: number;
}

/** Handlers that send back what they get, a message for each or two; some take their time. */
function handlers(called: () => number) {
  return {
    one: (bytes: Uint8Array) => called() % 2 === 0 ? bytes : turn().then(() => bytes),
    down: (bytes: Uint8Array) => {
      called();
      return [bytes, bytes];
    },
    up: async (requests: AsyncIterable<Uint8Array>) => {
      called();
      let last = new Uint8Array(0);
      for await (const message of requests) last = message as Uint8Array<ArrayBuffer>;
      return last;
    },
    both: (requests: AsyncIterable<Uint8Array>) => {
      called();
      return requests;
    },
  };
}

/** Shuts a server down in the middle of calls, and compares what both sides have counted. */
async function round(clients: readonly Child[], rounds: Rounds, at: number, result: Result) {
  using socket = new SocketFolder();
  const { transport, size, callers, unary } = rounds;
  const inFlight = clients.length * callers;
  const busy = Promise.withResolvers<void>();
  let calls = 0;
  let enough = Infinity;
  const called = () => {
    if (++calls >= enough) busy.resolve();
    return calls;
  };
  const server = serve({
    ...transport === "unix" ? { path: socket.path } : { port: 0 },
    interceptors: at % 4 === 3 ? [pass] : [],
    onError: (error) => void result.wrong.push(`onError: ${error}`),
  }, (router) => router.service(Bytes, handlers(called)));
  await server.listening;
  const { addr } = server;
  const address = addr?.transport === "tcp" ? `tcp://127.0.0.1:${addr.port}` : socket.path;
  const task: Task = { address, size, callers, unary };
  for (const client of clients) {
    await client.tell(JSON.stringify(task));
    await client.expect(/^connected$/);
  }
  // Each server is shut down after another number of calls.
  enough = calls + inFlight + at * 37 % (2 * inFlight + 1);
  await busy.promise;
  if (at % 3 === 2) await turn();
  const start = performance.now();
  await server.shutdown({ timeoutMs: 30_000 });
  result.slowestMs = Math.max(result.slowestMs, performance.now() - start);

  const { callsStarted, callsFailed } = server.stats();
  const served = Object.values(callsFailed).reduce((sum, count) => sum - count, callsStarted);
  const refusals: string[] = [];
  let answered = 0;
  for (const client of clients) {
    const line = await client.expect(/^outcome /);
    const outcome: Outcome = JSON.parse(line.slice("outcome ".length));
    answered += outcome.answered;
    result.refused += outcome.refused;
    result.wrong.push(...outcome.wrong);
    refusals.push(...outcome.refusals);
  }
  result.served += served;
  result.answered += answered;
  if (served === answered) return;
  result.lossy++;
  for (const refusal of refusals) result.refusals.add(refusal);
}

/** Makes all rounds. */
export async function shutdownRounds(clients: readonly Child[], rounds: Rounds): Promise<Result> {
  const result: Result = {
    served: 0,
    answered: 0,
    refused: 0,
    lossy: 0,
    refusals: new Set(),
    wrong: [],
    slowestMs: 0,
  };
  for (let at = 0; at < rounds.rounds; at++) await round(clients, rounds, at, result);
  return result;
}

/** Starts the processes of the clients. */
export function startClients(count: number): Promise<Child[]> {
  return Promise.all(Array.from({ length: count }, () => Child.start("shutdown_client.ts", [])));
}

/** All that is to be tried, so many times each. */
export function allRounds(rounds: number): Rounds[] {
  const all: Rounds[] = [];
  for (const transport of ["unix", "tcp"] as const) {
    for (const [size, callers] of [[100, 32], [20_000, 32], [3_500_000, 3]] as const) {
      for (const unary of [true, false]) all.push({ transport, size, callers, unary, rounds });
    }
  }
  return all;
}
