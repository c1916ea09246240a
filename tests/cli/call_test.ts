// `ttrpc call` against our own server, in this process.

import { serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { TestBed, testHandlers } from "../fixture.ts";
import { CLI, type Ended, run, runBytes, Running, SchemaFolder, SERVICE } from "./command.ts";
import { sleep } from "../wait.ts";

/** A server and a schema. */
class Bed implements AsyncDisposable {
  readonly bed: TestBed;
  readonly folder: SchemaFolder;

  constructor(...args: ConstructorParameters<typeof TestBed>) {
    this.bed = new TestBed(...args);
    this.folder = new SchemaFolder();
  }

  /** The arguments of a call. */
  args(method: string, ...rest: string[]): string[] {
    const address = `unix:${this.bed.path}`;
    return ["call", address, `${SERVICE}/${method}`, ...rest, "-d", this.folder.set];
  }

  call(method: string, ...rest: string[]): Promise<Ended> {
    return run(this.args(method, ...rest));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bed[Symbol.asyncDispose]();
    this.folder[Symbol.dispose]();
  }
}

Deno.test("cli: call sends JSON from the argument, a file and stdin, and prints JSON", async () => {
  await using bed = new Bed();
  const file = bed.folder.write("request.json", `{\n  "text": "hi"\n}`);
  const all = await Promise.all([
    bed.call("Echo", `{"text":"hi"}`),
    bed.call("Echo", `@${file}`),
    run(bed.args("Echo", "-"), { stdin: `{"text":"hi"}` }),
    run(bed.args("Echo"), { stdin: `{"text":"hi"}` }),
  ]);
  for (const ended of all) {
    deepEqual(ended, { code: 0, stdout: `{\n  "text": "hi"\n}\n`, stderr: "" });
  }
});

Deno.test("cli: call without a request sends an empty message", async () => {
  await using bed = new Bed();
  deepEqual(await bed.call("Nothing"), { code: 0, stdout: "{}\n", stderr: "" });
});

Deno.test("cli: call prints text, nothing, and default values if it is told to", async () => {
  await using bed = new Bed();
  const [text, none, defaults] = await Promise.all([
    bed.call("Echo", `{"text":"a \\"b\\"","payload":"AEE="}`, "-m", "k=v", "--output", "text"),
    bed.call("Echo", `{"text":"hi"}`, "--output", "none"),
    bed.call("Echo", `{"text":"hi"}`, "--emit-defaults"),
  ]);
  equal(
    text.stdout,
    `payload: "\\000A"\ntext: "a \\"b\\""\nmetadata {\n  key: "k"\n  value: "v"\n}\n`,
  );
  equal(none.stdout, "");
  deepEqual(JSON.parse(defaults.stdout), { payload: "", text: "hi", metadata: [] });
});

Deno.test("cli: call sends metadata and a deadline", async () => {
  await using bed = new Bed();
  const { stdout } = await bed.call("Echo", "-m", "a=1", "--metadata", "b=x=y", "-m", "a=2");
  deepEqual(JSON.parse(stdout).metadata, [
    { key: "a", value: "1" },
    { key: "b", value: "x=y" },
    { key: "a", value: "2" },
  ]);
  const slept = await bed.call("Sleep", `{"milliseconds":1}`, "--timeout", "1m");
  const left = Number(JSON.parse(slept.stdout).deadlineMilliseconds);
  ok(left > 30_000 && left <= 60_000, `${left} ms`);
});

Deno.test("cli: call takes and gives streams as lines of JSON", async () => {
  await using bed = new Bed();
  const [count, sum, chat] = await Promise.all([
    bed.call("Count", `{"count":3}`),
    bed.call("Sum", `{"value":40}\n{"value":"2"}`),
    run(bed.args("Chat", "-"), { stdin: `{"text":"a"}\n\n{"text":"b"}` }),
  ]);
  deepEqual(count, { code: 0, stdout: `{}\n{"value":"1"}\n{"value":"2"}\n`, stderr: "" });
  deepEqual(sum, { code: 0, stdout: `{\n  "value": "42"\n}\n`, stderr: "" });
  deepEqual(chat, { code: 0, stdout: `{"text":"a"}\n{"text":"b"}\n`, stderr: "" });
});

Deno.test("cli: call prints each answer of a conversation before the next line is typed", async () => {
  await using bed = new Bed();
  await using chat = new Running(bed.args("Chat"));
  for (const text of ["one", "two", "three"]) {
    await chat.type(`{"text":"${text}"}`);
    await chat.printed(new RegExp(`{"text":"${text}"}\n`));
  }
  await chat.typeEnd();
  equal((await chat.ended()).code, 0);
});

Deno.test("cli: a failed call exits with 64 and its code, and tells the details", async () => {
  await using bed = new Bed();
  const request = {
    code: 5,
    message: "no such task",
    details: [
      { "@type": "type.googleapis.com/ttrpc.test.v1.CountRequest", count: 3 },
      { "@type": "example.com/unknown.Type", value: "AAE=" },
    ],
  };
  deepEqual(await bed.call("Fail", JSON.stringify(request)), {
    code: 64 + 5,
    stdout: "",
    stderr: `error: ${SERVICE}/Fail: NOT_FOUND: no such task
  detail {"@type":"type.googleapis.com/ttrpc.test.v1.CountRequest","count":3}
  detail {"@type":"example.com/unknown.Type","value":"AAE="}
`,
  });
});

Deno.test("cli: a deadline that passes exits with 68", async () => {
  await using bed = new Bed();
  const { code, stderr } = await bed.call("Sleep", `{"milliseconds":60000}`, "-t", "500ms");
  equal(code, 68);
  match(stderr, /^error: .*Sleep: DEADLINE_EXCEEDED: the deadline of 500 ms has passed\n$/);
});

Deno.test("cli: Ctrl-C cancels a call, and the server sees its client go", async () => {
  const started = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<void>();
  await using bed = new Bed({
    sleep: async (_, { signal }) => {
      started.resolve();
      await sleep(60_000, signal).catch(() => gone.resolve());
      return {};
    },
  });
  await using call = new Running(bed.args("Sleep", "{}"));
  await started.promise;
  deepEqual(await call.stop(), {
    code: 65,
    stdout: "",
    stderr: `error: ${SERVICE}/Sleep: CANCELLED: the caller gave up: interrupted\n`,
  });
  await gone.promise;
});

Deno.test("cli: call --raw sends and prints bytes, without a schema", async () => {
  await using bed = new Bed();
  const address = `unix:${bed.bed.path}`;
  const stdin = new Uint8Array([0x12, 2, 0x68, 0x69]);
  const unary = await runBytes(["call", address, `${SERVICE}/Echo`, "--raw"], { stdin });
  deepEqual([unary.code, new Uint8Array(unary.stdout)], [0, stdin]);
  const chat = ["call", address, `${SERVICE}/Chat`, "--raw", "--kind", "bidi-streaming"];
  deepEqual(await run(chat, { stdin: "EgJoaQ==\nEgJobw==\n" }), {
    code: 0,
    stdout: "EgJoaQ==\nEgJobw==\n",
    stderr: "",
  });
});

Deno.test("cli: call --verbose tells sizes and times on stderr", async () => {
  await using bed = new Bed();
  const { stdout, stderr } = await bed.call("Echo", `{"text":"hi"}`, "-v", "-m", "k=v");
  equal(JSON.parse(stdout).text, "hi");
  match(
    stderr,
    /^> ttrpc\.test\.v1\.TestService\/Echo at unix:\S+ \(connected in [\d.]+ [um]?s\)$/m,
  );
  match(stderr, /^> k: v$/m);
  match(stderr, /^> message 1, 4 B$/m);
  match(stderr, /^< message 1, 12 B$/m);
  match(stderr, /^< OK after [\d.]+ [um]?s$/m);
});

Deno.test("cli: call --wait waits for the server, no longer than --timeout", async () => {
  using folder = new SchemaFolder();
  const args = ["call", folder.path, `${SERVICE}/Nothing`, "{}", "--wait", "-d", folder.set];
  const { code, stderr } = await run([...args, "--timeout", "200ms"]);
  match(stderr, /DEADLINE_EXCEEDED: .*; the last attempt: there is no such socket/);
  equal(code, 68);
  await using call = new Running(args);
  await using _server = serve(
    { path: folder.path },
    (router) => router.service(TestService, testHandlers),
  );
  equal((await call.ended()).code, 0);
});

Deno.test("cli: call ends quietly when nobody reads its output", async () => {
  await using bed = new Bed();
  const command = [...bed.args("Count", `{"count":100000}`)].map((arg) => `'${arg}'`).join(" ");
  const program = CLI.map((arg) => `'${arg}'`).join(" ");
  const { code, stdout, stderr } = await run(["-c", `${program} ${command} | head -n 1`], {
    program: ["sh"],
  });
  deepEqual({ code, stdout, stderr }, { code: 0, stdout: "{}\n", stderr: "" });
});
