// `ttrpc serve` and `ttrpc bench`.

import { Code, connect, RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { CountRequestSchema, TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { TestBed } from "../fixture.ts";
import { allEnded } from "../machine.ts";
import { run, Running, SchemaFolder, SERVICE } from "./command.ts";

const REPLIES = {
  [`${SERVICE}/Echo`]: [
    { when: { text: "x" }, response: { text: "X" }, delay: "20ms" },
    {
      error: {
        code: "NOT_FOUND",
        message: "no such text",
        details: [{ "@type": "ttrpc.test.v1.CountRequest", count: 4 }],
      },
    },
  ],
  [`${SERVICE}/Count`]: {
    responses: [{ value: 1 }, { value: "2" }],
    every: 5,
    error: "OUT_OF_RANGE",
  },
  [`${SERVICE}/Sum`]: [
    { when: { value: "3" }, response: { value: 33 } },
    { response: { value: 0 } },
  ],
  [`${SERVICE}/Chat`]: [
    { when: { text: "a" }, responses: [{ text: "a1" }, { text: "a2" }] },
    { responses: [] },
  ],
};

Deno.test("cli: serve answers all kinds of calls from a file, with errors and delays", async () => {
  using folder = new SchemaFolder();
  const responses = folder.write("replies.json", JSON.stringify(REPLIES));
  await using mock = new Running(["serve", folder.path, "-d", folder.set, "-r", responses]);
  await mock.told(/serving on unix:\S+; answers come from/);
  {
    await using client = await connect({ path: folder.path });
    const service = client.service(TestService);
    const before = performance.now();
    equal((await service.echo({ text: "x" })).text, "X");
    ok(performance.now() - before >= 19);
    await rejects(service.echo({ text: "y" }), (error) => {
      ok(error instanceof RpcError);
      equal(error.message, `${SERVICE}/Echo: NOT_FOUND: no such text`);
      equal(error.findDetails(CountRequestSchema)[0]?.count, 4);
      return true;
    });
    const seen: bigint[] = [];
    await rejects(async () => {
      for await (const { value } of service.count({})) seen.push(value);
    }, { code: Code.OUT_OF_RANGE });
    deepEqual(seen, [1n, 2n]);
    equal((await service.sum([{ value: 1n }, { value: 3n }])).value, 33n);
    equal((await service.sum([])).value, 0n);
    const chat = await Array.fromAsync(service.chat([{ text: "a" }, { text: "b" }, { text: "a" }]));
    deepEqual(chat.map(({ text }) => text), ["a1", "a2", "a1", "a2"]);
    await rejects(service.nothing({}), /UNIMPLEMENTED: there is no reply for .*\/Nothing in /);
  }
  const { code, stderr } = await mock.stop();
  equal(code, 0);
  match(stderr, new RegExp(`^${SERVICE}/Echo  OK  [\\d.]+ ms$`, "m"));
  match(stderr, new RegExp(`^${SERVICE}/Echo  NOT_FOUND  `, "m"));
  await rejects(Deno.stat(folder.path), Deno.errors.NotFound);
});

Deno.test("cli: serve says what in its file does not fit, and where", async () => {
  using folder = new SchemaFolder();
  const echo = `${SERVICE}/Echo`;
  const cases: [unknown, RegExp][] = [
    [[], /expected an object such as/],
    [{ [`${SERVICE}/Ecko`]: {} }, /Cannot find method Ecko .*did you mean Echo\?/],
    [{ [echo]: { respond: {} } }, /Echo in \S+: unknown field "respond"; did you mean response\?/],
    [{ [echo]: {} }, /expected a "response" or an "error"/],
    [{ [echo]: [{ response: {} }, { response: { txt: "" } }] }, /reply 2 in .*did you mean text\?/],
    [{ [echo]: { responses: [] } }, /returns one message; use "response"/],
    [{ [echo]: { error: "NOT_FUOND" } }, /no error code "NOT_FUOND"; did you mean NOT_FOUND\?/],
    [{ [echo]: { response: {}, delay: "soon" } }, /Expected a number and a unit/],
  ];
  await allEnded(cases.map(async ([content, message], at) => {
    const file = folder.write(`${at}.json`, JSON.stringify(content));
    const { code, stderr } = await run(["serve", folder.path, "-d", folder.set, "-r", file]);
    match(stderr, message);
    equal(stderr.trim().split("\n").length, 1);
    equal(code, 2);
  }));
});

Deno.test("cli: serve does not take the place of a server that is alive", async () => {
  using folder = new SchemaFolder();
  await using bed = new TestBed();
  const responses = folder.write("replies.json", "{}");
  const { code, stderr } = await run(["serve", bed.path, "-d", folder.set, "-r", responses]);
  equal(code, 1);
  match(stderr, /^error: .*another server listens there; choose another address\n$/);
});

Deno.test("cli: bench tells calls per second, latencies and errors", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const bench = (method: string, json: string, ...rest: string[]) =>
    run(["bench", bed.path, `${SERVICE}/${method}`, json, "-d", folder.set, ...rest]);

  const text = await bench("Echo", `{"text":"x"}`, "-n", "500", "--connections", "4");
  equal(text.stderr, "");
  equal(text.code, 0);
  match(text.stdout, /^in flight {5}64 on 4 connections$/m);
  match(text.stdout, /^succeeded {5}500 calls, [\d.]+ calls\/s$/m);
  match(text.stdout, /^percentiles {3}p50 .*, p99 .*, p99\.9 /m);
  match(text.stdout, /^ +<= [\d.]+ (us|ms|s) #+ +\d+$/m);

  const json = await bench("Count", `{"count":3}`, "--duration", "200ms", "-c", "2", "--json");
  const result = JSON.parse(json.stdout);
  ok(result.calls > 0 && result.seconds >= 0.2 && result.seconds < 5, json.stdout);
  ok(result.ms.fastest <= result.ms.p50 && result.ms.p50 <= result.ms.slowest);
  deepEqual(result.errors, {});
  const counted = result.histogram.reduce(
    (sum: number, { count }: { count: number }) => sum + count,
    0,
  );
  equal(counted, result.calls);

  const failed = await bench("Fail", `{"code":5,"message":"no"}`, "-n", "10", "--json");
  equal(failed.code, 69);
  deepEqual(JSON.parse(failed.stdout).errors, { NOT_FOUND: 10 });
});

Deno.test("cli: bench that is interrupted tells what it has seen", async () => {
  const reached = Promise.withResolvers<void>();
  let calls = 0;
  const sleep = () => {
    if (++calls === 1_000) reached.resolve();
    return {};
  };
  await using bed = new TestBed({ sleep });
  using folder = new SchemaFolder();
  const args = ["bench", bed.path, `${SERVICE}/Sleep`, "{}", "-d", folder.set, "--duration", "1h"];
  await using bench = new Running(args);
  await reached.promise;
  const { code, stdout } = await bench.stop();
  equal(code, 0);
  match(stdout, /^succeeded {5}\d{3,} calls/m);
});

Deno.test("cli: bench ends when the server goes", async () => {
  const reached = Promise.withResolvers<void>();
  let calls = 0;
  const echo = () => {
    if (++calls === 100) reached.resolve();
    return {};
  };
  const bed = new TestBed({ echo });
  using folder = new SchemaFolder();
  const args = ["bench", bed.path, `${SERVICE}/Echo`, "{}", "-d", folder.set, "--duration", "1h"];
  await using bench = new Running([...args, "--json"]);
  await reached.promise;
  await bed[Symbol.asyncDispose]();
  const { stdout } = await bench.ended();
  ok(JSON.parse(stdout).errors.UNAVAILABLE > 0, stdout);
});
