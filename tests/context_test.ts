// A handler's context is the same kind of object, whatever the handler's signature.

import {
  bytesCodec,
  type Client,
  connect,
  createConnectionPair,
  type HandlerContext,
  Metadata,
  type MethodKind,
  serve,
  type ServeOptions,
  type ServiceDescriptor,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, notEqual, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted } from "./fixture.ts";
import { callOf, handlersThat, INTERCEPTORS, KINDS } from "./kinds.ts";
import { Place, TRANSPORTS } from "./place.ts";
import { until } from "./wait.ts";

const MEMBERS = ["connection", "metadata", "method", "service", "signal", "timeoutMs"];

const bytes = { input: bytesCodec, output: bytesCodec };
const S = {
  typeName: "S",
  method: {
    unary: { ...bytes, name: "Unary", methodKind: "unary" },
    server_streaming: { ...bytes, name: "ServerStreaming", methodKind: "server_streaming" },
    client_streaming: { ...bytes, name: "ClientStreaming", methodKind: "client_streaming" },
    bidi_streaming: { ...bytes, name: "BidiStreaming", methodKind: "bidi_streaming" },
  },
} as const satisfies ServiceDescriptor;

type AnyHandler = (request: unknown, context: HandlerContext) => unknown;

const other = {} as HandlerContext;

/** Handlers of all signatures. Each shows the arguments that it has got, and answers. */
const SIGNATURES: Readonly<Record<string, (see: (...given: unknown[]) => unknown) => AnyHandler>> =
  {
    "(request, context)": (see) => (request, context) => see(request, context),
    "(request, ...rest)": (see) => (request, ...rest) => see(request, ...rest),
    "(...all)": (see) => (...all) => see(...all),
    "(request, context = x)": (see) => (request, context = other) => see(request, context),
    "(request = x, context)": (see) => (request = other, context) => see(request, context),
    "(request, { ...context })": (see) => (request, { ...context }) => see(request, context),
    "a function that uses arguments": (see) =>
      function () {
        return see(...arguments);
      },
    "a bound function": (see) =>
      function (request: unknown, context: HandlerContext) {
        return see(request, context);
      }.bind(null),
    "an async function": (see) => async (request, ...rest) => await see(request, ...rest),
  };

const answer = new Uint8Array([7]);

/** What a handler of a kind returns. */
function answerOf(kind: MethodKind): unknown {
  return kind === "unary" || kind === "client_streaming" ? answer : [answer];
}

/** A server whose handlers have one signature, and a client. */
async function serving(handlers: Record<string, AnyHandler>, settings: ServeOptions = {}) {
  const [near, far] = createConnectionPair();
  const server = serve(
    { ...settings, connection: far },
    (router) => router.service(S, handlers as never),
  );
  const client = await connect(near);
  return {
    client,
    async [Symbol.asyncDispose]() {
      client.close();
      await client.finished;
      await server.finished;
    },
  };
}

async function call(client: Client, kind: MethodKind): Promise<void> {
  const service = client.service(S);
  const options = { timeoutMs: 60_000, metadata: { user: "ada" } };
  const got = kind === "unary"
    ? [await service.unary(answer, options)]
    : kind === "client_streaming"
    ? [await service.client_streaming([answer], options)]
    : kind === "server_streaming"
    ? await Array.fromAsync(service.server_streaming(answer, options))
    : await Array.fromAsync(service.bidi_streaming([answer], options));
  deepEqual(got, [answer]);
}

/** Checks that an object has all that belongs to a context. */
function check(context: HandlerContext, name: string): void {
  equal(context.service, "S");
  equal(context.method, name);
  ok(context.signal instanceof AbortSignal);
  ok(context.timeoutMs! > 0 && context.timeoutMs! <= 60_000);
  ok(context.metadata instanceof Metadata);
  equal(context.metadata.get("user"), "ada");
  ok(context.connection.values instanceof Map);
}

for (const [signature, make] of Object.entries(SIGNATURES)) {
  for (const [how, interceptors] of Object.entries(INTERCEPTORS)) {
    Deno.test(`a handler ${signature} gets a whole context, ${how}`, async () => {
      let checked = 0;
      const handlers: Record<string, AnyHandler> = {};
      for (const kind of KINDS) {
        handlers[kind] = make((...given) => {
          equal(given.length, 2);
          const context = given[1] as HandlerContext;
          const { name } = S.method[kind];
          check(context, name);
          deepEqual(Object.keys(context).toSorted(), MEMBERS);
          const copy = { ...context };
          deepEqual(Object.keys(copy).toSorted(), MEMBERS);
          check(copy, name);
          check(Object.assign({}, context), name);
          for (const member of MEMBERS) {
            ok(member in context);
            ok(Object.hasOwn(context, member));
          }
          checked++;
          // A handler of streams is no promise, and an async one gives its messages no other way.
          return answerOf(kind);
        });
      }
      if (signature === "an async function") {
        delete handlers["server_streaming"];
        delete handlers["bidi_streaming"];
        handlers["server_streaming"] = handlers["bidi_streaming"] = () => [answer];
        checked += 2;
      }
      await using bed = await serving(handlers, { interceptors });
      for (const kind of KINDS) await call(bed.client, kind);
      equal(checked, 4);
    });
  }
}

Deno.test("a handler that takes no context, or nothing, is called all the same", async () => {
  const takers = [() => () => 0, () => (_request: unknown) => 0];
  for (const taker of takers) {
    const handlers: Record<string, AnyHandler> = {};
    for (const kind of KINDS) {
      const take = taker();
      handlers[kind] = take.length === 0
        ? () => answerOf(kind)
        : (_request: unknown) => answerOf(kind);
    }
    await using bed = await serving(handlers);
    for (const kind of KINDS) await call(bed.client, kind);
  }
});

Deno.test("methods of a class and its parent get a whole context, and their instance", async () => {
  const seen: string[] = [];
  class Parent {
    protected readonly log = seen;
    unary(_request: Uint8Array, ...rest: HandlerContext[]) {
      return this.#note(rest[0]!, "Unary");
    }
    *server_streaming(_request: Uint8Array, context: HandlerContext) {
      yield this.#note(context, "ServerStreaming");
    }
    #note(context: HandlerContext, name: string): Uint8Array {
      check(context, name);
      check({ ...context }, name);
      this.log.push(name);
      return answer;
    }
  }
  class Child extends Parent {
    // deno-lint-ignore require-await -- one of each kind of function
    async client_streaming(_requests: unknown, context: HandlerContext = other) {
      check(context, "ClientStreaming");
      this.log.push("ClientStreaming");
      return answer;
    }
    async *bidi_streaming() {
      const context = arguments[1] as HandlerContext;
      check({ ...context }, "BidiStreaming");
      this.log.push("BidiStreaming");
      yield answer;
    }
  }
  await using bed = await serving(new Child() as never);
  for (const kind of KINDS) await call(bed.client, kind);
  deepEqual(seen, ["Unary", "ServerStreaming", "ClientStreaming", "BidiStreaming"]);
});

for (const transport of TRANSPORTS) {
  for (const [how, pass] of Object.entries({ "as it is": false, "as a copy": true })) {
    Deno.test(`a context that is passed on ${how} carries deadline, metadata and cancellation, over ${transport}`, async () => {
      const seen: [MethodKind, number | undefined, string | undefined][] = [];
      const ended: Promise<unknown>[] = [];
      await using back = new Place(transport);
      await back.serve(handlersThat(({ metadata, timeoutMs, signal }, kind) => {
        seen.push([kind, timeoutMs, metadata.get("user")]);
        const over = metadata.has("wait") ? aborted(signal) : Promise.resolve();
        ended.push(over);
        return over;
      }));
      const backend = await back.connect();
      const behind = backend.service(TestService);
      await using front = new Place(transport);
      await front.serve(
        handlersThat((context, kind) => callOf(kind, behind, pass ? { ...context } : context)),
      );
      const client = await front.connect();
      const service = client.service(TestService);
      for (const kind of KINDS) {
        await callOf(kind, service, { timeoutMs: 60_000, metadata: { user: kind } });
        const [method, left, user] = seen.pop()!;
        deepEqual([method, user], [kind, kind]);
        ok(left! > 0 && left! <= 60_000, `${left}`);
        await callOf(kind, service);
        equal(seen.pop()![1], undefined);
      }
      // The deadline passes at the first server, and so at the one behind it.
      const metadata = { wait: "", user: "ada" };
      for (const kind of KINDS) {
        const call = callOf(kind, service, { timeoutMs: 15, metadata });
        await rejects(call, { code: Code.DEADLINE_EXCEEDED });
      }
      await until(() => backend.stats().callsInFlight === 0);
      await Promise.all(ended);
      // The first client goes away, and its calls are given up one hop further.
      const calls = KINDS.map((kind) => rejects(callOf(kind, service, { metadata })));
      await until(() => backend.stats().callsInFlight === 4);
      client.close();
      await Promise.all(calls);
      await until(() => backend.stats().callsInFlight === 0);
    });
  }
}

Deno.test("a context can be shown, and shows what it has", async () => {
  const shown: string[] = [];
  await using place = new Place();
  await place.serve(handlersThat((context) => {
    shown.push(Deno.inspect(context), Deno.inspect({ ...context }), `${context}`);
    JSON.stringify({ ...context, connection: undefined });
  }));
  const service = (await place.connect()).service(TestService);
  for (const kind of KINDS) await callOf(kind, service, { metadata: { user: "ada" } });
  equal(shown.length, 12);
  for (const text of shown.slice(0, 2)) {
    ok(/Echo/.test(text) && /ada/.test(text) && /TestService/.test(text), text);
  }
});

Deno.test("two calls share nothing of their contexts but the connection", async () => {
  const contexts: HandlerContext[] = [];
  await using place = new Place();
  await place.serve(handlersThat((context) => {
    equal(context.signal.aborted, false);
    equal(context.metadata.get("mark"), undefined);
    context.metadata.set("mark", "x");
    contexts.push({ ...context });
  }));
  const service = (await place.connect()).service(TestService);
  for (const kind of KINDS) await callOf(kind, service);
  await callOf("unary", service);
  for (const [at, one] of contexts.entries()) {
    for (const two of contexts.slice(at + 1)) {
      notEqual(one.signal, two.signal);
      notEqual(one.metadata, two.metadata);
      equal(one.connection, two.connection);
    }
  }
});

Deno.test("a context is the same at every look, and cannot be changed", async () => {
  await using place = new Place();
  await place.serve(handlersThat((context) => {
    equal(context.signal, context.signal);
    equal(context.metadata, context.metadata);
    equal({ ...context }.signal, context.signal);
    for (const member of MEMBERS) {
      try {
        (context as unknown as Record<string, unknown>)[member] = "changed";
      } catch (error) {
        ok(error instanceof TypeError);
      }
      notEqual((context as unknown as Record<string, unknown>)[member], "changed");
    }
    equal(context.timeoutMs, undefined);
  }));
  const service = (await place.connect()).service(TestService);
  for (const kind of KINDS) await callOf(kind, service);
});
