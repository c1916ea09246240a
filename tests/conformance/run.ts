/** Runs cases against a server or a client, and collects what comes of them. */

import { type Answer, type ClientUnderTest, instruction } from "./client.ts";
import { describeOutcome, matchesOutcome } from "./match.ts";
import { type Connect, cuts, Mismatch, Script } from "./steps.ts";
import type { Case, Level } from "./vector.ts";
import { parseAddress } from "./wire.ts";

/** What came of a case. */
export interface Result {
  id: string;
  title: string;
  role: Case["role"];
  level: Level;
  tags: string[];
  rule: string;
  source: string;
  passed: boolean;
  milliseconds: number;
  /** If it has failed. */
  expected?: string;
  received?: string;
}

/** How long a case may take, in milliseconds. */
export const DEADLINE_MS = 5_000;

/** How many cases run against a server at once. */
const AT_ONCE = 8;

/** Checks a server. Each case has a connection of its own. */
export async function runAgainstServer(
  cases: readonly Case[],
  connect: Connect,
  deadlineMs: number = DEADLINE_MS,
): Promise<Result[]> {
  const results = new Map<Case, Result>();
  const alone = (each: Case) => each.tags.includes("hostile") || each.tags.includes("drain");
  const queue = cases.filter((each) => !alone(each));
  const work = async () => {
    for (let each = queue.shift(); each; each = queue.shift()) {
      results.set(each, await runServerCase(each, connect, deadlineMs));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  for (const each of cases.filter(alone)) {
    results.set(each, await runServerCase(each, connect, deadlineMs));
  }
  return cases.map((each) => results.get(each)!);
}

function runServerCase(each: Case, connect: Connect, deadlineMs: number): Promise<Result> {
  return measured(each, deadlineMs, async (until) => {
    const ways = cuts(each.steps);
    for (let cut = Math.min(1, ways); cut <= ways; cut++) {
      await using script = new Script(connect, "server", until);
      await told(cut, () => script.run(each.steps, cut));
    }
  });
}

/** Checks a client, which connects to this side. One case after the other. */
export async function runAgainstClient(
  cases: readonly Case[],
  client: ClientUnderTest,
  address: string,
  deadlineMs: number = DEADLINE_MS,
): Promise<Result[]> {
  const options = parseAddress(address);
  using listener = "path" in options
    ? Deno.listen({ transport: "unix", path: options.path })
    : Deno.listen({ hostname: options.hostname ?? "127.0.0.1", port: options.port });
  const door = new Door(listener);
  const results: Result[] = [];
  for (const each of cases) {
    results.push(
      await measured(each, deadlineMs, async (until) => {
        const ways = cuts(each.steps);
        for (let cut = Math.min(1, ways); cut <= ways; cut++) {
          await runClientCase(each, client, door, address, cut, until);
        }
      }),
    );
  }
  listener.close();
  await door.closed;
  return results;
}

/** Connections as they come. One that comes after its case is over must not be the next one's. */
class Door {
  readonly closed: Promise<void>;
  #waiting: PromiseWithResolvers<Deno.Conn> | undefined;

  constructor(listener: Deno.Listener) {
    this.closed = this.#accept(listener);
  }

  async #accept(listener: Deno.Listener): Promise<void> {
    try {
      for await (const conn of listener) {
        if (this.#waiting) this.#waiting.resolve(conn);
        else conn.close();
        this.#waiting = undefined;
      }
    } catch {
      // The listener is closed.
    }
  }

  async next(until: number): Promise<Deno.Conn> {
    const waiting = this.#waiting = Promise.withResolvers<Deno.Conn>();
    const timer = setTimeout(() => this.giveUp(), Math.max(1, until - performance.now()));
    try {
      return await waiting.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  giveUp(): void {
    this.#waiting?.reject(new Mismatch("a connection", "none in time"));
    this.#waiting = undefined;
  }
}

async function runClientCase(
  each: Case,
  client: ClientUnderTest,
  door: Door,
  address: string,
  cut: number,
  until: number,
): Promise<void> {
  // The steps end first, so that the client still has time for its answer.
  await using script = new Script((until) => door.next(until), "client", until - 100);
  const answer = heard(client.run(instruction(each, address), until));
  const steps = told(cut, () => script.run(each.steps, cut));
  try {
    // A client that is lost ends the case; one that answers early may still have to send.
    await Promise.race([steps, answer.then(() => steps)]);
  } catch (error) {
    door.giveUp();
    await script[Symbol.asyncDispose]();
    await Promise.allSettled([steps, answer]);
    throw error;
  }
  checkOutcomes(each, await answer);
}

async function heard(answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer;
  } catch (error) {
    throw new Mismatch("an answer of the client", (error as Error).message);
  }
}

function checkOutcomes({ outcomes }: Case, answer: Answer): void {
  outcomes.forEach((expected, i) => {
    const outcome = answer.outcomes[i];
    if (outcome && matchesOutcome(outcome, expected)) return;
    throw new Mismatch(
      `call ${i + 1} to end with ${JSON.stringify(expected)}`,
      outcome ? describeOutcome(outcome) : "no outcome",
    );
  });
}

/** Adds to a failure where the bytes were cut. */
async function told(cut: number, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof Mismatch) || cut === 0) throw error;
    throw new Mismatch(`${error.expected} (bytes cut after ${cut})`, error.received);
  }
}

async function measured(
  each: Case,
  deadlineMs: number,
  run: (until: number) => Promise<void>,
): Promise<Result> {
  const { id, title, role, level, tags, rule, source } = each;
  const start = performance.now();
  const result = { id, title, role, level, tags, rule, source };
  const milliseconds = () => Math.round(performance.now() - start);
  try {
    await run(start + deadlineMs);
    return { ...result, passed: true, milliseconds: milliseconds() };
  } catch (error) {
    if (error instanceof TypeError) throw error; // a mistake in a vector, or of ours
    const { expected, received } = error instanceof Mismatch
      ? error
      : { expected: "a connection", received: String(error) };
    return { ...result, passed: false, milliseconds: milliseconds(), expected, received };
  }
}
