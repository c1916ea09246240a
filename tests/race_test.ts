// A thousand shuffles of what can happen to calls at the same time: messages, half-closes, aborts,
// deadlines, handlers that leave early, and the loss of the connection. Whatever the order, each
// call has one outcome, and nothing is left of it.

import {
  type ByteConnection,
  type Client,
  connect,
  createConnectionPair,
  RpcError,
  serve,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, ok } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { testHandlers } from "./fixture.ts";

const SEEDS = 1_000;

/** Random numbers that come again for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = ReturnType<typeof random>;

/** Lets other things happen: none, some turns of the microtask queue, or of the event loop. */
async function turn(pick: Random): Promise<void> {
  const kind = pick(4);
  if (kind === 0) return;
  if (kind === 3) await new Promise((resolve) => setTimeout(resolve, 0));
  for (let i = pick(12); i > 0; i--) await undefined;
}

/** A connection that delivers in pieces, and late. */
function shuffled(conn: ByteConnection, pick: Random): ByteConnection {
  return {
    read: async (buffer) => {
      await turn(pick);
      return await conn.read(buffer.subarray(0, 1 + pick(buffer.length)));
    },
    write: async (bytes) => {
      await turn(pick);
      return await conn.write(bytes.subarray(0, 1 + pick(bytes.length)));
    },
    close: () => conn.close(),
  };
}

/** Handlers that do what their requests make of them, or leave early. */
function handlers(pick: Random): typeof testHandlers {
  const maybeFail = () => {
    if (pick(8) === 0) throw new RpcError(Code.ABORTED, "the handler had enough");
  };
  return {
    ...testHandlers,
    echo: async ({ text }) => {
      await turn(pick);
      maybeFail();
      return { text };
    },
    async *count({ count }) {
      for (let value = 0; value < count; value++) {
        await turn(pick);
        maybeFail();
        yield { value: BigInt(value) };
      }
    },
    sum: async (requests) => {
      let value = 0n;
      for await (const request of requests) {
        value += request.value;
        await turn(pick);
        maybeFail();
        if (pick(10) === 0) break;
      }
      return { value };
    },
    async *chat(requests) {
      for await (const { text } of requests) {
        maybeFail();
        yield { text };
        if (pick(10) === 0) return;
      }
    },
  };
}

const EXPECTED = [
  Code.ABORTED,
  Code.CANCELLED,
  Code.DEADLINE_EXCEEDED,
  Code.UNAVAILABLE,
  Code.UNKNOWN,
];

/** Makes one call of a random kind, with random trouble, and tells how it ended. */
async function call(client: Client, pick: Random): Promise<string> {
  const service = client.service(TestService);
  const controller = new AbortController();
  const options = {
    ...(pick(3) === 0 ? { signal: controller.signal } : {}),
    ...(pick(4) === 0 ? { timeoutMs: pick(4) } : {}),
  };
  const aborting = turn(pick).then(() => turn(pick)).then(() => controller.abort());
  let outcomes = 0;
  async function* messages() {
    for (let i = pick(6); i > 0; i--) {
      await turn(pick);
      if (pick(15) === 0) throw new Error("the source is broken");
      yield { text: "x", value: 1n };
    }
  }
  try {
    const kind = pick(4);
    if (kind === 0) equal((await service.echo({ text: "x" }, options)).text, "x");
    else if (kind === 1) await service.sum(messages(), options);
    else {
      const stream = kind === 2
        ? service.count({ count: pick(6) }, options)
        : service.chat(messages(), options);
      let last = -1n;
      for await (const message of stream) {
        if ("value" in message) equal(message.value, ++last);
        await turn(pick);
        if (pick(8) === 0) break;
      }
    }
    outcomes++;
    return "OK";
  } catch (error) {
    outcomes++;
    ok(error instanceof RpcError, String(error));
    ok(EXPECTED.includes(error.code), error.message);
    return Code[error.code]!;
  } finally {
    equal(outcomes, 1);
    await aborting;
  }
}

async function shuffle(seed: number): Promise<string[]> {
  const pick = random(seed);
  const [near, far] = createConnectionPair();
  const server = serve(
    { connection: shuffled(far, pick) },
    (router) => router.service(TestService, handlers(pick)),
  );
  const client = await connect(shuffled(near, pick));
  const calls = Array.from({ length: 6 }, () => call(client, pick));
  const trouble = pick(8);
  const troubled = turn(pick).then(() => turn(pick)).then(async () => {
    if (trouble === 0) near.close();
    if (trouble === 1) far.close();
    if (trouble === 2) server.close();
    if (trouble === 3) client.close();
    if (trouble === 4) await server.shutdown({ timeoutMs: 1 });
  });
  const outcomes = await Promise.all(calls);
  await troubled;

  const { callsStarted, callsInFlight, callsFailed, openStreams, queuedBytes } = client.stats();
  const failed = Object.values(callsFailed).reduce((sum, count) => sum + count, 0);
  deepEqual({ callsStarted, callsInFlight, openStreams, queuedBytes }, {
    callsStarted: 6,
    callsInFlight: 0,
    openStreams: 0,
    queuedBytes: 0,
  });
  // A stream that was left early counts as cancelled, though its caller saw no error.
  ok(failed >= outcomes.filter((outcome) => outcome !== "OK").length);

  await client[Symbol.asyncDispose]();
  await server.finished;
  const after = server.stats();
  deepEqual([after.callsInFlight, after.openStreams, after.queuedBytes], [0, 0, 0]);
  return outcomes;
}

Deno.test("a thousand shuffles leave one outcome a call, and nothing else", async () => {
  const seen = new Map<string, number>();
  for (let seed = 0; seed < SEEDS; seed++) {
    try {
      for (const outcome of await shuffle(seed)) seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
  // The shuffles are worth their name: every outcome has come up.
  for (const outcome of ["OK", ...EXPECTED.map((code) => Code[code]!)]) {
    ok((seen.get(outcome) ?? 0) > 10, `${outcome}: ${seen.get(outcome)}`);
  }
});
