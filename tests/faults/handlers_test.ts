// Handlers that throw, at every point at which they can: the call fails, and nothing else does.

import { type MessageStream, RpcError } from "@ttrpc/ttrpc";
import { equal, match, ok } from "node:assert/strict";
import { Code } from "../../status.ts";
import { TestBed, type TestHandlers } from "../fixture.ts";
import { turn, until } from "../wait.ts";

/** Marks what comes from these handlers, so that the stack can be looked for. */
class Mistake extends Error {}

function mistake(where: string): Mistake {
  return new Mistake(`mistake ${where}`, { cause: new Error("inner secret") });
}

type Messages = AsyncIterable<{ text?: string; value?: bigint }>;

/** An iterable that fails in one of its functions. */
function broken(where: "iterator" | "next" | "later" | "no result"): Messages {
  let count = 0;
  return {
    [Symbol.asyncIterator]() {
      if (where === "iterator") throw mistake(where);
      return {
        next: () => {
          if (where === "next") throw mistake(where);
          if (where === "no result") return undefined as never;
          if (count++ === 1) return Promise.reject(mistake(where));
          return Promise.resolve({ done: false, value: { text: "x", value: 1n } });
        },
        return: () => Promise.reject(mistake("in return")),
      };
    },
  };
}

const unary: Record<string, TestHandlers["nothing"]> = {
  "at once": () => {
    throw mistake("at once");
  },
  "after a while": async (_request, { signal }) => {
    void signal;
    await turn();
    throw mistake("after a while");
  },
  "a rejected promise": () => Promise.reject(mistake("a rejected promise")),
  "what is no error": () => {
    throw "a mistake that is a string";
  },
  "nothing": () => {
    throw undefined;
  },
  "an object without a prototype": () => {
    throw Object.create(null);
  },
  "an error whose message is a number": () => {
    throw Object.assign(new Mistake(), { message: 42 });
  },
  "an error whose message is an object": () => {
    throw Object.assign(new Mistake(), { message: { text: "x" } });
  },
  "an error without a message": () => {
    throw Object.assign(new Mistake(), { message: undefined });
  },
  "an error whose message throws": () => {
    throw Object.defineProperty(new Mistake(), "message", {
      get: () => {
        throw mistake("in a getter");
      },
    });
  },
  "a status": () => {
    throw new RpcError(Code.NOT_FOUND, "mistake known", { cause: new Error("inner secret") });
  },
  "an error's own code": () => {
    throw Object.assign(mistake("with a code"), { code: "ENOENT" });
  },
};

const streams: Record<string, TestHandlers["chat"]> = {
  // deno-lint-ignore require-yield
  "before the first message": async function* () {
    await Promise.resolve();
    throw mistake("before");
  },
  "between messages": async function* (requests) {
    for await (const { text } of requests) {
      yield { text };
      throw mistake("between");
    }
  },
  "while it cleans up": async function* () {
    try {
      yield { text: "x" };
      throw mistake("in the body");
    } finally {
      // deno-lint-ignore no-unsafe-finally
      throw mistake("in finally");
    }
  },
  "in place of an iterable": () => {
    throw mistake("in place");
  },
  "when asked for an iterator": () => broken("iterator"),
  "when asked for a message": () => broken("next"),
  "when asked for another message": () => broken("later"),
  "a result that is none": () => broken("no result"),
  "a message that is none": async function* () {
    yield undefined as never;
  },
};

/** Reads a stream to its end, and hands over what that was. */
function endOf(stream: MessageStream<unknown>): Promise<unknown> {
  return Array.fromAsync(stream).then(() => undefined, (error) => error);
}

function check(error: unknown, name: string): void {
  ok(error instanceof RpcError, `${name}: ${error}`);
  ok([Code.UNKNOWN, Code.NOT_FOUND, Code.INTERNAL].includes(error.code), `${name}: ${error}`);
  const { rawMessage, details, cause } = error;
  equal(/inner secret|\.ts:|\n/.test(rawMessage), false, `${name}: ${rawMessage}`);
  equal(details.length, 0, name);
  equal(cause, undefined, name);
}

Deno.test("a unary handler that throws, at whatever point, fails its own call only", async () => {
  for (const [name, nothing] of Object.entries(unary)) {
    await using bed = new TestBed({ nothing });
    const service = await bed.service();
    const other = service.sleep({ milliseconds: 5n });
    check(await service.nothing({}).catch((error) => error), name);
    await other;
    equal((await service.echo({ text: "still there" })).text, "still there", name);
    equal(bed.server.stats().openStreams, 0, name);
    for (const error of bed.errors) equal(error instanceof RpcError, false, name);
  }
});

Deno.test("a streaming handler that throws, at whatever point, fails its own call only", async () => {
  for (const [name, chat] of Object.entries(streams)) {
    await using bed = new TestBed({ chat });
    const service = await bed.service();
    const other = service.count({ count: 100 });
    check(await endOf(service.chat([{ text: "x" }])), name);
    equal((await Array.fromAsync(other)).length, 100, name);
    equal((await service.echo({ text: "still there" })).text, "still there", name);
    equal(bed.server.stats().openStreams, 0, name);
  }
});

Deno.test("a handler that throws after its call is over is heard of by onError only", async () => {
  const gate = Promise.withResolvers<void>();
  await using bed = new TestBed({
    nothing: async () => {
      await gate.promise;
      throw mistake("too late");
    },
    async *count() {
      try {
        yield { value: 1n };
        await gate.promise;
      } finally {
        // deno-lint-ignore no-unsafe-finally
        throw mistake("too late");
      }
    },
  });
  const service = await bed.service();
  const late = await service.nothing({}, { timeoutMs: 10 }).catch((error) => error);
  equal(late.code, Code.DEADLINE_EXCEEDED);
  equal(
    (await endOf(service.count({}, { timeoutMs: 10 })) as RpcError).code,
    Code.DEADLINE_EXCEEDED,
  );
  gate.resolve();
  await until(() => bed.errors.length === 2, "the errors");
  for (const error of bed.errors) match(String(error), /too late/);
  equal((await service.echo({ text: "still there" })).text, "still there");
});

Deno.test("a codec that throws fails its own call only, on either side", async () => {
  await using bed = new TestBed({
    produce: () => ({ payload: "no bytes" as never }),
    count: () => [{ value: "no number" as never }],
  });
  const service = await bed.service();
  check(await service.produce({}).catch((error) => error), "produce");
  check(await endOf(service.count({})), "count");
  const own = await service.sum([{ value: "no number" as never }]).catch((error) => error);
  ok(own instanceof RpcError && own.code === Code.INTERNAL, String(own));
  equal((await service.echo({ text: "still there" })).text, "still there");
});
