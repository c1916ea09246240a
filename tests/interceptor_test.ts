import {
  bytesCodec,
  connect,
  type InterceptedRequest,
  type Interceptor,
  Metadata,
  RpcError,
  serve,
  type ServiceDescriptor,
} from "@ttrpc/ttrpc";
import { type LogEntry, logger } from "@ttrpc/ttrpc/logger";
import { retry } from "@ttrpc/ttrpc/retry";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, SocketFolder, TestBed } from "./fixture.ts";

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
    rawMessage: "An interceptor of ttrpc.test.v1.TestService/Nothing has left out " +
      "the request's context",
  });
  await rejects(service.nothing({}, { metadata: { throw: "" } }), {
    code: Code.UNKNOWN,
    message: "ttrpc.test.v1.TestService/Nothing: UNKNOWN: a bug",
  });
  await rejects(Array.fromAsync(service.count({}, { metadata: { throw: "" } })), /a bug/);
  await service.nothing({});
});

Deno.test("leaving an intercepted stream releases the call", async () => {
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      yield { value: 1n };
      await aborted(signal);
    },
  });
  const log: LogEntry[] = [];
  const client = await bed.connect({ interceptors: [logger((entry) => void log.push(entry))] });
  const service = client.service(TestService);
  for await (const _ of service.count({})) break;
  const early = service.count({});
  await early.return();
  deepEqual(await early.next(), { done: true, value: undefined });
  await using disposed = service.count({});
  equal((await disposed.next()).value.value, 1n);
  const thrown = service.count({});
  await rejects(thrown.throw(new Error("enough")), /enough/);
  await disposed.return();
  const { openStreams, callsInFlight } = client.stats();
  deepEqual([openStreams, callsInFlight], [0, 0]);
});

const stuck: Interceptor = () => () => new Promise(() => {});

Deno.test("a call ends although an interceptor never does", async () => {
  await using bed = new TestBed();
  const client = await bed.connect({ interceptors: [stuck] });
  const service = client.service(TestService);
  const late = { code: Code.DEADLINE_EXCEEDED };
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = [
    rejects(service.nothing({}, { signal }), { code: Code.CANCELLED }),
    rejects(service.count({}, { signal }).next(), { code: Code.CANCELLED }),
  ];
  await rejects(service.nothing({}, { timeoutMs: 20 }), late);
  await rejects(service.count({}, { timeoutMs: 20 }).next(), late);
  controller.abort();
  await Promise.all(aborted);
  const stream = service.count({});
  const next = stream.next();
  await stream.return();
  deepEqual(await next, { done: true, value: undefined });
  const closed = [
    rejects(service.nothing({}), { code: Code.CANCELLED }),
    rejects(service.count({}).next(), { code: Code.CANCELLED }),
  ];
  client.close();
  await Promise.all(closed);
});

Deno.test("a stream that waits can be left, with and without interceptors, on both sides", async () => {
  const left = Promise.withResolvers<IteratorResult<unknown>>();
  await using bed = new TestBed({
    async *count(_request, { signal }) {
      await aborted(signal);
      yield {};
    },
    sum: async (requests) => {
      const next = requests.next();
      await requests.return();
      left.resolve(await next);
      return {};
    },
  });
  for (const interceptors of [[], [logger(() => {})]]) {
    const service = await bed.service({ interceptors });
    const stream = service.count({});
    const next = stream.next();
    await stream.return();
    deepEqual(await next, { done: true, value: undefined });
    await service.sum(new ReadableStream());
    deepEqual(await left.promise, { done: true, value: undefined });
  }
});

Deno.test("an intercepted stream that fails lets go of its signal", async () => {
  await using bed = new TestBed();
  const failing: Interceptor = (next) => async (request) => {
    if (request.metadata.has("throw")) throw new RpcError(Code.ABORTED, "no");
    return await next(request);
  };
  const service = await bed.service({ interceptors: [failing] });
  for (const metadata of [{ throw: "" }, {}]) {
    const { signal } = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...parameters: Parameters<typeof addEventListener>) => {
      listeners++;
      addEventListener.apply(signal, parameters);
    };
    signal.removeEventListener = (...parameters: Parameters<typeof removeEventListener>) => {
      listeners--;
      removeEventListener.apply(signal, parameters);
    };
    const unfit = (async function* () {
      yield { text: "x" };
      throw new RpcError(Code.ABORTED, "broken");
    })();
    const stream = service.chat(unfit, { metadata, signal });
    equal(listeners, 1);
    // Not in a loop that would call return() at the end.
    const all = async () => {
      while (!(await stream.next()).done);
    };
    await rejects(all, { code: Code.ABORTED });
    equal(listeners, 0);
  }
});

Deno.test("logger() tells once of a stream that was left before its first message", async () => {
  const log: LogEntry[] = [];
  await using bed = new TestBed();
  const service = await bed.service({ interceptors: [logger((entry) => void log.push(entry))] });
  await service.count({ count: 3 }).return();
  while (log.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  deepEqual(log.map(({ code, responses }) => [code, responses]), [[Code.CANCELLED, 0]]);
});

Deno.test("logger() tells of each call when it has ended", async () => {
  const near: LogEntry[] = [];
  const far: LogEntry[] = [];
  await using bed = new TestBed({}, { interceptors: [logger((entry) => void far.push(entry))] });
  const service = await bed.service({ interceptors: [logger((entry) => void near.push(entry))] });
  await service.nothing({});
  await Array.fromAsync(service.count({ count: 3 }));
  await service.sum([{ value: 1n }, { value: 2n }]);
  await Array.fromAsync(service.chat([{}, {}]));
  await rejects(service.fail({ code: 5, message: "no" }));
  for await (const _ of service.count({ count: 10 })) break;
  for (const log of [near, far]) {
    const entries = log.slice(0, 5).map(({ method, kind, code, requests, responses }) =>
      `${method.split("/")[1]} ${kind} ${Code[code]} ${requests} ${responses}`
    );
    deepEqual(entries, [
      "Nothing unary OK 1 1",
      "Count server_streaming OK 1 3",
      "Sum client_streaming OK 2 1",
      "Chat bidi_streaming OK 2 2",
      "Fail unary NOT_FOUND 1 0",
    ]);
    ok(log.every(({ durationMs }) => durationMs >= 0));
    ok(log[4]!.error instanceof RpcError);
    equal("error" in log[0]!, false);
  }
  deepEqual([near[5]!.code, near[5]!.responses], [Code.CANCELLED, 1]);
});

Deno.test("logger() tells of a stream that fails on its way", async () => {
  const log: LogEntry[] = [];
  await using bed = new TestBed({
    async *count() {
      yield { value: 1n };
      throw new RpcError(Code.DATA_LOSS, "gone");
    },
  });
  const service = await bed.service({ interceptors: [logger((entry) => void log.push(entry))] });
  await rejects(Array.fromAsync(service.count({})), { code: Code.DATA_LOSS });
  equal(log.length, 1);
  deepEqual([log[0]!.code, log[0]!.responses], [Code.DATA_LOSS, 1]);
});

const unary = { methodKind: "unary", input: bytesCodec, output: bytesCodec } as const;
const Flaky = {
  typeName: "flaky.Service",
  method: {
    read: { ...unary, name: "Read", idempotency: 1 },
    put: { ...unary, name: "Put", idempotency: 2 },
    add: { ...unary, name: "Add" },
  },
} as const satisfies ServiceDescriptor;

/** A service that fails a number of times before it answers. */
async function flaky(failures: number, code: Code, options: Parameters<typeof retry>[0]) {
  const socket = new SocketFolder();
  const calls: number[] = [];
  const answer = (request: Uint8Array, { timeoutMs = NaN }: { timeoutMs: number | undefined }) => {
    calls.push(timeoutMs);
    if (calls.length <= failures) throw new RpcError(code, `failure ${calls.length}`);
    return request;
  };
  const server = serve(
    { path: socket.path },
    (router) => router.service(Flaky, { read: answer, put: answer, add: answer }),
  );
  const client = await connect({ path: socket.path }, { interceptors: [retry(options)] });
  return {
    calls,
    service: client.service(Flaky),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      socket[Symbol.dispose]();
    },
  };
}

const request = new Uint8Array([1]);

Deno.test("retry() calls an idempotent method again until it answers", async () => {
  for (const name of ["read", "put"] as const) {
    await using bed = await flaky(2, Code.UNAVAILABLE, { initialDelayMs: 1 });
    deepEqual(await bed.service[name](request), request);
    equal(bed.calls.length, 3);
  }
});

Deno.test("retry() gives up after its attempts, with the last error", async () => {
  await using bed = await flaky(9, Code.UNAVAILABLE, { attempts: 4, initialDelayMs: 0 });
  await rejects(bed.service.read(request), { rawMessage: "failure 4" });
});

Deno.test("retry() calls a method that is not idempotent, or fails otherwise, once", async () => {
  await using add = await flaky(9, Code.UNAVAILABLE, { initialDelayMs: 0 });
  await rejects(add.service.add(request), { rawMessage: "failure 1" });
  await using other = await flaky(9, Code.ABORTED, { initialDelayMs: 0 });
  await rejects(other.service.read(request), { rawMessage: "failure 1" });
  await using chosen = await flaky(1, Code.ABORTED, { initialDelayMs: 0, codes: [Code.ABORTED] });
  await chosen.service.read(request);
});

Deno.test("retry() keeps the deadline over all attempts, and does not wait past it", async () => {
  await using bed = await flaky(9, Code.UNAVAILABLE, { attempts: 3, initialDelayMs: 10 });
  await rejects(bed.service.read(request, { timeoutMs: 60_000 }), { rawMessage: "failure 3" });
  ok(bed.calls[0]! > bed.calls[1]! && bed.calls[1]! > bed.calls[2]!, `${bed.calls}`);
  await using long = await flaky(9, Code.UNAVAILABLE, { initialDelayMs: 1e6, maxDelayMs: 1e6 });
  await rejects(long.service.read(request, { timeoutMs: 5_000 }), { rawMessage: "failure 1" });
});

Deno.test("retry() stops when its call is aborted in a pause", async () => {
  await using bed = await flaky(9, Code.UNAVAILABLE, { initialDelayMs: 1e6, maxDelayMs: 1e6 });
  const controller = new AbortController();
  const call = rejects(bed.service.read(request, { signal: controller.signal }), {
    code: Code.CANCELLED,
  });
  while (bed.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  controller.abort();
  await call;
});

Deno.test("retry() refuses options that make no sense", () => {
  for (
    const options of [{ attempts: 0 }, { attempts: 1.5 }, { initialDelayMs: -1 }, {
      maxDelayMs: NaN,
    }]
  ) {
    throws(() => retry(options), RangeError);
  }
});
