// The messages of a call, one by one: those that are received and those that are sent.

import { deepEqual, equal, ok, rejects, strictEqual, throws } from "node:assert/strict";
import type { Codec } from "../codec.ts";
import {
  decodeMessage,
  DONE,
  encodeMessage,
  iterate,
  MessageIterator,
  ReceivedMessages,
  sendMessages,
} from "../engine/messages.ts";
import { runningCall } from "../engine/running.ts";
import type { Messages } from "../service.ts";
import { Code, OK, RpcError } from "../status.ts";
import { isPromiseLike } from "../async/tell.ts";
import { turn } from "../async/timer.ts";
import { recycle } from "../wire/writer.ts";
import { Host, isSettled, LOST, settle, TestStream } from "./stand_ins.ts";

/** A number in one byte. There is no number 255. */
const number: Codec<number> = {
  encode: (value) => {
    if (value > 255) throw new RangeError(`${value} is too large`);
    return new Uint8Array([value]);
  },
  decode: ([value]) => {
    if (value === 255) throw new RangeError("there is no such number");
    return value!;
  },
};

function opened(role: "client" | "server" = "client", host = new Host()) {
  const stream = new TestStream(role);
  stream.attach(host);
  stream.open(1);
  return { stream, host };
}

function received(...values: number[]) {
  const { stream } = opened();
  for (const value of values) stream.push(new Uint8Array([value]));
  return { stream, messages: new ReceivedMessages(stream, number) };
}

class Endless extends MessageIterator<number> {
  stops = 0;

  next(): Promise<IteratorResult<number>> {
    return Promise.resolve({ done: false, value: 1 });
  }

  protected stop(): void {
    this.stops++;
  }
}

Deno.test("a stream of messages is stopped by break, return(), throw() and disposal", async () => {
  const left = new Endless();
  for await (const _ of left) break;
  equal(left.stops, 1);

  const returned = new Endless();
  equal(await returned.return(), DONE);
  equal(returned.stops, 1);

  const thrown = new Endless();
  const error = new Error("mine");
  await rejects(thrown.throw(error), error);
  equal(thrown.stops, 1);

  const disposed = new Endless();
  {
    await using messages = disposed;
    equal(messages[Symbol.asyncIterator](), disposed);
    ok(new Endless()[Symbol.asyncDispose]() instanceof Promise);
  }
  equal(disposed.stops, 1);
});

/** A number of which the codec says what it costs, and whether it was decoded. */
function weighed(cost: number) {
  const asked: unknown[][] = [];
  const codec: Codec<number> = {
    ...number,
    decode: (bytes) => (asked.push(["decode"]), number.decode(bytes)),
    cost: (bytes, most) => (asked.push(["cost", bytes.length, most]), cost),
  };
  return { codec, asked };
}

const TWO = Uint8Array.of(2, 0);

Deno.test("decodeMessage() decodes what costs as much as is allowed, and notes what it costs", () => {
  const { stream } = opened("server", new Host({ decodeFactor: 3 }));
  const { codec, asked } = weighed(16_777_222);
  equal(decodeMessage(stream, codec, TWO), 2);
  deepEqual(asked, [["cost", 2, 16_777_222], ["decode"]]);
  equal(stream.decodedBytes, 16_777_222);
});

Deno.test("decodeMessage() does not decode what costs more, and names the limit", () => {
  for (const cost of [16_777_223, Infinity]) {
    const { stream } = opened("server", new Host({ decodeFactor: 3 }));
    const { codec, asked } = weighed(cost);
    throws(() => decodeMessage(stream, codec, TWO), {
      name: "RpcError",
      code: Code.RESOURCE_EXHAUSTED,
      message: "pkg.Svc/Do: RESOURCE_EXHAUSTED: message of 2 bytes has too many small parts: " +
        "decoded, it would take over 16777222 bytes of memory, or too long (limits.decodeFactor is 3)",
    });
    deepEqual(asked, [["cost", 2, 16_777_222]]);
    equal(stream.decodedBytes, 0);
  }
});

Deno.test("decodeMessage() takes a codec without cost() to make what is as large as its bytes", () => {
  const { stream } = opened();
  equal(decodeMessage(stream, number, TWO), 2);
  equal(stream.decodedBytes, 2);
});

Deno.test("decodeMessage() tells of a codec that cannot say what a message costs", () => {
  const { stream } = opened();
  const cause = new Error("mine");
  const codec: Codec<number> = {
    ...number,
    cost: () => {
      throw cause;
    },
  };
  throws(() => decodeMessage(stream, codec, TWO), { code: Code.INTERNAL, cause });
});

Deno.test("ReceivedMessages decodes what has come, and what comes", async () => {
  const { stream, messages } = received(1, 2);
  deepEqual(await messages.next(), { done: false, value: 1 });
  deepEqual(await messages.next(), { done: false, value: 2 });
  const next = messages.next();
  stream.push(new Uint8Array([3]));
  deepEqual(await next, { done: false, value: 3 });
  stream.closeRemote();
  equal(await messages.next(), DONE);
  equal(await messages.next(), DONE);
  equal(stream.releases, 0);
});

Deno.test("ReceivedMessages asks for a message in its turn", async () => {
  const { stream, messages } = received();
  const next = [messages.next(), messages.next()];
  stream.push(new Uint8Array([1]));
  stream.push(new Uint8Array([2]));
  deepEqual((await Promise.all(next)).map(({ value }) => value), [1, 2]);
});

Deno.test("ReceivedMessages ends well with a call that has ended well", async () => {
  const { stream, messages } = received(1);
  stream.end(OK);
  deepEqual(await Array.fromAsync(messages), [1]);
});

Deno.test("ReceivedMessages tells once how a call has ended badly, after its messages", async () => {
  const { stream, messages } = received(1);
  stream.end(LOST);
  equal((await messages.next()).value, 1);
  await rejects(messages.next(), {
    code: LOST.code,
    message: "pkg.Svc/Do: UNAVAILABLE: lost",
    method: "pkg.Svc/Do",
  });
  equal(await messages.next(), DONE);
  equal(stream.releases, 0);
});

Deno.test("ReceivedMessages ends well for who has all messages, whatever has become of the call", async () => {
  const { stream, messages } = received(1);
  stream.closeRemote();
  stream.end(LOST);
  deepEqual(await Array.fromAsync(messages), [1]);

  const dropped = received(1);
  dropped.stream.closeRemote();
  dropped.stream.abandon(LOST);
  await rejects(dropped.messages.next(), { code: LOST.code });
});

Deno.test("ReceivedMessages releases the call once, when nobody wants more", async () => {
  const { stream, messages } = received(1, 2);
  await messages.next();
  await messages.return();
  equal(stream.releases, 1);
  equal(stream.queuedBytes, 0);
  equal(await messages.next(), DONE);
  await messages.return();
  equal(stream.releases, 1);
});

Deno.test("ReceivedMessages has nothing to release at its end", async () => {
  const { stream, messages } = received();
  stream.closeRemote();
  await messages.next();
  await messages.return();
  equal(stream.releases, 0);
});

Deno.test("ReceivedMessages ends for who waits when it is stopped, be there a message or an error", async () => {
  const { messages } = received();
  const next = messages.next();
  await messages.return();
  equal(await next, DONE);

  const arrived = received();
  const withMessage = arrived.messages.next();
  arrived.stream.push(new Uint8Array([1]));
  void arrived.messages.return();
  equal(await withMessage, DONE);

  const failed = received();
  const withError = failed.messages.next();
  failed.stream.end(LOST);
  void failed.messages.return();
  equal(await withError, DONE);
});

Deno.test("ReceivedMessages gives a call up whose messages cannot be decoded", async () => {
  const { stream, messages } = received(255, 1);
  await rejects(messages.next(), (error) => {
    ok(error instanceof RpcError);
    equal(error.code, Code.INTERNAL);
    equal(error.rawMessage, "ttrpc: error unmarshalling payload: there is no such number");
    equal(error.method, "pkg.Svc/Do");
    ok(error.cause instanceof RangeError);
    return true;
  });
  equal(stream.releases, 1);
  equal(await messages.next(), DONE);
});

Deno.test("decodeMessage() counts the bytes, if somebody wants to know", () => {
  const { stream } = opened();
  decodeMessage(stream, number, new Uint8Array([1]));
  equal(stream.sizes, undefined);
  stream.sizes = { sent: 0, received: 0 };
  decodeMessage(stream, number, new Uint8Array([1]));
  throws(() => decodeMessage(stream, number, new Uint8Array([255, 0])));
  deepEqual(stream.sizes, { sent: 0, received: 3 });
});

Deno.test("encodeMessage() encodes what there is, be it zero", () => {
  deepEqual(encodeMessage(number, 0, "pkg.Svc/Do"), new Uint8Array([0]));
});

Deno.test("encodeMessage() says what is wrong with what cannot be sent", () => {
  const cases: [value: number, codec: Codec<number>, message: string][] = [
    [undefined!, number, "the message is undefined"],
    [null!, number, "the message is null"],
    [256, number, "256 is too large"],
    [1, { ...number, encode: () => [1] as never }, "encode() did not return a Uint8Array"],
    [1, { ...number, encode: () => undefined! }, "encode() did not return a Uint8Array"],
  ];
  for (const [value, codec, message] of cases) {
    throws(() => encodeMessage(codec, value, "pkg.Svc/Do"), (error) => {
      ok(error instanceof RpcError);
      equal(error.code, Code.INTERNAL);
      equal(error.rawMessage, `ttrpc: error marshalling payload: ${message}`);
      equal(error.method, "pkg.Svc/Do");
      ok(error.cause instanceof Error);
      return true;
    });
  }
});

Deno.test("encodeMessage() lets only memory be freed that the codec gives away", () => {
  for (const transfers of [true, false, undefined]) {
    const bytes = new Uint8Array(10_000);
    const codec: Codec<number> = { ...number, encode: () => bytes, transfers };
    strictEqual(encodeMessage(codec, 1, "pkg.Svc/Do"), bytes);
    recycle(bytes);
    equal(bytes.length, transfers ? 0 : 10_000);
  }
});

async function send(stream: TestStream, messages: Messages<number>): Promise<void> {
  await sendMessages(stream, number, messages);
}

async function sent(host: Host): Promise<number[]> {
  return (await host.frames()).map(({ data }) => data[0]!);
}

Deno.test("sendMessages() sends those of an iterable, an async one, and promises", async () => {
  async function* later() {
    yield* [1, 2, 3];
  }
  const promised = [Promise.resolve(1), 2, Promise.resolve(3)] as unknown as number[];
  for (const messages of [[1, 2, 3], new Set([1, 2, 3]), later(), promised]) {
    const { stream, host } = opened();
    stream.sizes = { sent: 0, received: 0 };
    await send(stream, messages);
    deepEqual(await sent(host), [1, 2, 3]);
    deepEqual(stream.sizes, { sent: 3, received: 0 });
    equal(stream.status, undefined);
  }
});

Deno.test("sendMessages() counts no bytes if nobody wants to know", async () => {
  const { stream } = opened();
  await send(stream, [1]);
  equal(stream.sizes, undefined);
});

Deno.test("sendMessages() runs the producer as code of the call", async () => {
  const { stream } = opened();
  let running: unknown;
  await send(
    stream,
    (function* () {
      running = runningCall();
      yield 1;
    })(),
  );
  equal(running, stream);
  equal(runningCall(), undefined);
});

/** A producer that is asked for one message at a time. */
class Producer implements AsyncIterableIterator<number> {
  asked = 0;
  returned = 0;
  #next: ((result: IteratorResult<number>) => void) | undefined;

  next(): Promise<IteratorResult<number>> {
    this.asked++;
    return new Promise((resolve) => this.#next = resolve);
  }

  give(result: IteratorResult<number>): void {
    this.#next!(result);
  }

  return(): Promise<IteratorResult<number>> {
    this.returned++;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

Deno.test("sendMessages() asks nothing of a producer whose call is over, and tells it", async () => {
  const { stream, host } = opened();
  stream.end(LOST);
  const producer = new Producer();
  await send(stream, producer);
  deepEqual([producer.asked, producer.returned], [0, 1]);
  deepEqual(await sent(host), []);
});

Deno.test("sendMessages() tells a producer when its call ends, and sends no more", async () => {
  const { stream, host } = opened();
  const producer = new Producer();
  const sending = send(stream, producer);
  producer.give({ done: false, value: 1 });
  await settle();
  deepEqual([producer.asked, producer.returned], [2, 0]);
  stream.end(LOST);
  equal(producer.returned, 1);
  producer.give({ done: false, value: 2 });
  await sending;
  deepEqual([producer.asked, producer.returned], [2, 1]);
  deepEqual(await sent(host), [1]);
});

Deno.test("sendMessages() does not tell a producer that has come to its end", async () => {
  const { stream } = opened();
  const producer = new Producer();
  const sending = send(stream, producer);
  producer.give({ done: true, value: undefined });
  await sending;
  equal(stream.source, undefined);
  stream.end(OK);
  equal(producer.returned, 0);
});

Deno.test("sendMessages() sends no message that came after the end of its call", async () => {
  const { stream, host } = opened();
  const { promise, resolve } = Promise.withResolvers<number>();
  const sending = send(stream, [promise] as unknown as number[]);
  await settle();
  stream.end(LOST);
  resolve(256); // is not even encoded
  await sending;
  deepEqual(await sent(host), []);
});

Deno.test("sendMessages() waits while the write queue is full", async () => {
  const { stream, host } = opened();
  host.congest();
  const sending = send(stream, [1]);
  equal(await isSettled(sending), false);
  const { total } = host.queue;
  host.sink.resume();
  await sending;
  ok(host.queue.total > total);
});

Deno.test("sendMessages() sends nothing when its call ends while the write queue is full", async () => {
  const { stream, host } = opened();
  stream.sizes = { sent: 0, received: 0 };
  host.congest();
  const { total } = host.queue;
  const sending = send(stream, [1]);
  await settle();
  stream.end(LOST);
  await sending;
  equal(host.queue.total, total);
  equal(stream.sizes.sent, 0);
  host.sink.resume();
});

Deno.test("sendMessages() rejects with the producer's error, and with that of a bad message", async () => {
  const { stream, host } = opened();
  const error = new Error("mine");
  await rejects(
    send(
      stream,
      (function* () {
        yield 1;
        throw error;
      })(),
    ),
    error,
  );
  deepEqual(await sent(host), [1]);
  await rejects(send(opened().stream, [256]), {
    code: Code.INTERNAL,
    message: "pkg.Svc/Do: INTERNAL: ttrpc: error marshalling payload: 256 is too large",
  });
  await rejects(send(opened("client", new Host({ messageBytes: 1 })).stream, [1, 256]), RpcError);
});

Deno.test("sendMessages() gives everything else its turn after the work of two milliseconds", async () => {
  for (const [length, messages] of [[0, 2_000], [1 << 12, 1_000], [1 << 20, 8]] as const) {
    const { stream } = opened();
    let made = 0;
    const bytes = new Uint8Array(length);
    const sending = sendMessages(
      stream,
      { ...number, encode: () => bytes },
      (function* () {
        for (;;) {
          made++;
          yield 1;
        }
      })(),
    );
    const counts: number[] = [];
    for (let i = 0; i < 4; i++) {
      await turn();
      counts.push(made);
    }
    stream.end(OK);
    await sending;
    // The first ones share their turn with whatever was done before.
    deepEqual(counts.slice(2).map((count, at) => count - counts[at + 1]!), [messages, messages]);
  }
});

Deno.test("isPromiseLike() is true for what can be awaited", () => {
  equal(isPromiseLike(Promise.resolve()), true);
  equal(isPromiseLike({ then() {} }), true);
  for (const value of [undefined, null, 1, "then", {}, { then: 1 }, () => {}]) {
    equal(isPromiseLike(value), false);
  }
});

Deno.test("iterate() takes iterables, asynchronously if they can be", () => {
  const async = new Producer();
  equal(iterate(Object.assign(async, { [Symbol.iterator]: () => [][Symbol.iterator]() })), async);
  deepEqual([...{ [Symbol.iterator]: () => iterate([1, 2]) as Iterator<number> }], [1, 2]);
});

Deno.test("iterate() refuses what is not iterable, or is text", () => {
  for (
    const [value, text] of [[undefined, "undefined"], [null, "null"], [5, "5"], ["ab", "ab"], [
      {},
      "[object Object]",
    ]]
  ) {
    throws(() => iterate(value as never), {
      name: "TypeError",
      message: `Cannot send ${text} as a stream of messages: it is not iterable`,
    });
  }
});
