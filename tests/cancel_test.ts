// Calls that are given up: what their handlers are told, in all four kinds, however it comes to it.

import {
  connect,
  createConnectionPair,
  type Interceptor,
  serve,
  type ServiceHandlers,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import type { Limits } from "../limits.ts";
import type { HandlerContext, Messages } from "../service.ts";
import { Code, RpcError } from "../status.ts";
import { Bytes, pass, type Place, testEverywhere } from "./everywhere.ts";
import { soon, turn, until } from "./wait.ts";

type Handlers = ServiceHandlers<typeof Bytes>;

const X = Uint8Array.of(1);

/** How a call is given up, and with what its handler is told. */
const WAYS = ["abort", "deadline", "the source throws", "break", "disposal"] as const;
type Way = (typeof WAYS)[number];

/** Handlers that wait until they are told that their call is over, and note what they see. */
function waiting(): { handlers: Handlers; begun: PromiseWithResolvers<void>; seen: string[] } {
  const begun = Promise.withResolvers<void>();
  const seen: string[] = [];
  const told = async ({ signal }: HandlerContext) => {
    begun.resolve();
    if (!signal.aborted) {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
    }
    const { name, message, code } = signal.reason;
    seen.push(name === "TimeoutError" ? `${name}: ${message}` : `signal: ${Code[code]}`);
  };
  const all = async (messages: Messages<Uint8Array>) => {
    try {
      for await (const _ of messages) begun.resolve();
      seen.push("all messages");
    } catch (error) {
      seen.push(`messages: ${error instanceof RpcError ? Code[error.code] : error}`);
    }
  };
  const handlers: Handlers = {
    one: async (_, context) => {
      await told(context);
      return X;
    },
    async *down(_, context) {
      try {
        yield X;
        yield X;
        await told(context);
      } finally {
        seen.push("finally");
      }
    },
    up: async (messages, context) => {
      await Promise.all([all(messages), told(context)]);
      return X;
    },
    async *both(messages, context) {
      try {
        yield X;
        yield X;
        await Promise.all([all(messages), told(context)]);
      } finally {
        seen.push("finally");
      }
    },
  };
  return { handlers, begun, seen };
}

function serveBytes(place: Place, handlers: Partial<Handlers>, rest: {
  limits?: Partial<Limits>;
  extensions?: boolean;
  interceptors?: typeof pass[];
} = {}) {
  const none = () => Promise.reject(new RpcError(Code.UNIMPLEMENTED, "not in this test"));
  const all = { one: none, down: none, up: none, both: none, ...handlers } as unknown as Handlers;
  return serve({ listener: place.listen(), ...rest }, (router) => router.service(Bytes, all));
}

const KINDS = ["one", "down", "up", "both"] as const;

/** What can be done to a call of a kind. */
function waysOf(kind: (typeof KINDS)[number]): Way[] {
  return WAYS.filter((way) =>
    way === "abort" || way === "deadline" ||
    (way === "the source throws"
      ? kind === "up" || kind === "both"
      : kind === "down" || kind === "both")
  );
}

for (const kind of KINDS) {
  for (const way of waysOf(kind)) {
    for (const intercepted of [false, true]) {
      const how = `${way}${intercepted ? ", through interceptors" : ""}`;
      testEverywhere(
        `a handler of "${kind}" is told that its call was given up by ${how}`,
        async (place) => {
          const { handlers, begun, seen } = waiting();
          const interceptors = intercepted ? [pass] : [];
          const server = serveBytes(place, handlers, { interceptors });
          const client = await connect(await place.dial(), { interceptors });
          const service = client.service(Bytes);
          const controller = new AbortController();
          const options = way === "deadline" ? { timeoutMs: 20 } : { signal: controller.signal };
          const stopped: string[] = [];
          const broken = Promise.withResolvers<never>();
          const source = (async function* () {
            try {
              yield X;
              await broken.promise;
            } finally {
              stopped.push("source");
            }
          })();
          broken.promise.catch(() => {});
          const giveUp = async () => {
            await soon(begun.promise, "the handler");
            await turn();
            if (way === "abort") controller.abort();
            if (way === "the source throws") broken.reject(new Error("the disk is gone"));
          };
          if (kind === "one" || kind === "up") {
            const call = kind === "one" ? service.one(X, options) : service.up(source, options);
            await Promise.all([rejects(call, RpcError), giveUp()]);
          } else {
            const stream = kind === "down"
              ? service.down(X, options)
              : service.both(source, options);
            await stream.next();
            await giveUp();
            if (way === "break") { for await (const _ of stream) break; }
            else if (way === "disposal") await stream[Symbol.asyncDispose]();
            else await rejects(Array.fromAsync(stream), RpcError);
          }
          const done = kind === "one" || kind === "down" ? 0 : 1;
          const after = kind === "down" || kind === "both" ? 1 : 0;
          await until(() => seen.length === 1 + done + after, "the handler is told");
          const reason = way === "deadline"
            ? "TimeoutError: the deadline has passed"
            : "signal: CANCELLED";
          const messages = `messages: ${way === "deadline" ? "DEADLINE_EXCEEDED" : "CANCELLED"}`;
          deepEqual(
            seen.toSorted(),
            [reason, ...done ? [messages] : [], ...after ? ["finally"] : []].toSorted(),
          );
          equal(server.stats().callsInFlight, 0);
          broken.reject(new Error("the end of the test"));
          if (done) await until(() => stopped.length === 1, "the source is told");
          equal(client.stats().callsInFlight, 0);
          await client[Symbol.asyncDispose]();
          await server.shutdown();
        },
      );
    }
  }
}

const EXTENSIONS: [client: boolean, server: boolean][] = [[false, true], [true, false]];
for (const [clients, servers] of EXTENSIONS) {
  const who = clients ? "server" : "client";
  testEverywhere(
    `an upload that is given up looks like one that has ended to a ${who} without extensions`,
    async (place) => {
      const { handlers, begun, seen } = waiting();
      const server = serveBytes(place, handlers, { extensions: servers });
      const client = await connect(await place.dial(), { extensions: clients });
      const controller = new AbortController();
      const endless = (async function* () {
        yield X;
        await new Promise(() => {});
      })();
      const call = client.service(Bytes).up(endless, { signal: controller.signal });
      await soon(begun.promise, "the handler");
      controller.abort();
      await rejects(call, { code: Code.CANCELLED });
      await until(() => seen.length > 0, "the handler is told");
      deepEqual(seen, ["all messages"]);
      equal(server.stats().callsInFlight, 1); // nothing else has told it
      client.close();
      await until(() => seen.length === 2, "the signal");
      await server.shutdown();
    },
  );
}

testEverywhere(
  "an upload that had ended when its call was given up is whole to its handler",
  async (place) => {
    const { handlers, seen } = waiting();
    const server = serveBytes(place, handlers);
    const client = await connect(await place.dial());
    const controller = new AbortController();
    const call = client.service(Bytes).up([X, X], { signal: controller.signal });
    await until(() => seen.length === 1, "all messages");
    controller.abort();
    await rejects(call, { code: Code.CANCELLED });
    await until(() => seen.length === 2, "the signal");
    deepEqual(seen, ["all messages", "signal: CANCELLED"]);
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  },
);

testEverywhere("a proxy passes on that a call was given up, in all four kinds", async (place) => {
  const { handlers, seen } = waiting();
  const server = serveBytes(place, handlers);
  const back = await connect(await place.dial());
  const socket = createConnectionPair();
  const proxy = serve(
    { connection: socket[1] },
    (router) => router.service(Bytes, back.service(Bytes)),
  );
  const client = await connect(socket[0]);
  const service = client.service(Bytes);
  const controller = new AbortController();
  const options = { signal: controller.signal };
  const endless = () =>
    (async function* () {
      yield X;
      await new Promise(() => {});
    })();
  const calls = [
    service.one(X, options),
    service.up(endless(), options),
    Array.fromAsync(service.down(X, options)),
    Array.fromAsync(service.both(endless(), options)),
  ];
  await until(() => server.stats().callsInFlight === 4, "four calls");
  await turn();
  controller.abort();
  for (const { status } of await Promise.allSettled(calls)) equal(status, "rejected");
  await until(() => seen.length === 8, "the handlers are told");
  const counts = Object.groupBy(seen, (what) => what);
  deepEqual(
    Object.entries(counts).map(([what, all]) => `${all!.length} ${what}`).sort(),
    ["2 finally", "2 messages: CANCELLED", "4 signal: CANCELLED"],
  );
  await until(() => proxy.stats().callsInFlight + server.stats().callsInFlight === 0, "the end");
  for (const each of [client, back]) await each[Symbol.asyncDispose]();
  await proxy.finished;
  await server.shutdown();
});

/** A server whose room the call 1 takes all of, until it is given up or let go. */
async function crowded(place: Place) {
  const begun: number[] = [];
  const gate = Promise.withResolvers<void>();
  const one = async ([name]: Uint8Array, { signal }: HandlerContext) => {
    begun.push(name!);
    if (name === 1) {
      const aborted = new Promise<void>((resolve) =>
        signal.addEventListener("abort", () => resolve())
      );
      await Promise.race([gate.promise, aborted]);
    }
    return X;
  };
  const limits = { messageBytes: 64 << 10, heldBytes: 64 << 10 };
  const server = serveBytes(place, { one }, { limits });
  const client = await connect(await place.dial());
  const call = (name: number, length: number, signal?: AbortSignal) =>
    client.service(Bytes).one(new Uint8Array(length).fill(name), { signal });
  const controller = new AbortController();
  const first = call(1, 60_000, controller.signal);
  await until(() => begun.length === 1, "the first call");
  const end = async () => {
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  };
  return { begun, gate, server, call, first, controller, end };
}

testEverywhere(
  "a call that waits to be begun is not begun when it is given up",
  async (place) => {
    const { begun, gate, server, call, first, end } = await crowded(place);
    const controller = new AbortController();
    // Behind it one that also waits, and was not even looked at.
    const given = [2, 3].map((name) => call(name, 1, controller.signal));
    const last = call(4, 1);
    await turn();
    controller.abort();
    for (const each of given) await rejects(each, { code: Code.CANCELLED });
    await new Promise((resolve) => setTimeout(resolve, 20));
    gate.resolve();
    await first;
    await last;
    deepEqual(begun, [1, 4]);
    await until(() => server.stats().heldBytes === 0, "the room that is given back");
    const { callsStarted, callsFailed } = server.stats();
    deepEqual([callsStarted, callsFailed], [4, { CANCELLED: 2 }]);
    await end();
  },
);

for (
  const [what, behind] of [
    ["one call waits", [60_000]],
    ["much is behind the one that waits", [10_000, 10_000, 10_000]],
  ] as const
) {
  testEverywhere(`a call that is given up makes room when ${what}`, async (place) => {
    const { begun, call, first, controller, end } = await crowded(place);
    const others = behind.map((length, at) => call(at + 2, length));
    await new Promise((resolve) => setTimeout(resolve, 20));
    deepEqual(begun, [1]);
    controller.abort();
    await rejects(first, { code: Code.CANCELLED });
    await soon(Promise.all(others), "the others");
    deepEqual(begun, [1, ...behind.map((_, at) => at + 2)]);
    await end();
  });
}

testEverywhere(
  "calls that are made and given up without end run no more handlers than are allowed",
  async (place) => {
    const gate = Promise.withResolvers<void>();
    let running = 0;
    let most = 0;
    const one = async () => {
      most = Math.max(most, ++running);
      await gate.promise; // heeds no signal
      running--;
      return X;
    };
    const server = serveBytes(place, { one }, { limits: { concurrentCalls: 10 } });
    const client = await connect(await place.dial());
    const service = client.service(Bytes);
    for (let i = 0; i < 200; i++) {
      const controller = new AbortController();
      const failed = rejects(service.one(X, { signal: controller.signal }), RpcError);
      await turn();
      controller.abort();
      await failed;
    }
    await rejects(service.one(X), { code: Code.RESOURCE_EXHAUSTED });
    equal(most, 10);
    equal(server.stats().callsInFlight, 0);
    gate.resolve();
    await until(() => running === 0, "the handlers");
    await service.one(X);
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  },
);

testEverywhere(
  "a call that is refused can be given up while interceptors are told",
  async (place) => {
    const seen: string[] = [];
    const slow: Interceptor = (next) => async (request) => {
      const signal = request.signal!;
      if (!signal.aborted) {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      }
      seen.push(Code[signal.reason.code]!);
      return await next(request);
    };
    const server = serveBytes(place, {}, { interceptors: [slow] });
    const client = await connect(await place.dial());
    const controller = new AbortController();
    const call = client.callRaw("test.Bytes", "Unknown", X, { signal: controller.signal });
    await until(() => server.stats().callsStarted === 1, "the call");
    controller.abort();
    await rejects(call, { code: Code.CANCELLED });
    await until(() => seen.length === 1, "the interceptor");
    deepEqual(seen, ["CANCELLED"]);
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  },
);

Deno.test("a call whose deadline passes while it is under way ends with one code on each side", async () => {
  const [near, far] = createConnectionPair();
  const ends: unknown[] = [];
  const server = serve({ connection: far }, (router) =>
    router.service(Bytes, {
      ...waiting().handlers,
      one: async (_, { signal }) => {
        signal.addEventListener("abort", () => ends.push(signal.reason.name));
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return X;
      },
    }));
  const client = await connect(near);
  const service = client.service(Bytes);
  const calls = Array.from({ length: 200 }, (_, i) => service.one(X, { timeoutMs: 1 + i % 7 }));
  for (const result of await Promise.allSettled(calls)) {
    equal((result as PromiseRejectedResult).reason.code, Code.DEADLINE_EXCEEDED);
  }
  await until(() => server.stats().callsStarted === 200, "all calls");
  await until(() => server.stats().callsInFlight === 0, "the end of all");
  deepEqual(server.stats().callsFailed, { DEADLINE_EXCEEDED: 200 });
  ok(ends.every((name) => name === "TimeoutError"), ends.join());
  await client[Symbol.asyncDispose]();
  await server.finished;
});

testEverywhere(
  "interceptors of refused calls count until they have settled, though their calls are given up",
  async (place) => {
    const gate = Promise.withResolvers<void>();
    let running = 0;
    let most = 0;
    const slow: Interceptor = (next) => async (request) => {
      most = Math.max(most, ++running);
      await gate.promise;
      running--;
      return await next(request);
    };
    const server = serveBytes(place, {}, { interceptors: [slow], limits: { concurrentCalls: 5 } });
    const client = await connect(await place.dial());
    for (let i = 0; i < 50; i++) {
      const controller = new AbortController();
      const call = client.callRaw("test.Bytes", "Unknown", X, { signal: controller.signal });
      const failed = rejects(call, RpcError);
      await turn();
      controller.abort();
      await failed;
    }
    await rejects(client.callRaw("test.Bytes", "Unknown", X), { code: Code.UNIMPLEMENTED });
    equal(most, 5);
    gate.resolve();
    await until(() => running === 0 && server.stats().heldBytes === 0, "the interceptors");
    await client[Symbol.asyncDispose]();
    await server.shutdown();
  },
);
