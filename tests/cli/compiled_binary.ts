// The command compiled to a binary of its own, for machines without Deno. It takes a runtime that Deno
// downloads at the first use, so that this is a task of its own: `deno task test:compiled`. With
// TTRPC_BINARY=PATH a binary that is there already is tried, here and in all tests of this folder.

import { equal, match } from "node:assert/strict";
import { TestBed } from "../fixture.ts";
import { BINARY, ROOT, run, SchemaFolder, SERVICE } from "./command.ts";
import { compile } from "./compile.ts";

Deno.test("cli: the compiled binary lists, describes, calls and fails as the script does", async () => {
  const folder = await Deno.makeTempDir({ prefix: "ttrpc-compiled-" });
  const binary = BINARY ?? `${folder}/ttrpc`;
  try {
    if (BINARY === undefined) {
      const { code, stderr } = await compile(binary);
      equal(code, 0, stderr);
    }
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
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
