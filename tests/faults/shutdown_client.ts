/**
 * Callers that call until their server ends, again and again: for each line on stdin, which says
 * where the server is and what to call, it says that it is connected, and how the calls have ended.
 */

import { type Client, Code, connect, RpcError } from "@ttrpc/ttrpc/core";
import { Bytes } from "../everywhere.ts";

/** A line on stdin. */
export interface Task {
  address: string;
  /** The size of messages in bytes. */
  size: number;
  /** How many calls are made at a time. */
  callers: number;
  /** Whether all calls are unary. */
  unary: boolean;
}

/** A line on stdout. */
export interface Outcome {
  answered: number;
  /** Calls that ended with UNAVAILABLE. */
  refused: number;
  /** What they said. */
  refusals: string[];
  /** What else has happened, and should not have. */
  wrong: string[];
}

/** One call; each is of another kind, if that is wanted. */
async function call(client: Client, { size, unary }: Task, count: number): Promise<void> {
  const service = client.service(Bytes);
  const payload = new Uint8Array(size).fill(count);
  const check = (bytes: Uint8Array) => {
    if (bytes.length !== size || bytes.at(-1) !== count % 256) throw new Error("a wrong answer");
  };
  const kind = unary ? 0 : count % 4;
  if (kind === 0) return check(await service.one(payload));
  if (kind === 1) return check(await service.up([payload, payload]));
  let messages = 0;
  for await (
    const message of kind === 2 ? service.down(payload) : service.both([payload, payload])
  ) {
    check(message);
    messages++;
  }
  if (messages !== 2) throw new Error(`${messages} messages`);
}

/** Calls until a call fails. */
async function caller(client: Client, task: Task, first: number, outcome: Outcome): Promise<void> {
  for (let count = first;; count++) {
    try {
      await call(client, task, count);
      outcome.answered++;
    } catch (error) {
      if (error instanceof RpcError && error.code === Code.UNAVAILABLE) {
        outcome.refused++;
        outcome.refusals.push(error.rawMessage);
      } else outcome.wrong.push(String(error));
      return;
    }
  }
}

if (import.meta.main) {
  console.log("ready");
  let rest = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const task: Task = JSON.parse(line);
      const outcome: Outcome = { answered: 0, refused: 0, refusals: [], wrong: [] };
      await using client = await connect(task.address);
      console.log("connected");
      const callers = Array.from(
        { length: task.callers },
        (_, at) => caller(client, task, at, outcome),
      );
      await Promise.all(callers);
      console.log(`outcome ${JSON.stringify(outcome)}`);
    }
  }
}
