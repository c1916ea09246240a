// The same calls between us and every other implementation, each side in both roles. What a peer
// does in a way of its own stands in its row of the matrix; defects have tests of their own.

import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack, DurationSchema } from "@bufbuild/protobuf/wkt";
import { concat } from "@std/bytes/concat";
import {
  type ByteConnection,
  type Client,
  Code,
  connect,
  RpcError,
  serve,
  type ServiceClient,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import {
  EchoRequestSchema,
  RequestSchema,
  ResponseSchema,
  TestService,
} from "../../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder, testHandlers } from "../fixture.ts";
import { go, newGo, oldGo, type Peer, rama, rust, rustSync, trapeze } from "./peer.ts";
import { alive, MESSAGE_BYTES, OurServer } from "./services.ts";

const TOO_LONG = `message length ${
  MESSAGE_BYTES + 1
} exceed maximum message size of ${MESSAGE_BYTES}`;
const A_MINUTE = 60_000;
const MANY = 10_000;

/** The code of an error, and its text. */
type Failure = [Code, string | RegExp];

/** A case of a client, and who sends the messages: it sends them in, or we send them out. */
type Lengthy = [name: string, direction: "in" | "out"];

interface Row {
  peer: Peer;
  /** Whether it has more than unary calls. */
  streams: boolean;
  /** Bytes that its server adds to each reply: an OK status, instead of none. */
  okStatus: number;
  unknownService: Failure;
  unknownMethod: Failure;
  /** To a payload that is not the method's message, if it answers. */
  malformed?: Failure;
  /** What becomes of a handler's error that has no status. */
  plainError: Failure;
  /** To a request over 4 MiB. */
  longRequest: Failure;
  /** Instead of a reply over 4 MiB. */
  longReply: Failure;
  /** The cases of its client; those of Go 1.2.8's stand in go_test.ts and go_streaming_test.ts. */
  cases: string[];
  /** Those of its client's cases in which 10,000 messages and the end come in one piece. */
  lengthy: Lengthy[];
}

const goAnswers = {
  unknownService: [Code.UNIMPLEMENTED, "service no.such.Service"],
  unknownMethod: [Code.UNIMPLEMENTED, "method Missing"],
  malformed: [Code.INTERNAL, /^ttrpc: error unmarshalling payload: /],
  plainError: [Code.UNKNOWN, "cannot sleep for -1 ms"],
  longRequest: [Code.RESOURCE_EXHAUSTED, TOO_LONG],
} satisfies Partial<Row>;

const unaryCases = [
  "echo",
  "metadata",
  "plain-error",
  "deadline-told",
  "deadline-passes",
  "request-limit",
  "reply-limit",
  "empty",
  "unknown",
  "malformed-payload",
  "concurrent",
  "give-up",
];

const streamCases = [
  "count",
  "sum",
  "chat",
  "chat-metadata",
  "chat-limit",
  "stream-fails",
  "stream-give-up",
  "stream-unknown",
  "streams-concurrent",
];

const lengthyCases: Lengthy[] = [["count-many", "out"], ["sum-many", "in"], ["chat-many", "in"]];

const ROWS: Row[] = [
  {
    peer: go,
    streams: true,
    okStatus: 0,
    ...goAnswers,
    longReply: [Code.UNAVAILABLE, /./], // it hangs up
    cases: [],
    lengthy: [],
  },
  {
    peer: newGo,
    streams: true,
    okStatus: 0,
    ...goAnswers,
    longReply: [Code.UNAVAILABLE, /./], // it hangs up
    cases: [
      ...unaryCases,
      "greeter",
      "error-with-details",
      "deadline-by-server",
      "deadline-negative",
      "count",
      "sum",
      "chat",
      "chat-with-request",
      "chat-limit",
      "stream-fails",
      "stream-cancel",
      "stream-unknown",
      "streams-concurrent",
      "streaming-echo",
      "streaming-echo-stream",
      "streaming-sum-stream",
      "streaming-divide-stream",
      "streaming-echo-null",
      "streaming-echo-null-stream",
      "streaming-empty-payload-stream",
    ],
    lengthy: [],
  },
  {
    peer: oldGo,
    streams: false,
    okStatus: 2,
    ...goAnswers,
    longReply: [Code.RESOURCE_EXHAUSTED, TOO_LONG], // said by our client: it has no limit
    cases: [...unaryCases, "odd-code", "deadline-by-server"],
    lengthy: [],
  },
  {
    peer: rust,
    streams: true,
    okStatus: 2,
    unknownService: [Code.INVALID_ARGUMENT, "no.such.Service service does not exist"],
    unknownMethod: [Code.UNIMPLEMENTED, "Missing method"],
    malformed: [Code.UNKNOWN, /^ttrpc err: /],
    plainError: [Code.UNKNOWN, 'Others("cannot sleep for -1 ms")'],
    longRequest: [Code.INVALID_ARGUMENT, TOO_LONG],
    longReply: [Code.INVALID_ARGUMENT, /^message length \d+ exceed maximum message size/],
    cases: [...unaryCases, ...streamCases, "error-with-details", "deadline-by-server"],
    lengthy: lengthyCases,
  },
  {
    peer: rustSync,
    streams: false,
    okStatus: 2,
    unknownService: [Code.INVALID_ARGUMENT, "/no.such.Service/Echo does not exist"],
    unknownMethod: [Code.INVALID_ARGUMENT, "/ttrpc.test.v1.TestService/Missing does not exist"],
    plainError: [Code.UNKNOWN, 'Others("cannot sleep for -1 ms")'],
    longRequest: [Code.INVALID_ARGUMENT, TOO_LONG],
    longReply: [Code.INVALID_ARGUMENT, /^message length \d+ exceed maximum message size/],
    // It gives up at a deadline only.
    cases: [...unaryCases.filter((name) => name !== "give-up"), "error-with-details"],
    lengthy: [],
  },
  {
    peer: trapeze,
    streams: true,
    okStatus: 0,
    unknownService: [Code.NOT_FOUND, "/no.such.Service/Echo is not supported"],
    unknownMethod: [Code.NOT_FOUND, "/ttrpc.test.v1.TestService/Missing is not supported"],
    malformed: [Code.INVALID_ARGUMENT, /^Error decoding message: /],
    plainError: [Code.UNKNOWN, "cannot sleep for -1 ms"],
    longRequest: [Code.INVALID_ARGUMENT, /^Invalid message type Request on stream/],
    longReply: [Code.INTERNAL, /^Error sending message: .*Oversized payload/],
    cases: [
      ...unaryCases,
      ...streamCases,
      "error-with-details",
      "odd-code",
      "stream-deadline",
    ],
    lengthy: lengthyCases,
  },
  {
    peer: rama,
    streams: true,
    okStatus: 0,
    unknownService: [Code.UNIMPLEMENTED, "/no.such.Service/Echo is not supported"],
    unknownMethod: [Code.UNIMPLEMENTED, "/ttrpc.test.v1.TestService/Missing is not supported"],
    malformed: [Code.INVALID_ARGUMENT, /^Error decoding message: /],
    plainError: [Code.UNKNOWN, "cannot sleep for -1 ms"],
    longRequest: [Code.RESOURCE_EXHAUSTED, `Error decoding message: ${TOO_LONG}`],
    longReply: [Code.INTERNAL, /^Error sending message: .*Oversized payload/],
    cases: [
      ...unaryCases,
      ...streamCases,
      "error-with-details",
      "odd-code",
      "stream-deadline",
    ],
    lengthy: lengthyCases,
  },
];

type Service = ServiceClient<typeof TestService>;

/** Tests our client on the peer's server. */
function onServer(
  { peer }: Row,
  name: string,
  run: (service: Service, client: Client) => Promise<void>,
): void {
  peer.test(`our client ${name}`, async () => {
    await using server = await peer.serve();
    await using client = await connect({ path: server.address });
    await run(client.service(TestService), client);
    await alive(client);
  });
}

function failure([code, text]: Failure): (error: RpcError) => true {
  return (error) => {
    equal(error.code, code, error.message);
    if (typeof text === "string") equal(error.rawMessage, text);
    else match(error.rawMessage, text);
    return true;
  };
}

/** How long the payload in a message is that is as long as is allowed. */
function fit(encode: (payload: Uint8Array) => Uint8Array): number {
  const length = MESSAGE_BYTES - 100;
  return length + MESSAGE_BYTES - encode(new Uint8Array(length)).length;
}

function echoRequest(payload: Uint8Array): Uint8Array {
  return toBinary(EchoRequestSchema, create(EchoRequestSchema, { payload }));
}

const LONGEST_ECHO = fit((payload) =>
  toBinary(
    RequestSchema,
    create(RequestSchema, {
      service: TestService.typeName,
      method: "Echo",
      payload: echoRequest(payload),
    }),
  )
);
const LONGEST_PRODUCT = fit((payload) =>
  toBinary(ResponseSchema, create(ResponseSchema, { payload: echoRequest(payload) }))
);
const LONGEST_CHAT = fit(echoRequest);

for (const row of ROWS) {
  unaryTests(row);
  if (row.streams) {
    streamTests(row);
    lengthyTests(row);
  }
  clientTests(row);
}

function unaryTests(row: Row): void {
  onServer(row, "gets back what it sends", async ({ echo }) => {
    const payload = Uint8Array.of(0, 1, 127, 128, 255);
    const reply = await echo({ payload, text: "Grüße, 世界" });
    deepEqual(reply.payload, payload);
    equal(reply.text, "Grüße, 世界");
    deepEqual(reply.metadata, []);
  });

  onServer(row, "sends metadata, with repeated keys in order", async ({ echo }) => {
    const { metadata } = await echo({}, {
      metadata: [["tag", "b"], ["containerd-namespace-ttrpc", "k8s.io"], ["Tag", "a"], ["tag", ""]],
    });
    deepEqual(metadata.map(({ key, value }) => [key, value]), [
      ["containerd-namespace-ttrpc", "k8s.io"],
      ["tag", "b"],
      ["tag", "a"],
      ["tag", ""],
    ]);
  });

  onServer(row, "gets an error with its details", async ({ fail }) => {
    const duration = create(DurationSchema, { seconds: 3n, nanos: 5 });
    const details = [anyPack(DurationSchema, duration)];
    const call = fail({ code: Code.NOT_FOUND, message: "no such task: größer", details });
    await rejects(call, (error: RpcError) => {
      deepEqual(error.findDetails(DurationSchema), [duration]);
      return failure([Code.NOT_FOUND, "no such task: größer"])(error);
    });
  });

  onServer(row, "passes on a code that gRPC does not define", async ({ fail }) => {
    await rejects(fail({ code: 99, message: "odd" }), failure([99 as Code, "odd"]));
  });

  onServer(row, "gets an error that has no status", async ({ sleep }) => {
    await rejects(sleep({ milliseconds: -1n }), failure(row.plainError));
  });

  onServer(row, "tells its deadline", async ({ sleep }) => {
    equal((await sleep({})).deadlineMilliseconds, 0n);
    const { deadlineMilliseconds: left } = await sleep({}, { timeoutMs: A_MINUTE });
    ok(left > A_MINUTE / 2 && left <= A_MINUTE, `the handler was given ${left} ms`);
  });

  onServer(row, "ends a call at its deadline", async ({ sleep }) => {
    const call = sleep({ milliseconds: BigInt(A_MINUTE) }, { timeoutMs: 100 });
    await rejects(call, { code: Code.DEADLINE_EXCEEDED });
  });

  onServer(row, "sends a request of exactly 4 MiB, and none that is longer", async ({ echo }) => {
    const { payload } = await echo({
      payload: new Uint8Array(LONGEST_ECHO).fill(7),
    });
    equal(payload.length, LONGEST_ECHO);
    ok(payload.every((byte) => byte === 7));
    await rejects(
      echo({ payload: new Uint8Array(LONGEST_ECHO + 1) }),
      failure([Code.RESOURCE_EXHAUSTED, TOO_LONG]),
    );
  });

  row.peer.test("our client, with a higher limit, hears of the peer's", async () => {
    await using server = await row.peer.serve();
    await using client = await connect({ path: server.address }, {
      limits: { messageBytes: MESSAGE_BYTES + 1 },
    });
    const payload = new Uint8Array(LONGEST_ECHO + 1);
    await rejects(client.service(TestService).echo({ payload }), failure(row.longRequest));
    await alive(client);
  });

  onServer(row, "receives a reply of exactly 4 MiB", async ({ produce }) => {
    const length = LONGEST_PRODUCT - row.okStatus;
    equal((await produce({ length })).payload.length, length);
  });

  row.peer.test("our client hears that a reply would be over 4 MiB", async () => {
    await using server = await row.peer.serve();
    await using client = await connect({ path: server.address });
    const call = client.service(TestService).produce({ length: LONGEST_PRODUCT + 1 });
    await rejects(call, failure(row.longReply));
    if (row.longReply[0] === Code.UNAVAILABLE) await client.finished;
    else await alive(client);
  });

  onServer(row, "sends and gets empty messages", async ({ nothing, echo }, client) => {
    equal((await nothing({})).$typeName, "google.protobuf.Empty");
    const { payload, text } = await echo({});
    equal(payload.length, 0);
    equal(text, "");
    const none = new Uint8Array(0);
    deepEqual(await client.callRaw(TestService.typeName, "Nothing", none), none);
  });

  onServer(row, "hears of an unknown service or method", async (_, client) => {
    const none = new Uint8Array(0);
    await rejects(client.callRaw("no.such.Service", "Echo", none), failure(row.unknownService));
    await rejects(
      client.callRaw(TestService.typeName, "Missing", none),
      failure(row.unknownMethod),
    );
  });

  const { malformed } = row;
  // That one does not answer has a test in rust_sync_test.ts.
  if (malformed) {
    onServer(row, "hears that a payload is malformed", async (_, client) => {
      const payload = Uint8Array.of(0x0a, 0x7f); // 127 bytes are announced, none come
      const call = client.callRaw(TestService.typeName, "Echo", payload);
      await rejects(call, failure(malformed));
    });
  }

  onServer(row, "makes 1,000 calls at once", async ({ echo }) => {
    const texts = Array.from({ length: 1_000 }, (_, i) => i + ".".repeat(i));
    const echoes = await Promise.all(texts.map((text) => echo({ text })));
    deepEqual(echoes.map(({ text }) => text), texts);
  });

  row.peer.test("our client's calls end with UNAVAILABLE when the process is killed", async () => {
    await using server = await row.peer.serve();
    await using client = await connect({ path: server.address });
    const call = client.service(TestService).sleep({ milliseconds: BigInt(A_MINUTE) });
    const end = rejects(call, { code: Code.UNAVAILABLE });
    await alive(client);
    server.kill();
    await end;
    await client.finished;
  });

  onServer(row, "aborts a call, and the connection works on", async ({ sleep }, client) => {
    const controller = new AbortController();
    const call = sleep({ milliseconds: 100n }, { signal: controller.signal });
    await alive(client);
    controller.abort();
    await rejects(call, { code: Code.CANCELLED });
    // The aborted call is answered while this one waits.
    await sleep({ milliseconds: 200n });
  });
}

/** Requests that are sent when somebody says so, until the call is over. */
class Line<T> implements AsyncIterable<T> {
  readonly #requests = new TransformStream<T, T>(undefined, { highWaterMark: Infinity });
  readonly #writer = this.#requests.writable.getWriter();

  say(message: T): void {
    this.#writer.write(message).catch(() => {}); // the call is over
  }

  hangUp(): void {
    this.#writer.close().catch(() => {}); // the call is over
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return this.#requests.readable.values();
  }
}

const END = { done: true, value: undefined };

function streamTests(row: Row): void {
  onServer(row, "receives a stream", async ({ count }) => {
    for (const length of [0, 1, 1000]) {
      const values = await Array.fromAsync(count({ count: length }), ({ value }) => Number(value));
      deepEqual(values, Array.from({ length }, (_, i) => i));
    }
  });

  onServer(row, "sends a stream", async ({ sum }) => {
    for (const length of [0, 1, 1000]) {
      const { value } = await sum(Array.from({ length }, (_, i) => ({ value: BigInt(i) })));
      equal(Number(value), length * (length - 1) / 2);
    }
  });

  onServer(row, "talks line by line, and half-closes", async ({ chat }) => {
    const line = new Line<{ text: string }>();
    const replies = chat(line);
    for (let i = 0; i < 100; i++) {
      const text = i % 10 === 0 ? "" : `line ${i}`; // an empty message is one, too
      line.say({ text });
      equal((await replies.next()).value?.text, text);
    }
    line.hangUp();
    deepEqual(await replies.next(), END);
  });

  onServer(row, "sends empty messages first and last", async ({ sum, chat }) => {
    equal((await sum([{}, { value: 5n }, {}])).value, 5n);
    const texts = await Array.fromAsync(chat([{}, { text: "a" }, {}]), ({ text }) => text);
    deepEqual(texts, ["", "a", ""]);
  });

  onServer(row, "sends metadata with a stream", async ({ chat }) => {
    const [reply] = await Array.fromAsync(chat([{}], { metadata: { tag: ["b", "a"] } }));
    deepEqual(
      reply?.metadata.map(({ key, value }) => [key, value]),
      [["tag", "b"], ["tag", "a"]],
    );
  });

  onServer(row, "sends and receives stream messages of exactly 4 MiB", async ({ chat }) => {
    const [reply] = await Array.fromAsync(chat([{ payload: new Uint8Array(LONGEST_CHAT) }]));
    equal(reply?.payload.length, LONGEST_CHAT);
    const longer = { payload: new Uint8Array(LONGEST_CHAT + 1) };
    await rejects(Array.fromAsync(chat([longer])), { code: Code.RESOURCE_EXHAUSTED });
  });

  onServer(row, "gets an error after messages", async ({ chat }) => {
    const line = new Line<{ text: string }>();
    const replies = chat(line);
    line.say({ text: "before" });
    equal((await replies.next()).value?.text, "before");
    line.say({ text: "fail" });
    await rejects(replies.next(), failure([Code.FAILED_PRECONDITION, "asked to fail"]));
  });

  // A defect of the Rust server has a test in rust_test.ts.
  if (row.peer !== rust) {
    onServer(row, "gets messages and the error after them at once", async ({ chat }) => {
      const texts = Array.from({ length: 100 }, (_, i) => `${i}`);
      const received: string[] = [];
      const call = Array.fromAsync(
        chat([...texts, "fail"].map((text) => ({ text }))),
        ({ text }) => received.push(text),
      );
      await rejects(call, failure([Code.FAILED_PRECONDITION, "asked to fail"]));
      deepEqual(received, texts);
    });
  }

  onServer(row, "hears of unknown methods of every streaming kind", async (_, client) => {
    const { typeName } = TestService;
    const none = new Uint8Array(0);
    const unknown = failure(row.unknownMethod);
    await rejects(Array.fromAsync(client.streamRaw(typeName, "Missing", none)), unknown);
    await rejects(Array.fromAsync(client.streamRaw(typeName, "Missing", new Line())), unknown);
    await rejects(client.callRaw(typeName, "Missing", new Line()), unknown);
  });

  onServer(row, "ends a stream at its deadline", async ({ chat }) => {
    const replies = chat(new Line(), { timeoutMs: 100 });
    await rejects(replies.next(), { code: Code.DEADLINE_EXCEEDED });
  });

  onServer(row, "aborts a stream, and the connection works on", async ({ chat }) => {
    const line = new Line<{ text: string }>();
    const controller = new AbortController();
    const replies = chat(line, { signal: controller.signal });
    line.say({ text: "before" });
    equal((await replies.next()).value?.text, "before");
    controller.abort();
    await rejects(replies.next(), { code: Code.CANCELLED });
  });

  onServer(row, "leaves a stream early, and the connection works on", async ({ count }) => {
    const received: bigint[] = [];
    for await (const { value } of count({ count: MANY })) {
      received.push(value);
      if (received.length === 3) break;
    }
    deepEqual(received, [0n, 1n, 2n]);
  });

  onServer(row, "makes other calls while it does not read a stream", async ({ count }, client) => {
    const unread = count({ count: 1_000 });
    equal((await Array.fromAsync(count({ count: 500 }))).length, 500);
    for (let i = 0; i < 50; i++) await alive(client);
    equal((await Array.fromAsync(unread)).length, 1_000);
  });

  onServer(row, "keeps 20 streams apart", async ({ chat }) => {
    await Promise.all(Array.from({ length: 20 }, async (_, i) => {
      const line = new Line<{ text: string }>();
      const replies = chat(line);
      for (let round = 0; round < 10; round++) {
        const text = `chat ${i}, round ${round}`;
        line.say({ text });
        equal((await replies.next()).value?.text, text);
      }
      line.hangUp();
      deepEqual(await replies.next(), END);
    }));
  });
}

/**
 * A connection that holds back what goes in one direction until the first stream is half-closed,
 * and then lets all of it go in one piece.
 */
function inOnePiece(conn: Deno.Conn, direction: "in" | "out"): ByteConnection {
  let held = new Uint8Array(0);
  let holding = true;
  return {
    close: () => conn.close(),
    async read(buffer) {
      if (direction === "out") return await conn.read(buffer);
      const part = new Uint8Array(1 << 16);
      while (holding) {
        const length = await conn.read(part);
        held = concat([held, part.subarray(0, length ?? 0)]);
        holding = length !== null && !endsHalfClosed(held);
      }
      if (held.length === 0) return await conn.read(buffer);
      const length = Math.min(buffer.length, held.length);
      buffer.set(held.subarray(0, length));
      held = held.subarray(length);
      return length;
    },
    async write(bytes) {
      if (direction === "in" || !holding) return await conn.write(bytes);
      held = concat([held, bytes]);
      holding = !endsHalfClosed(held);
      while (!holding && held.length > 0) held = held.subarray(await conn.write(held));
      return bytes.length;
    },
  };
}

/** Whether the last frame is Data with the flags for closed and for no data. */
function endsHalfClosed(bytes: Uint8Array): boolean {
  const [a, b, c, d, , , , , type, flags] = bytes.subarray(-10);
  return a === 0 && b === 0 && c === 0 && d === 0 && type === 3 && flags === 5;
}

/** Streams of 10,000 messages, each with the half-close in the same piece as the last of them. */
function lengthyTests(row: Row): void {
  const { peer } = row;
  const numbers = Array.from({ length: MANY }, (_, i) => i);

  function onePiece(
    name: string,
    direction: "in" | "out",
    run: (service: Service) => Promise<void>,
  ): void {
    peer.test(`our client ${name} in one piece with the end`, async () => {
      await using server = await peer.serve();
      const conn = await Deno.connect({ transport: "unix", path: server.address });
      await using client = await connect(inOnePiece(conn, direction));
      await run(client.service(TestService));
      await alive(client);
    });
  }

  onePiece("sends 10,000 messages in order", "out", async ({ chat }) => {
    const texts = numbers.map((i) => `${i}`);
    const replies = await Array.fromAsync(
      chat(texts.map((text) => ({ text }))),
      ({ text }) => text,
    );
    deepEqual(replies, texts);
  });

  onePiece("sends 10,000 messages to add up", "out", async ({ sum }) => {
    const { value } = await sum(numbers.map((i) => ({ value: BigInt(i) })));
    equal(Number(value), MANY * (MANY - 1) / 2);
  });

  onePiece("receives 10,000 messages in order", "in", async ({ count }) => {
    const received = await Array.fromAsync(
      count({ count: MANY }),
      ({ value }) => Number(value),
    );
    deepEqual(received, numbers);
  });
}

/** Its client on our server. What is asserted stands in the peer's own code. */
function clientTests({ peer, cases, lengthy }: Row): void {
  for (const name of cases) {
    peer.test(`its client passes the case ${name}`, async () => {
      await using ours = new OurServer({
        async *chat(requests, context) {
          for await (const request of requests) {
            if (request.text === "fail") {
              throw new RpcError(Code.FAILED_PRECONDITION, "asked to fail");
            }
            yield await testHandlers.echo(request, context);
          }
        },
      });
      await peer.call(ours.path, name);
    });
  }
  for (const [name, direction] of lengthy) onePieceTest(peer, name, direction);
}

function onePieceTest(peer: Peer, name: string, direction: "in" | "out"): void {
  peer.test(`its client passes the case ${name}, in one piece with the end`, async () => {
    using socket = new SocketFolder();
    using listener = Deno.listen({ transport: "unix", path: socket.path });
    await using client = await peer.start(socket.path, name);
    const connection = inOnePiece(await listener.accept(), direction);
    const server = serve({ connection }, (router) => router.service(TestService, testHandlers));
    await client.passes();
    await server.finished;
  });
}
