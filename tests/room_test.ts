// Calls for which there is no room yet: they wait, nobody is failed for it, and nothing is left.

import { connect, serve } from "@ttrpc/ttrpc/core";
import type { ByteConnection, Limits, ServiceHandlers } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { decodeResponse } from "../wire/envelope.ts";
import { Code, RpcError } from "../status.ts";
import { Bytes, pass, type Place, testEverywhere } from "./everywhere.ts";
import { RawPeer, requestData } from "./raw_peer.ts";
import { sleep, soon, turn, until } from "./wait.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;
const X = new Uint8Array([1]);
const NOTHING = new Uint8Array(0);

type Handlers = ServiceHandlers<typeof Bytes>;

function serveBytes(
  place: Place,
  handlers: Partial<Handlers>,
  limits: Partial<Limits>,
  errors: unknown[] = [],
) {
  const all: Handlers = {
    one: (bytes) => bytes,
    up: () => NOTHING,
    down: () => [],
    both: () => [],
    ...handlers,
  };
  const onError = (error: unknown) => void errors.push(error);
  return serve(
    { listener: place.listen(), limits, onError },
    (router) => router.service(Bytes, all),
  );
}

/** Handlers that wait at a gate, and how many of them do. */
class Gate {
  readonly #open = Promise.withResolvers<void>();
  entered = 0;
  inside = 0;
  most = 0;

  async pass(): Promise<void> {
    this.entered++;
    this.most = Math.max(this.most, ++this.inside);
    await this.#open.promise;
    this.inside--;
  }

  open(): void {
    this.#open.resolve();
  }
}

function request(method: string, payload = NOTHING, timeoutNano = 0n): Uint8Array {
  return requestData({ service: Bytes.typeName, method, payload, timeoutNano });
}

testEverywhere(
  "requests that handlers hold are bounded, and the rest have their turn",
  async (place) => {
    const gate = new Gate();
    const one = async (bytes: Uint8Array) => {
      if (bytes.length > 1) await gate.pass();
      return bytes.subarray(0, 1);
    };
    const server = serveBytes(place, { one }, { heldBytes: MIB });
    const client = await connect(await place.dial());
    const service = client.service(Bytes);
    await service.one(X); // its replies are short, as is known from then on
    const calls = Array.from({ length: 20 }, () => service.one(new Uint8Array(256 * KIB)));
    await until(() => gate.entered === 4, "as many calls as there is room for");
    await turn();
    await turn();
    equal(gate.entered, 4);
    ok(server.stats().heldBytes < 2 * MIB, `${server.stats().heldBytes} bytes are held`);
    gate.open();
    for (const answer of await Promise.all(calls)) equal(answer.length, 1);
    equal(gate.entered, 20);
    await until(() => server.stats().heldBytes === 0, "the end of what is held");
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  },
);

for (const [how, later] of [["at once", false], ["with a promise", true]] as const) {
  testEverywhere(
    `a peer that reads slowly has all its answers, which are made ${how}`,
    async (place) => {
      let made = 0;
      const answer = (bytes: Uint8Array) => {
        made++;
        return new Uint8Array(MIB).fill(bytes[0]!);
      };
      const one = later ? async (bytes: Uint8Array) => await answer(bytes) : answer;
      const server = serveBytes(place, { one }, { heldBytes: 4 * MIB });
      using peer = new RawPeer(await place.dial());
      const sending = (async () => {
        for (let i = 0; i < 40; i++) {
          await peer.send({ streamId: 2 * i + 1, data: request("One", new Uint8Array([i])) });
        }
      })();
      let most = 0;
      const answered = new Set<number>();
      for (let i = 0; i < 40; i++) {
        for (let turns = 0; turns < 5; turns++) await turn();
        most = Math.max(most, made - i);
        const { streamId, data } = (await peer.receive())!;
        const { status, payload } = decodeResponse(data);
        equal(status, undefined);
        deepEqual([payload.length, payload[0]], [MIB, streamId >> 1]);
        answered.add(streamId);
      }
      await sending;
      equal(answered.size, 40);
      // What the limit allows, one more, and what is in the sockets.
      ok(most <= 20, `${most} answers were made ahead`);
      equal(server.stats().heldBytes, 0);
      await server.shutdown();
    },
  );
}

testEverywhere(
  "calls that wait for others of their connection do not keep these from beginning",
  async (place) => {
    const event = Promise.withResolvers<void>();
    const one = async (bytes: Uint8Array) => {
      if (bytes[0] === 1) event.resolve();
      else await event.promise;
      return bytes;
    };
    // Each reply may be as long as all that may be held.
    const server = serveBytes(place, { one }, { heldBytes: MIB, messageBytes: MIB });
    const client = await connect(await place.dial());
    const service = client.service(Bytes);
    const waiting = Array.from({ length: 10 }, () => service.one(NOTHING));
    await soon(service.one(X), "the call that the others wait for");
    await Promise.all(waiting);
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  },
);

testEverywhere(
  "a method whose replies are known to be long is expected to make more of them",
  async (place) => {
    const gate = new Gate();
    let length = 0;
    const one = async (bytes: Uint8Array) => {
      if (bytes.length > 0) return new Uint8Array(length);
      await gate.pass();
      return bytes;
    };
    const server = serveBytes(place, { one }, { heldBytes: MIB, messageBytes: 2 * MIB });
    const client = await connect(await place.dial());
    const service = client.service(Bytes);
    await service.one(X);
    const short = Array.from({ length: 8 }, () => service.one(NOTHING));
    await until(() => gate.entered === 8, "all calls whose replies are short");
    length = MIB / 2;
    await service.one(X);
    const long = Array.from({ length: 8 }, () => service.one(NOTHING));
    await until(() => gate.entered === 10, "as many calls as there may be room for");
    await turn();
    await turn();
    equal(gate.entered, 10);
    gate.open();
    await Promise.all([...short, ...long]);
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  },
);

testEverywhere(
  "the deadline of a call that waits for room runs from when it came",
  async (place) => {
    const gate = new Gate();
    const begun: number[] = [];
    const one = async (bytes: Uint8Array) => {
      begun.push(bytes[0]!);
      if (bytes[0] === 0) await gate.pass();
      return bytes.subarray(0, 1);
    };
    const server = serveBytes(place, { one }, { heldBytes: 1 });
    using peer = new RawPeer(await place.dial());
    await peer.send({ streamId: 1, data: request("One", new Uint8Array(10)) });
    await peer.send({ streamId: 3, data: request("One", new Uint8Array([1]), 20_000_000n) });
    await peer.send({ streamId: 5, data: request("One", new Uint8Array([2]), 60_000_000_000n) });
    await until(() => gate.entered === 1, "the first call");
    const later = performance.now() + 30;
    await until(() => performance.now() > later, "the deadline");
    gate.open();
    const codes = new Map<number, number>();
    for (let i = 0; i < 3; i++) {
      const { streamId, data } = (await peer.receive())!;
      codes.set(streamId, decodeResponse(data).status?.code ?? 0);
    }
    deepEqual(codes, new Map([[1, 0], [3, Code.DEADLINE_EXCEEDED], [5, 0]]));
    deepEqual(begun, [0, 2]);
    peer[Symbol.dispose]();
    await server.shutdown();
  },
);

testEverywhere(
  "a shutdown refuses the calls that wait for room, and loses no answer",
  async (place) => {
    const gate = new Gate();
    const one = async (bytes: Uint8Array) => {
      await gate.pass();
      return bytes.subarray(0, 1);
    };
    const server = serveBytes(place, { one }, { heldBytes: 1 });
    const client = await connect(await place.dial());
    const service = client.service(Bytes);
    const first = service.one(new Uint8Array(10));
    const others = Array.from({ length: 3 }, () => service.one(X));
    await until(() => gate.entered === 1, "the first call");
    await turn();
    const down = server.shutdown();
    for (const other of others) {
      await rejects(other, (error) => error instanceof RpcError && error.code === Code.UNAVAILABLE);
    }
    gate.open();
    equal((await first).length, 1);
    await down;
    equal(gate.entered, 1);
    equal(server.stats().heldBytes, 0);
    await client.finished;
  },
);

testEverywhere("frames behind a call that waits for room wait with it, in order", async (place) => {
  const gate = new Gate();
  const one = async (bytes: Uint8Array) => {
    await gate.pass();
    return bytes.subarray(0, 1);
  };
  async function up(messages: AsyncIterable<Uint8Array>) {
    const bytes: number[] = [];
    for await (const message of messages) bytes.push(...message);
    return new Uint8Array(bytes);
  }
  const server = serveBytes(place, { one, up }, { heldBytes: 1 });
  const client = await connect(await place.dial());
  const service = client.service(Bytes);
  const first = service.one(new Uint8Array(10));
  await until(() => gate.entered === 1, "the first call");
  const messages = [1, 2, 3].map((byte) => new Uint8Array([byte]));
  const uploads = Array.from({ length: 3 }, () => service.up(messages));
  await turn();
  gate.open();
  await first;
  for (const upload of uploads) deepEqual(await upload, new Uint8Array([1, 2, 3]));
  await client[Symbol.asyncDispose]();
  await server.shutdown();
});

testEverywhere(
  "a server without room still begins small calls of others, and long ones when it has",
  async (place) => {
    const gate = new Gate();
    const one = async (bytes: Uint8Array) => {
      if (bytes[0] === 1) await gate.pass();
      return bytes.subarray(0, 1);
    };
    const limits = { serverHeldBytes: MIB };
    const server = serveBytes(place, { one }, limits);
    const large = await connect(await place.dial());
    const small = await connect(await place.dial());
    const long = new Uint8Array(300 * KIB).fill(1);
    const held = Array.from({ length: 8 }, () => large.service(Bytes).one(long));
    await until(() => gate.entered === 4, "as many calls as there is room for");
    for (let i = 0; i < 100; i++) await small.service(Bytes).one(NOTHING);
    const later = small.service(Bytes).one(long);
    await turn();
    await turn();
    equal(gate.entered, 4);
    ok(server.stats().heldBytes < 2 * MIB, `${server.stats().heldBytes} bytes are held`);
    gate.open();
    await Promise.all([...held, later]);
    equal(gate.entered, 9);
    await until(() => server.stats().heldBytes === 0, "the end of what is held");
    await Promise.all([large, small].map((client) => client[Symbol.asyncDispose]()));
    await server.shutdown();
  },
);

testEverywhere(
  "a peer that reads nothing loses its connection when others need the room",
  async (place) => {
    const errors: unknown[] = [];
    const one = (bytes: Uint8Array) => new Uint8Array(bytes.length === 0 ? 512 * KIB : 1);
    const limits = { serverHeldBytes: 2 * MIB, frameTimeoutMs: 1_000 };
    const server = serveBytes(place, { one }, limits, errors);
    using peer = new RawPeer(await place.dial());
    const sending = (async () => {
      // Sockets hold some of it, TCP's several MiB.
      for (let i = 0; i < 100; i++) await peer.send({ streamId: 2 * i + 1, data: request("One") });
    })().catch(() => {});
    await until(() => server.stats().heldBytes >= limits.serverHeldBytes, "a server without room");
    const client = await connect(await place.dial());
    const answer = client.service(Bytes).one(new Uint8Array(MIB));
    equal((await soon(answer, "room for the long call")).length, 1);
    equal(errors.length, 1);
    ok(
      /reads nothing, while the server has no memory left for other calls/.test(`${errors[0]}`),
      `${errors[0]}`,
    );
    peer[Symbol.dispose]();
    await sending;
    await client[Symbol.asyncDispose]();
    await server.shutdown();
    equal(server.stats().heldBytes, 0);
  },
);

testEverywhere("a peer that has gone while its calls wait for room is noticed", async (place) => {
  const gate = new Gate();
  const one = async () => {
    await gate.pass();
    return X;
  };
  const server = serveBytes(place, { one }, { heldBytes: 1 });
  const conn: ByteConnection = await place.dial();
  using peer = new RawPeer(conn);
  for (let i = 0; i < 3; i++) {
    await peer.send({ streamId: 2 * i + 1, data: request("One", new Uint8Array(10)) });
  }
  await until(() => gate.entered === 1, "the first call");
  peer[Symbol.dispose]();
  await until(() => server.stats().connections === 0, "the end of the connection");
  equal(gate.entered, 1);
  ok(server.stats().heldBytes > 0); // its handler does not heed its signal
  gate.open();
  await until(() => server.stats().heldBytes === 0, "the end of the handler");
  await server.shutdown();
}, ["a unix socket"]);

testEverywhere("refused calls hold what interceptors hear of them", async (place) => {
  const gate = new Gate();
  const server = serve(
    {
      listener: place.listen(),
      interceptors: [(next) => async (request) => {
        await gate.pass();
        return await next(request);
      }, pass],
    },
    (router) =>
      router.service(Bytes, { one: () => X, up: () => X, down: () => [], both: () => [] }),
  );
  const client = await connect(await place.dial());
  const metadata = { key: "x".repeat(10_000) };
  const refused = client.callRaw("no.Such", "Method", X, { metadata }).catch((error) => error.code);
  await until(() => gate.entered === 1, "the interceptor");
  ok(server.stats().heldBytes >= 20_000, `${server.stats().heldBytes} bytes are held`);
  gate.open();
  equal(await refused, Code.UNIMPLEMENTED);
  equal(server.stats().heldBytes, 0);
  await client[Symbol.asyncDispose]();
  await server.shutdown();
});

testEverywhere("metadata of calls in flight are held with them", async (place) => {
  const gate = new Gate();
  const one = async () => {
    await gate.pass();
    return X;
  };
  const server = serveBytes(place, { one }, { heldBytes: 50_000 });
  const client = await connect(await place.dial());
  const service = client.service(Bytes);
  const metadata = { key: "x".repeat(10_000) };
  const calls = Array.from({ length: 5 }, () => service.one(X, { metadata }));
  await until(() => gate.entered === 3, "as many calls as there is room for");
  gate.open();
  await Promise.all(calls);
  await client[Symbol.asyncDispose]();
  await server.shutdown();
});

testEverywhere(
  "whatever becomes of calls, the room that they took is given back",
  async (place) => {
    let turns = 0;
    let easy = false;
    let working = 0;
    /** Ends in each way that a handler can. */
    const work = async (signal: AbortSignal) => {
      const way = easy ? 1 : turns++ % 6;
      working++;
      try {
        return await end(way, signal);
      } finally {
        working--;
      }
    };
    const end = async (way: number, signal: AbortSignal) => {
      if (way === 0) throw new RpcError(Code.NOT_FOUND, "no");
      if (way === 1) await undefined;
      if (way === 2) await sleep(2);
      if (way === 3 && !signal.aborted) {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      }
      if (way === 4) await sleep(10); // heeds nothing
      if (way === 5) return undefined as unknown as Uint8Array; // no message
      return new Uint8Array(10_000);
    };
    const handlers: Handlers = {
      one: (_, { signal }) => work(signal),
      up: async (messages, { signal }) => {
        if (turns % 2 === 0) { for await (const _ of messages) { /* takes all */ } }
        return await work(signal);
      },
      async *down(_, { signal }) {
        yield await work(signal);
        yield await work(signal);
      },
      async *both(messages, { signal }) {
        for await (const _ of messages) yield await work(signal);
      },
    };
    // The room is that of one reply, so that any that is not given back is missed.
    const limits = { heldBytes: 64 * KIB, serverHeldBytes: 128 * KIB, messageBytes: 64 * KIB };
    const server = serveBytes(place, handlers, limits);
    for (let round = 0; round < 4; round++) {
      const client = await connect(await place.dial(), { limits });
      const service = client.service(Bytes);
      const message = new Uint8Array(20_000);
      const calls = Array.from({ length: 12 }, async (_, i) => {
        const abort = new AbortController();
        const options = { timeoutMs: 5 + i, signal: abort.signal };
        if (i % 3 === 0) setTimeout(() => abort.abort(), i);
        await service.one(message, options).catch(() => {});
        await service.up([message, message], options).catch(() => {});
        for await (const _ of service.down(message, options)) if (i % 2 === 0) break;
      }).map((call) => call.catch(() => {}));
      const streams = Array.from({ length: 4 }, async (_, i) => {
        for await (const _ of service.both([message, X], { timeoutMs: 10 + i })) { /* takes all */ }
      }).map((call) => call.catch(() => {}));
      if (round === 1) setTimeout(() => client.close(), 5);
      await Promise.all([...calls, ...streams]);
      await client[Symbol.asyncDispose]();
    }
    await until(() => working + server.stats().heldBytes === 0, "the end of all");
    easy = true;
    const client = await connect(await place.dial(), { limits });
    const calls = Array.from(
      { length: 10 },
      () => client.service(Bytes).one(new Uint8Array(60_000)),
    );
    await soon(Promise.all(calls), "room for calls");
    await client[Symbol.asyncDispose]();
    await server.shutdown();
    equal(server.stats().heldBytes, 0);
  },
);

testEverywhere(
  "a server without room takes long frames of those that hold little, one by one",
  async (place) => {
    const gate = new Gate();
    const one = async (bytes: Uint8Array) => {
      if (bytes[0] === 1) await gate.pass();
      return bytes.subarray(0, 1);
    };
    const server = serveBytes(place, { one }, { serverHeldBytes: MIB });
    const large = await connect(await place.dial());
    const small = await connect(await place.dial());
    await small.service(Bytes).one(NOTHING);
    const held = Array.from(
      { length: 4 },
      () => large.service(Bytes).one(new Uint8Array(300 * KIB).fill(1)),
    );
    await until(() => gate.entered === 4, "a server without room");
    for (const kib of [9, 20, 60]) {
      const calls = Array.from(
        { length: 3 },
        () => small.service(Bytes).one(new Uint8Array(kib * KIB)),
      );
      await soon(Promise.all(calls), `calls of ${kib} KiB`);
    }
    gate.open();
    await Promise.all(held);
    await Promise.all([large, small].map((client) => client[Symbol.asyncDispose]()));
    await server.shutdown();
  },
);

testEverywhere(
  "a connection is read again when its server has room, whatever it waited for at first",
  async (place) => {
    const gate = new Gate();
    const taken = Promise.withResolvers<void>();
    const take = Promise.withResolvers<void>();
    const late = Promise.withResolvers<void>();
    const one = async () => {
      await gate.pass();
      return X;
    };
    // deno-lint-ignore require-yield -- it gives no messages
    async function* both(messages: AsyncIterable<Uint8Array>) {
      let bytes = 0;
      for await (const message of messages) {
        if (message.length === 1) return late.resolve(); // the other stream
        if (bytes === 0) await take.promise;
        bytes += message.length;
        if (bytes === 600 * KIB) {
          taken.resolve();
          await late.promise;
        }
      }
    }
    const limits = { serverHeldBytes: 2 * MIB, connectionQueueBytes: MIB, stallTimeoutMs: 0 };
    const server = serveBytes(place, { one, both }, limits);
    const client = await connect(await place.dial());
    const service = client.service(Bytes);
    const chunks = Array.from({ length: 120 }, () => new Uint8Array(10 * KIB));
    const first = Array.fromAsync(service.both(chunks));
    await until(() => server.stats().queuedBytes >= MIB, "a full queue");
    const other = await connect(await place.dial());
    const held = other.service(Bytes).one(new Uint8Array(1.5 * MIB));
    await until(() => server.stats().heldBytes >= limits.serverHeldBytes, "a server without room");
    take.resolve();
    await taken.promise;
    const second = Array.fromAsync(service.both([X]));
    await turn();
    gate.open();
    await held;
    await soon(Promise.all([first, second]), "what was not read");
    await Promise.all([client, other].map((client) => client[Symbol.asyncDispose]()));
    await server.shutdown();
  },
);
