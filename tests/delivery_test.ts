// What has arrived is delivered to callers, although a write has failed meanwhile: with a connection
// whose reads and writes the test decides on.

import {
  type ByteConnection,
  type Client,
  Code,
  connect,
  type ConnectOptions,
  RpcError,
} from "@ttrpc/ttrpc/core";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Bytes, errorOf, pass } from "./everywhere.ts";
import { closingFrame, Controlled, dataFrame, responseFrame } from "./controlled.ts";
import { soon, turn } from "./wait.ts";

const MESSAGES = 3_000;
const X = new Uint8Array([120]);

/** A client on a scripted connection, and what it says of its end. */
class ControlledBed implements AsyncDisposable {
  readonly client: Client;
  readonly conn: Controlled;
  readonly closed: (RpcError | undefined)[] = [];
  readonly broken = new Deno.errors.BrokenPipe("the peer reads no more");

  private constructor(client: Client, conn: Controlled, closed: ControlledBed["closed"]) {
    this.client = client;
    this.conn = conn;
    this.closed = closed;
  }

  static async open(options: ConnectOptions = {}): Promise<ControlledBed> {
    const conn = new Controlled();
    const closed: ControlledBed["closed"] = [];
    const onClose = (error?: RpcError) => void closed.push(error);
    return new ControlledBed(await connect(conn, { onClose, ...options }), conn, closed);
  }

  get service() {
    return this.client.service(Bytes);
  }

  /** Makes a call whose Request cannot be written. */
  async fail(): Promise<{ call: Promise<unknown> }> {
    this.conn.failWrites(this.broken);
    const call = errorOf(this.service.one(X));
    await soon(this.conn.writeFailed, "the failed write");
    return { call };
  }

  /** Checks how a call has failed that a failed write took with it. */
  check(error: unknown): void {
    ok(error instanceof RpcError, String(error));
    equal(error.code, Code.UNAVAILABLE, error.message);
    equal(error.cause, this.broken, error.message);
    match(error.message, /connection to tcp:\/\/192\.0\.2\.1:1024 lost.*the peer reads no more/);
  }

  /** Checks that the end was told once, as it was. */
  async checkEnd(): Promise<void> {
    await soon(this.client.finished, "closed");
    equal(this.closed.length, 1);
    this.check(this.closed[0]);
    equal(this.conn.closed, true);
    const { callsInFlight, openStreams, queuedBytes, connections } = this.client.stats();
    deepEqual([callsInFlight, openStreams, queuedBytes, connections], [0, 0, 0, 0]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client[Symbol.asyncDispose]();
  }
}

/** Reads a stream to its end: the messages, and the error if there was one. */
async function readAll(stream: AsyncIterable<Uint8Array>): Promise<[string[], unknown]> {
  const texts: string[] = [];
  try {
    for await (const message of stream) texts.push(new TextDecoder().decode(message));
  } catch (error) {
    return [texts, error];
  }
  return [texts, undefined];
}

const NUMBERS = Array.from({ length: MESSAGES }, (_, at) => `${at}`);

/** The messages of a stream in frames. */
function numberFrames(streamId: number): Uint8Array[] {
  return NUMBERS.map((text) => dataFrame(streamId, new TextEncoder().encode(text)));
}

/** Messages that never end, and whether their producer was told to stop. */
function endless() {
  const stopped = Promise.withResolvers<void>();
  async function* messages() {
    try {
      for (;;) {
        yield X;
        await turn();
      }
    } finally {
      stopped.resolve();
    }
  }
  return { messages: messages(), stopped: stopped.promise };
}

const VARIANTS: Record<string, ConnectOptions> = {
  "": {},
  ", with interceptors": { interceptors: [pass, pass] },
};

for (const [variant, options] of Object.entries(VARIANTS)) {
  Deno.test(`a unary answer that comes after a failed write reaches its caller${variant}`, async () => {
    await using bed = await ControlledBed.open(options);
    const one = bed.service.one(X);
    await bed.conn.frame(0);
    const { call: two } = await bed.fail();
    bed.conn.deliver(responseFrame(1, { payload: new Uint8Array([1, 2, 3]) }));
    deepEqual([...await soon(one, "the answer")], [1, 2, 3]);
    deepEqual(bed.closed, []); // the end is told after it
    bed.conn.end();
    bed.check(await soon(two, "the call that was not sent"));
    await bed.checkEnd();
  });

  Deno.test(`all ${MESSAGES} messages of a stream come before the error of a write${variant}`, async () => {
    await using bed = await ControlledBed.open(options);
    const stream = bed.service.down(X);
    await bed.conn.frame(0);
    const { call: two } = await bed.fail();
    bed.conn.deliver(...numberFrames(1));
    bed.conn.end();
    const [texts, error] = await soon(readAll(stream), "the end of the stream");
    deepEqual(texts, NUMBERS);
    bed.check(error);
    bed.check(await two);
    await bed.checkEnd();
  });

  Deno.test(`a stream whose end comes after a failed write ends well${variant}`, async () => {
    await using bed = await ControlledBed.open(options);
    const stream = bed.service.down(X);
    await bed.conn.frame(0);
    const { call: two } = await bed.fail();
    bed.conn.deliver(...numberFrames(1), closingFrame(1));
    bed.conn.end();
    deepEqual(await soon(readAll(stream), "the end of the stream"), [NUMBERS, undefined]);
    bed.check(await two);
    await bed.checkEnd();
  });

  Deno.test(`an upload that was refused early ends with the refusal${variant}`, async () => {
    await using bed = await ControlledBed.open(options);
    const { messages, stopped } = endless();
    const upload = errorOf(bed.service.up(messages));
    await bed.conn.frame(2);
    bed.conn.failWrites(bed.broken);
    await soon(bed.conn.writeFailed, "the failed write");
    const status = { code: Code.PERMISSION_DENIED, message: "not yours", details: [] };
    bed.conn.deliver(responseFrame(1, { status }));
    const error = await soon(upload, "the refusal");
    ok(error instanceof RpcError);
    deepEqual([error.code, error.rawMessage], [Code.PERMISSION_DENIED, "not yours"]);
    await soon(stopped, "the end of the producer");
    bed.conn.end();
    await soon(bed.client.finished, "closed");
    equal(bed.closed.length, 1);
  });

  Deno.test(`an upload that was answered early succeeds${variant}`, async () => {
    await using bed = await ControlledBed.open(options);
    const { messages, stopped } = endless();
    const upload = bed.service.up(messages);
    await bed.conn.frame(2);
    bed.conn.failWrites(bed.broken);
    await soon(bed.conn.writeFailed, "the failed write");
    bed.conn.deliver(responseFrame(1, { payload: new Uint8Array([7]) }));
    bed.conn.end();
    deepEqual([...await soon(upload, "the answer")], [7]);
    await soon(stopped, "the end of the producer");
  });

  Deno.test(`a bidirectional stream gets its messages and its status${variant}`, async () => {
    await using bed = await ControlledBed.open(options);
    const { messages, stopped } = endless();
    const stream = bed.service.both(messages);
    await bed.conn.frame(2);
    bed.conn.failWrites(bed.broken);
    await soon(bed.conn.writeFailed, "the failed write");
    const status = { code: Code.NOT_FOUND, message: "no more of it", details: [] };
    bed.conn.deliver(...numberFrames(1), responseFrame(1, { status }));
    bed.conn.end();
    const [texts, error] = await soon(readAll(stream), "the end of the stream");
    deepEqual(texts, NUMBERS);
    ok(error instanceof RpcError);
    deepEqual([error.code, error.rawMessage], [Code.NOT_FOUND, "no more of it"]);
    await soon(stopped, "the end of the producer");
  });

  Deno.test(`a bidirectional stream without a status fails with the write's error${variant}`, async () => {
    await using bed = await ControlledBed.open(options);
    const { messages, stopped } = endless();
    const stream = bed.service.both(messages);
    await bed.conn.frame(2);
    bed.conn.failWrites(bed.broken);
    await soon(bed.conn.writeFailed, "the failed write");
    bed.conn.deliver(...numberFrames(1));
    bed.conn.end();
    const [texts, error] = await soon(readAll(stream), "the end of the stream");
    deepEqual(texts, NUMBERS);
    bed.check(error);
    await soon(stopped, "the end of the producer");
    await bed.checkEnd();
  });
}

Deno.test("answers to many calls come in any order after a failed write", async () => {
  await using bed = await ControlledBed.open();
  const calls = NUMBERS.map(() => bed.service.one(X));
  await bed.conn.frame(MESSAGES - 1);
  const { call } = await bed.fail();
  const answers = NUMBERS.map((text, at) =>
    responseFrame(2 * at + 1, { payload: new TextEncoder().encode(text) })
  );
  bed.conn.deliver(...answers.reverse());
  bed.conn.end();
  const texts = await soon(Promise.all(calls), "the answers");
  deepEqual(texts.map((bytes) => new TextDecoder().decode(bytes)), NUMBERS);
  bed.check(await call);
  await bed.checkEnd();
});

Deno.test("messages that nobody has taken yet outlast the end of the connection", async () => {
  await using bed = await ControlledBed.open({ limits: { connectionQueueBytes: 1_000 } });
  const stream = bed.service.down(X);
  await bed.conn.frame(0);
  const { call } = await bed.fail();
  bed.conn.deliver(...numberFrames(1)); // more than may wait while the connection is well
  bed.conn.end();
  bed.check(await soon(call, "the call that was not sent"));
  await soon(bed.client.finished, "closed");
  equal(bed.closed.length, 1);
  const [texts, error] = await readAll(stream);
  deepEqual(texts, NUMBERS);
  bed.check(error);
});

Deno.test("a connection that is no socket keeps its answers, too", async () => {
  const conn = new Controlled();
  const bare: ByteConnection = {
    read: (buffer) => conn.read(buffer),
    write: (bytes) => conn.write(bytes),
    close: () => conn.close(),
  };
  await using client = await connect(bare);
  const one = client.service(Bytes).one(X);
  await conn.frame(0);
  const broken = new Error("gone");
  conn.failWrites(broken);
  const two = errorOf(client.service(Bytes).one(X));
  await soon(conn.writeFailed, "the failed write");
  conn.deliver(responseFrame(1));
  conn.end();
  equal((await soon(one, "the answer")).length, 0);
  const error = await two;
  ok(error instanceof RpcError);
  deepEqual([error.code, error.cause], [Code.UNAVAILABLE, broken]);
  match(error.message, /connection lost with 1 call in flight: gone/);
});
