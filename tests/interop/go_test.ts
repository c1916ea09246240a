// Unary calls between us and containerd's own implementation, each side in both roles.

import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack, DurationSchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { Code, connect, type RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { Greeter } from "../../gen/greeter/v1/greeter_pb.ts";
import {
  EchoRequestSchema,
  RequestSchema,
  ResponseSchema,
  TestService,
} from "../../gen/ttrpc/test/v1/test_pb.ts";
import { aborted, testHandlers } from "../fixture.ts";
import { missingOfLinux } from "../machine.ts";
import { goCall, GoClient, GoServer, goTest } from "./peer.ts";
import { alive, MESSAGE_BYTES, OurServer } from "./services.ts";

const TOO_LONG = `message length ${
  MESSAGE_BYTES + 1
} exceed maximum message size of ${MESSAGE_BYTES}`;
const A_MINUTE = 60_000;

/** How long the payload in a message is that is as long as is allowed. */
function fit(encode: (payload: Uint8Array) => Uint8Array): number {
  const length = MESSAGE_BYTES - 100;
  return length + MESSAGE_BYTES - encode(new Uint8Array(length)).length;
}

const LONGEST_ECHO = fit((payload) =>
  toBinary(
    RequestSchema,
    create(RequestSchema, {
      service: TestService.typeName,
      method: "Echo",
      payload: toBinary(EchoRequestSchema, create(EchoRequestSchema, { payload })),
    }),
  )
);

const LONGEST_PRODUCT = fit((payload) =>
  toBinary(
    ResponseSchema,
    create(ResponseSchema, {
      payload: toBinary(EchoRequestSchema, create(EchoRequestSchema, { payload })),
    }),
  )
);

// Our client, Go's server

goTest("our client gets back what it sends", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const payload = Uint8Array.of(0, 1, 127, 128, 255);
  const echo = await client.service(TestService).echo({ payload, text: "Grüße, 世界" });
  deepEqual(echo.payload, payload);
  equal(echo.text, "Grüße, 世界");
  deepEqual(echo.metadata, []);
  const { message } = await client.service(Greeter).sayHello({ name: "Deno" });
  equal(message, "Hello Deno");
});

goTest("our client speaks over an abstract socket", async () => {
  await using go = await GoServer.start(`@${crypto.randomUUID()}`);
  await using client = await connect(`unix://${go.address}`);
  await alive(client);
}, missingOfLinux("abstract sockets"));

goTest("our client speaks over TCP", async () => {
  await using go = await GoServer.start("tcp://127.0.0.1:0");
  await using client = await connect(`tcp://${go.address}`);
  await alive(client);
});

goTest("our client's metadata arrives, with repeated keys in order", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { metadata } = await client.service(TestService).echo({}, {
    metadata: [["tag", "b"], ["containerd-namespace-ttrpc", "k8s.io"], ["Tag", "a"], ["tag", ""]],
  });
  deepEqual(metadata.map(({ key, value }) => [key, value]), [
    ["containerd-namespace-ttrpc", "k8s.io"],
    ["tag", "b"],
    ["tag", "a"],
    ["tag", ""],
  ]);
});

goTest("our client gets an error with its details", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const duration = create(DurationSchema, { seconds: 3n, nanos: 5 });
  const details = [
    anyPack(DurationSchema, duration),
    anyPack(TimestampSchema, create(TimestampSchema, { seconds: 7n })),
  ];
  await rejects(
    client.service(TestService).fail({
      code: Code.NOT_FOUND,
      message: "no such task: größer",
      details,
    }),
    (error: RpcError) => {
      equal(error.code, Code.NOT_FOUND);
      equal(error.rawMessage, "no such task: größer");
      equal(error.method, "ttrpc.test.v1.TestService/Fail");
      deepEqual(error.findDetails(DurationSchema), [duration]);
      equal(error.findDetails(TimestampSchema)[0]?.seconds, 7n);
      return true;
    },
  );
  await alive(client);
});

goTest("our client passes on a code that gRPC does not define", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  await rejects(client.service(TestService).fail({ code: 99, message: "odd" }), {
    code: 99,
    rawMessage: "odd",
  });
});

goTest("our client gets a plain Go error as UNKNOWN", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  await rejects(client.service(TestService).sleep({ milliseconds: -1n }), {
    code: Code.UNKNOWN,
    rawMessage: "cannot sleep for -1 ms",
  });
});

goTest("our client's deadline reaches the Go handler", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { sleep } = client.service(TestService);
  equal((await sleep({})).deadlineMilliseconds, 0n);
  const { deadlineMilliseconds: left } = await sleep({}, { timeoutMs: A_MINUTE });
  ok(left > A_MINUTE / 2 && left <= A_MINUTE, `the handler was given ${left} ms`);
});

goTest("our client ends a call at its deadline", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const start = performance.now();
  await rejects(
    client.service(TestService).sleep({ milliseconds: BigInt(A_MINUTE) }, { timeoutMs: 100 }),
    { code: Code.DEADLINE_EXCEEDED },
  );
  const took = performance.now() - start;
  ok(took > 99 && took < 10_000, `it took ${took} ms`);
  // Go's own answer, for its handler has the deadline, too, may come now.
  await alive(client);
});

goTest("our client sends a request of exactly 4 MiB", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { echo } = client.service(TestService);
  const { payload } = await echo({ payload: new Uint8Array(LONGEST_ECHO).fill(7) });
  equal(payload.length, LONGEST_ECHO);
  ok(payload.every((byte) => byte === 7));
  await rejects(echo({ payload: new Uint8Array(LONGEST_ECHO + 1) }), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: TOO_LONG,
  });
  await alive(client);
});

goTest("our client, with a higher limit, hears that Go's is 4 MiB", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address }, {
    limits: { messageBytes: MESSAGE_BYTES + 1 },
  });
  const payload = new Uint8Array(LONGEST_ECHO + 1);
  await rejects(client.service(TestService).echo({ payload }), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: TOO_LONG,
  });
  await alive(client);
});

goTest("our client receives a reply of exactly 4 MiB", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { payload } = await client.service(TestService).produce({ length: LONGEST_PRODUCT });
  equal(payload.length, LONGEST_PRODUCT);
  await alive(client);
});

// A known defect of Go: the server closes the connection when its own reply is too long.
goTest("our client survives that Go hangs up on a reply over 4 MiB", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { produce, sleep } = client.service(TestService);
  const other = rejects(sleep({ milliseconds: BigInt(A_MINUTE) }), { code: Code.UNAVAILABLE });
  await rejects(produce({ length: LONGEST_PRODUCT + 1 }), { code: Code.UNAVAILABLE });
  await other;
  await client.finished;
});

goTest("our client with a lower limit refuses a reply, and goes on", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address }, { limits: { messageBytes: 1_000 } });
  await rejects(client.service(TestService).produce({ length: 100_000 }), {
    code: Code.RESOURCE_EXHAUSTED,
  });
  await alive(client);
});

goTest("our client sends and gets empty messages", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { nothing, echo } = client.service(TestService);
  equal((await nothing({})).$typeName, "google.protobuf.Empty");
  const { payload, text } = await echo({});
  equal(payload.length, 0);
  equal(text, "");
  equal((await client.service(Greeter).sayHello({})).message, "Hello ");
  const none = new Uint8Array(0);
  deepEqual(await client.callRaw(TestService.typeName, "Nothing", none), none);
});

goTest("our client hears of an unknown service or method", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const none = new Uint8Array(0);
  await rejects(client.callRaw("no.such.Service", "Echo", none), {
    code: Code.UNIMPLEMENTED,
    rawMessage: "service no.such.Service",
  });
  await rejects(client.callRaw(TestService.typeName, "Missing", none), {
    code: Code.UNIMPLEMENTED,
    rawMessage: "method Missing",
  });
  await alive(client);
});

goTest("our client hears that a payload is malformed", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const malformed = Uint8Array.of(0x0a, 0x7f); // 127 bytes are announced, none come
  await rejects(
    client.callRaw(TestService.typeName, "Echo", malformed),
    (error: RpcError) => {
      equal(error.code, Code.INTERNAL);
      match(error.rawMessage, /^ttrpc: error unmarshalling payload: /);
      return true;
    },
  );
  await alive(client);
});

goTest("our client makes 1,000 calls at once", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { echo } = client.service(TestService);
  const texts = Array.from({ length: 1_000 }, (_, i) => i + ".".repeat(10 * i));
  const echoes = await Promise.all(texts.map((text) => echo({ text })));
  deepEqual(echoes.map(({ text }) => text), texts);
});

goTest("our client aborts a call, and the connection works on", async () => {
  await using go = await GoServer.start();
  await using client = await connect({ path: go.address });
  const { sleep } = client.service(TestService);
  const controller = new AbortController();
  const call = sleep({ milliseconds: 100n }, { signal: controller.signal });
  await alive(client);
  controller.abort();
  await rejects(call, { code: Code.CANCELLED });
  // Go answers the aborted call while this one waits.
  await sleep({ milliseconds: 200n });
  await alive(client);
});

goTest("our client's calls end with UNAVAILABLE when the Go process is killed", async () => {
  await using go = await GoServer.start();
  const lost = Promise.withResolvers<RpcError | undefined>();
  await using client = await connect({ path: go.address }, { onClose: lost.resolve });
  const { sleep, chat } = client.service(TestService);
  const ends = [
    rejects(sleep({ milliseconds: BigInt(A_MINUTE) }), { code: Code.UNAVAILABLE }),
    rejects(Array.fromAsync(chat(never())), { code: Code.UNAVAILABLE }),
  ];
  await alive(client);
  go.kill();
  await Promise.all(ends);
  equal((await lost.promise)?.code, Code.UNAVAILABLE);
  await client.finished;
  await rejects(alive(client), { code: Code.UNAVAILABLE });
});

/** Sends nothing until the call is over. */
function never(): AsyncIterable<never> {
  const over = Promise.withResolvers<IteratorResult<never>>();
  const end = { done: true, value: undefined } as const;
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => over.promise,
      return: () => {
        over.resolve(end);
        return Promise.resolve(end);
      },
    }),
  };
}

goTest("our client hears nothing bad when an idle Go server ends", async () => {
  await using go = await GoServer.start();
  const closed = Promise.withResolvers<RpcError | undefined>();
  await using client = await connect({ path: go.address }, { onClose: closed.resolve });
  await alive(client);
  go.terminate();
  equal(await closed.promise, undefined);
  await rejects(alive(client), { code: Code.UNAVAILABLE });
});

// Go's client, our server. What is asserted stands in go/call_unary.go and go/call_v1.2.go.

const CASES: Record<string, string> = {
  "echo": "gets back what it sends",
  "greeter": "calls another service",
  "metadata": "sends metadata, with repeated keys in order",
  "error-with-details": "gets an error with its details",
  "plain-error": "gets a plain error as Unknown",
  "deadline-told": "sees its deadline reach our handler",
  "deadline-passes": "ends a call at its deadline",
  "deadline-by-server": "sees our server end a call at the deadline",
  "deadline-negative": "sees our server end a call whose deadline is negative",
  "request-limit": "sends a request of exactly 4 MiB",
  "reply-limit": "receives a reply of exactly 4 MiB, and the error for a longer one",
  "empty": "sends and gets empty messages",
  "unknown": "hears of an unknown service or method",
  "malformed-payload": "hears that a payload is malformed",
  "concurrent": "makes 1,000 calls at once",
  "give-up": "cancels a call, and the connection works on",
};

for (const [name, what] of Object.entries(CASES)) {
  goTest(`Go's client ${what}`, async () => {
    await using ours = new OurServer();
    await goCall(ours.path, name);
  });
}

goTest("Go's client refuses a reply over its limit, and the connection works on", async () => {
  await using ours = new OurServer({}, { limits: { messageBytes: MESSAGE_BYTES + 1 } });
  await goCall(ours.path, "reply-over-own-limit");
});

goTest("our handler is aborted at the deadline of Go's client", async () => {
  const reason = Promise.withResolvers<unknown>();
  await using ours = new OurServer({
    sleep: (request, context) => {
      if (request.milliseconds > 0n) reason.resolve(aborted(context.signal));
      return testHandlers.sleep(request, context);
    },
  });
  await goCall(ours.path, "deadline-by-server");
  equal((await reason.promise as DOMException).name, "TimeoutError");
});

goTest("our handler is aborted when the Go process is killed", async () => {
  const called = Promise.withResolvers<AbortSignal>();
  await using ours = new OurServer({
    sleep: (request, context) => {
      called.resolve(context.signal);
      return testHandlers.sleep(request, context);
    },
  });
  await using go = await GoClient.start(ours.path, "until-killed");
  const signal = await called.promise;
  equal(signal.aborted, false);
  go.kill();
  await aborted(signal);
});

goTest("Go's client gets Unavailable when our server shuts down in the middle", async () => {
  const called = Promise.withResolvers<void>();
  await using ours = new OurServer({
    sleep: (request, context) => {
      called.resolve();
      return testHandlers.sleep(request, context);
    },
  });
  await using go = await GoClient.start(ours.path, "until-server-shuts");
  await called.promise;
  await ours.server.shutdown({ timeoutMs: 100 });
  await go.passes();
});

goTest("Go's client notices when our server is closed in the middle", async () => {
  const called = Promise.withResolvers<void>();
  await using ours = new OurServer({
    sleep: (request, context) => {
      called.resolve();
      return testHandlers.sleep(request, context);
    },
  });
  await using go = await GoClient.start(ours.path, "until-server-closes");
  await called.promise;
  ours.server.close();
  await go.passes();
});

goTest("Go's client notices that our server shuts down between calls", async () => {
  const shutdown = Promise.withResolvers<void>();
  await using ours = new OurServer({
    echo: (request, context) => {
      if (request.text === "shut down") ours.server.shutdown().then(shutdown.resolve);
      return testHandlers.echo(request, context);
    },
  });
  await goCall(ours.path, "server-shuts-when-idle");
  await shutdown.promise;
});
