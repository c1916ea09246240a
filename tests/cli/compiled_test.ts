// The command compiled to a binary of its own, for machines without Deno.

import { equal, match, ok } from "node:assert/strict";
import { TestBed } from "../fixture.ts";
import { ROOT, run, SchemaFolder, SERVICE } from "./command.ts";

// Deno compiles with a runtime, denort, which it downloads at the first use.
const DOWNLOAD = /error sending request for url \(https:\/\/dl\.deno\.land/;

const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)) as {
  tasks: { compile: { command: string } };
};

/** Does what the task does, with another place for the binary. */
async function compile(binary: string, env: Record<string, string> = {}) {
  const [, ...args] = tasks.compile.command.split(" ");
  args[args.indexOf("--output") + 1] = binary;
  return await run(args.filter((arg) => arg !== "--quiet"), { program: [Deno.execPath()], env });
}

const folder = Deno.makeTempDirSync({ prefix: "ttrpc-compiled-" });
const binary = `${folder}/ttrpc`;
const { code, stderr } = await compile(binary);
const skipped = DOWNLOAD.test(stderr) ? " (skipped: Deno cannot download denort here)" : "";
if (skipped !== "") Deno.removeSync(folder, { recursive: true });

Deno.test({
  name: `cli: the compiled binary lists, describes, calls and fails as the script does${skipped}`,
  ignore: skipped !== "",
  fn: async () => {
    equal(code, 0, stderr);
    await using bed = new TestBed();
    using schema = new SchemaFolder();
    const binaryRun = (...args: string[]) => run(args, { program: [binary], env: { PATH: "" } });
    match((await binaryRun("--help")).stdout, /^Usage: ttrpc/);
    match((await binaryRun("list", "-d", schema.set)).stdout, /^ {2}Chat /m);
    match((await binaryRun("describe", SERVICE, "-d", schema.set)).stdout, /rpc Echo\(/);
    const call = (method: string, json: string) =>
      binaryRun("call", bed.path, `${SERVICE}/${method}`, json, "-d", schema.set);
    equal((await call("Echo", `{"text":"hi"}`)).stdout, `{\n  "text": "hi"\n}\n`);
    equal((await call("Fail", `{"code":5}`)).code, 69);
    const proto = `${ROOT}proto/greeter/v1/greeter.proto`;
    match((await binaryRun("list", "-p", proto)).stderr, /there is neither buf nor protoc/);
    Deno.removeSync(folder, { recursive: true });
  },
});

Deno.test("cli: the compiled binary holds every command, and of npm only what it needs", async () => {
  const place = await Deno.makeTempDir({ prefix: "ttrpc-compiled-" });
  try {
    // Any runtime does to see what is put into it.
    const env = { DENORT_BIN: await Deno.realPath(Deno.execPath()), NO_COLOR: "1" };
    const { code, stderr } = await compile(`${place}/ttrpc`, env);
    equal(code, 0, stderr);
    match(stderr, /commander\/14/);
    match(stderr, /@bufbuild\/protobuf/);
    ok(!/buf-linux|typescript|grpc-js|fast-check/.test(stderr), stderr);
    const [{ size: runtime }, { size: binary }] = await Promise.all([
      Deno.stat(env.DENORT_BIN),
      Deno.stat(`${place}/ttrpc`),
    ]);
    ok(binary - runtime < 10_000_000, `${binary - runtime} bytes`);
  } finally {
    await Deno.remove(place, { recursive: true });
  }
});
