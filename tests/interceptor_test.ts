// What interceptors see, and what they can do.

import { type InterceptedRequest, type Interceptor, Metadata, RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Code } from "../status.ts";
import { aborted, TestBed } from "./fixture.ts";

function recording(name: string, log: string[]): Interceptor {
  return (next) => async (request) => {
    log.push(`${name} > ${request.method.name}`);
    try {
      return await next(request);
    } finally {
      log.push(`${name} < ${request.method.name}`);
    }
  };
}

Deno.test("interceptors stand around calls of all kinds, the first outermost, on both sides", async () => {
  const log: string[] = [];
  await using bed = new TestBed({}, {
    interceptors: [recording("c", log), recording("d", log)],
  });
  const service = await bed.service({ interceptors: [recording("a", log), recording("b", log)] });
  await service.nothing({});
  deepEqual(log.splice(0), [
    "a > Nothing",
    "b > Nothing",
    "c > Nothing",
    "d > Nothing",
    "d < Nothing",
    "c < Nothing",
    "b < Nothing",
    "a < Nothing",
  ]);
  equal((await Array.fromAsync(service.count({ count: 2 }))).length, 2);
  equal((await service.sum([{ value: 1n }, { value: 2n }])).value, 3n);
  equal((await Array.fromAsync(service.chat([{ text: "x" }])))[0]!.text, "x");
  for (const name of ["Count", "Sum", "Chat"]) {
    equal(log.filter((line) => line.endsWith(name)).length, 8);
  }
});

Deno.test("an interceptor is made once for each method, and runs for each call", async () => {
  let made = 0;
  let run = 0;
  const counting: Interceptor = (next) => {
    made++;
    return (request) => {
      run++;
      return next(request);
    };
  };
  await using bed = new TestBed();
  const service = await bed.service({ interceptors: [counting] });
  const before = made;
  await service.nothing({});
  await service.nothing({});
  deepEqual([made, run], [before, 2]);
});

Deno.test("an interceptor sees what is called, and can change metadata, deadline and message", async () => {
  const seen: InterceptedRequest[] = [];
  const change: Interceptor = (next) => async (request) => {
    seen.push(request);
    if (request.kind !== "unary") return await next(request);
    request.metadata.append("added", "in place");
    const metadata = request.metadata.clone();
    metadata.append("added", "by replacement");
    const message = { text: "changed" };
    const response = await next({ ...request, metadata, timeoutMs: 30_000, message });
    return { ...response, kind: "unary", message: { text: "changed back" } };
  };
  let left: number | undefined;
  await using bed = new TestBed({
    echo: ({ text }, { metadata, timeoutMs }) => {
      left = timeoutMs;
      equal(text, "changed");
      deepEqual([...metadata], [
        ["k", "v"],
        ["added", "in place"],
        ["added", "by replacement"],
      ]);
      return {};
    },
  });
  const service = await bed.service({ interceptors: [change] });
  const metadata = new Metadata({ k: "v" });
  const { text } = await service.echo({ text: "original" }, { metadata, timeoutMs: 60_000 });
  equal(text, "changed back");
  equal(metadata.size, 1); // the caller's own is left alone
  ok(left! <= 30_000 && left! > 20_000);
  const { method, timeoutMs, kind, message } = seen[0]!;
  deepEqual([method.service, method.name, method.path, method.kind, method.idempotent], [
    "ttrpc.test.v1.TestService",
    "Echo",
    "ttrpc.test.v1.TestService/Echo",
    "unary",
    false,
  ]);
  deepEqual([timeoutMs, kind, message], [60_000, "unary", { text: "original" }]);
});

Deno.test("an interceptor can change the messages of streams, both ways", async () => {
  const shout: Interceptor = (next) => async (request) => {
    if (request.kind !== "bidi_streaming") return await next(request);
    const message = mapped(request.message, "!");
    const response = await next({ ...request, message });
    if (response.kind !== "bidi_streaming") throw new Error("another kind");
    return { ...response, message: mapped(response.message, "?") };
  };
  async function* mapped(messages: AsyncIterable<unknown> | Iterable<unknown>, end: string) {
    for await (const message of messages) yield { text: (message as { text: string }).text + end };
  }
  await using bed = new TestBed();
  const service = await bed.service({ interceptors: [shout] });
  const chat = service.chat([{ text: "a" }, { text: "b" }]);
  deepEqual((await Array.fromAsync(chat)).map(({ text }) => text), ["a!?", "b!?"]);
});

Deno.test("an interceptor can answer by itself, and refuse", async () => {
  await using bed = new TestBed({}, {
    interceptors: [(next) => async (request) => {
      if (request.metadata.get("token") !== "secret") {
        throw new RpcError(Code.UNAUTHENTICATED, "show your token");
      }
      return await next(request);
    }],
  });
  const cached: Interceptor = (next) => async (request) =>
    request.kind === "unary" && request.method.name === "Echo"
      ? { kind: "unary", message: { text: "from the cache" } }
      : await next(request);
  const service = await bed.service({ interceptors: [cached] });
  equal((await service.echo({})).text, "from the cache");
  await rejects(service.nothing({}), { code: Code.UNAUTHENTICATED });
  await rejects(Array.fromAsync(service.count({ count: 1 })), { code: Code.UNAUTHENTICATED });
  await service.nothing({}, { metadata: { token: "secret" } });
  equal(bed.server.stats().callsFailed["UNAUTHENTICATED"], 2);
});

Deno.test("a server's interceptor can shorten the deadline, which is kept", async () => {
  const over = Promise.withResolvers<unknown>();
  await using bed = new TestBed({
    sleep: async (_request, { signal, timeoutMs }) => {
      ok(timeoutMs! <= 20);
      over.resolve(await aborted(signal));
      return {};
    },
  }, { interceptors: [(next) => (request) => next({ ...request, timeoutMs: 20 })] });
  const service = await bed.service();
  await rejects(service.sleep({}, { timeoutMs: 60_000 }), { code: Code.DEADLINE_EXCEEDED });
  await over.promise;
});

Deno.test("values of a connection are set by an interceptor and read by handlers", async () => {
  const user = Symbol("user");
  const seen: unknown[] = [];
  await using bed = new TestBed({
    nothing: (_request, { connection }) => {
      seen.push(connection.values.get(user));
      return {};
    },
  }, {
    interceptors: [(next) => (request) => {
      const name = request.metadata.get("login");
      if (name !== undefined) request.context!.connection.values.set(user, name);
      return next(request);
    }],
  });
  const [one, two] = [await bed.service(), await bed.service()];
  await one.nothing({}, { metadata: { login: "ada" } });
  await two.nothing({});
  await one.nothing({});
  deepEqual(seen, ["ada", undefined, "ada"]);
});

Deno.test("an interceptor that loses the context or throws fails its call only", async () => {
  await using bed = new TestBed({}, {
    interceptors: [(next) => (request) => {
      const { context: _, ...rest } = request;
      return next(request.metadata.has("lose") ? rest as InterceptedRequest : request);
    }],
  });
  const broken: Interceptor = (next) => (request) => {
    if (request.metadata.has("throw")) throw new Error("a bug");
    return next(request);
  };
  const service = await bed.service({ interceptors: [broken] });
  await rejects(service.nothing({}, { metadata: { lose: "" } }), {
    code: Code.UNKNOWN,
    rawMessage:
      "Cannot serve ttrpc.test.v1.TestService/Nothing: an interceptor has to pass on its " +
      "request, or a copy with the same context",
  });
  await rejects(service.nothing({}, { metadata: { throw: "" } }), {
    code: Code.UNKNOWN,
    message: "ttrpc.test.v1.TestService/Nothing: UNKNOWN: a bug",
  });
  await rejects(Array.fromAsync(service.count({}, { metadata: { throw: "" } })), /a bug/);
  await service.nothing({});
});
