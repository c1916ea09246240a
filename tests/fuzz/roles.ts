/** Both roles, whose peer sends frames as they come to its mind. */

import {
  type ByteConnection,
  connect,
  createConnectionPair,
  type Limits,
  RpcError,
  serve,
  type Stats,
} from "@ttrpc/ttrpc";
import { concat } from "@std/bytes/concat";
import fc from "fast-check";
import { deepEqual, equal, ok } from "node:assert/strict";
import { setImmediate } from "node:timers";
import { decodeResponse, encodeResponse } from "../../wire/envelope.ts";
import { encodeFrame, FrameDecoder, FrameType } from "../../framing.ts";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { Metadata } from "../../metadata.ts";
import { testHandlers } from "../fixture.ts";
import { requestData } from "../raw_peer.ts";
import { mutated, noise, randomOf, type Target } from "./target.ts";

const limits: Partial<Limits> = {
  concurrentCalls: 4,
  messageBytes: 1_000,
  connectionQueueBytes: 1_000,
  streamQueueBytes: 300,
  stallTimeoutMs: 5,
};

const message = fc.oneof(
  fc.constantFrom([], [8, 3], [18, 2, 104, 105], [255]).map((bytes) => Uint8Array.from(bytes)),
  fc.uint8Array({ maxLength: 20 }),
  fc.constant(new Uint8Array(800)),
);
const request = fc.record({
  service: fc.constantFrom(TestService.typeName, TestService.typeName, TestService.typeName, "x"),
  method: fc.constantFrom(
    "Echo",
    "Fail",
    "Sleep",
    "Nothing",
    "Produce",
    "Count",
    "Sum",
    "Chat",
    "x",
  ),
  payload: message,
  timeoutNano: fc.constantFrom(0n, 0n, 0n, 1n, -1n, 1_000_000n, 2n ** 63n - 1n, -(2n ** 63n)),
  metadata: fc.constantFrom(undefined, new Metadata({ "x-key": ["a", "b"] })),
}).map(requestData);
const response = fc.record({
  status: fc.option(
    fc.record({
      code: fc.constantFrom(0, 2, 5, 99, -1),
      message: fc.constantFrom("", "why"),
      details: fc.constantFrom([], [{ typeUrl: "a/b", value: Uint8Array.of(1) }]),
    }),
    { nil: undefined },
  ),
  payload: message,
}).map(encodeResponse);

function sequence(ids: number[], data: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const frame = fc.record({
    streamId: fc.oneof(fc.constantFrom(...ids), fc.constantFrom(0, 2, 2 ** 32 - 1)),
    type: fc.oneof(fc.integer({ min: 1, max: 3 }), fc.nat(5), fc.constant(FrameType.Cancel)),
    flags: fc.oneof(fc.constantFrom(0, 1, 5, 6), fc.nat(255)),
    data: fc.oneof(data, message, fc.constant(new Uint8Array(1_200))),
  });
  return fc.array(frame, { maxLength: 12 }).map((frames) => concat(frames.map(encodeFrame)));
}

/** Lets what is due happen; now and then also what is due in a few milliseconds. */
function turn(random: (below: number) => number): Promise<void> {
  return new Promise((resolve) => {
    if (random(30) === 0) setTimeout(resolve, random(8));
    else setImmediate(resolve);
  });
}

/** Sends the input in pieces, lets things happen between them, and closes. */
async function play(conn: ByteConnection, input: Uint8Array, look: () => void): Promise<void> {
  const random = randomOf(input);
  const piece = [3, 40, 5_000][random(3)]!;
  const turns = Math.max(6, Math.floor(input.length / piece / 10)); // a dozen, however long it is
  try {
    for (let rest = input; rest.length > 0;) {
      rest = rest.subarray(await conn.write(rest.subarray(0, 1 + random(piece))));
      if (random(turns) === 0) await turn(random);
      look();
    }
    for (let i = random(3); i > 0; i--) await turn(random);
    look();
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // the other end has had enough
  } finally {
    conn.close();
  }
}

/** The only reasons for which a connection may end: not a frame, whatever is in it. */
const ENDS =
  /protocol error: a frame starts|closed it inside a frame|the server closed it|the peer has closed/;

function checkEnd(error: unknown): void {
  ok(error instanceof RpcError && ENDS.test(error.message), String(error));
}

/** What waits is bounded by what has come, and calls that have ended are forgotten. */
function checkStats({ queuedBytes, callsInFlight, openStreams, bytesReceived }: Stats): void {
  ok(queuedBytes <= 8 * bytesReceived, `${queuedBytes} bytes wait of ${bytesReceived}`);
  ok(openStreams <= callsInFlight, `${openStreams} streams of ${callsInFlight} calls`);
}

/** Reads to the end, and checks that it is ttrpc. */
async function check(conn: ByteConnection, types: number[]): Promise<void> {
  const decoder = new FrameDecoder();
  for (;;) {
    const length = await conn.read(decoder.space()).catch(() => null);
    if (length === null) return;
    decoder.push(length, {
      frame: (_streamId, type, _flags, data) => {
        ok(types.includes(type), `it sent a frame of type ${type}`);
        if (type === FrameType.Response) decodeResponse(data);
      },
      oversized: () => {
        throw new Error("it sent a frame that is too long");
      },
    });
  }
}

export const servers: Target = {
  name: "server",
  inputs: fc.oneof(
    { weight: 5, arbitrary: mutated(sequence([1, 3, 5, 7, 9], request)) },
    { weight: 5, arbitrary: sequence([1, 3, 5, 7, 9], request) },
    { weight: 1, arbitrary: noise },
  ),
  async run(input) {
    const [near, far] = createConnectionPair();
    const errors: unknown[] = [];
    const server = serve(
      {
        connection: far,
        limits,
        // What handlers throw has a method, and is theirs.
        onError: (error, method) => void (method ?? errors.push(error)),
      },
      (router) =>
        router.service(TestService, {
          ...testHandlers,
          fail: ({ code, message, details }) => {
            throw new RpcError(code || 2, message, { details });
          },
          produce: ({ length }) => ({ payload: new Uint8Array(length % 2_000) }),
          count: ({ count }) => testHandlers.count({ count: count % 5 } as never, {} as never),
        }),
    );
    const checked = check(near, [FrameType.Response, FrameType.Data, FrameType.Pong]);
    const played = play(near, input, () => checkStats(server.stats()));
    await Promise.all([checked, played, server.finished]);
    errors.forEach(checkEnd);
    const { callsInFlight, openStreams, queuedBytes, connections } = server.stats();
    deepEqual([callsInFlight, openStreams, queuedBytes, connections], [0, 0, 0, 0]);
  },
};

export const clients: Target = {
  name: "client",
  inputs: fc.oneof(
    { weight: 5, arbitrary: mutated(sequence([1, 3, 5, 7, 9], response)) },
    { weight: 5, arbitrary: sequence([1, 3, 5, 7, 9], response) },
    { weight: 1, arbitrary: noise },
  ),
  async run(input) {
    const [near, far] = createConnectionPair();
    const closed: unknown[] = [];
    const client = await connect(near, { limits, onClose: (error) => void closed.push(error) });
    const service = client.service(TestService);
    const unread = service.chat(new ReadableStream());
    const calls = [
      service.echo({ text: "x" }),
      Array.fromAsync(service.count({ count: 3 })),
      service.sum(new ReadableStream()),
      Array.fromAsync(service.chat([{ text: "a" }, { text: "b" }])),
    ];
    const checked = check(far, [
      FrameType.Request,
      FrameType.Data,
      FrameType.Cancel,
      FrameType.Pong,
    ]);
    const played = play(far, input, () => checkStats(client.stats()));
    const outcomes = await Promise.allSettled<unknown>(calls);
    for (const outcome of outcomes) {
      if (outcome.status === "fulfilled") continue;
      ok(outcome.reason instanceof RpcError, String(outcome.reason));
    }
    await Promise.all([checked, played, client.finished]);
    await unread.return();
    equal(closed.length, 1);
    if (closed[0] !== undefined) checkEnd(closed[0]);
    const { callsInFlight, openStreams, queuedBytes, connections } = client.stats();
    deepEqual([callsInFlight, openStreams, queuedBytes, connections], [0, 0, 0, 0]);
  },
};
