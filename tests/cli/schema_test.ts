// Schemas from everywhere; `ttrpc list` and `ttrpc describe`.

import { deepEqual, equal, match } from "node:assert/strict";
import { TestBed } from "../fixture.ts";
import { needing, only, ROOT, run, SchemaFolder, SERVICE } from "./command.ts";

const PROTO = ["--proto", `${ROOT}proto/ttrpc/test/v1/test.proto`, "-I", `${ROOT}proto`];

Deno.test("cli: list names services and methods with their kinds, compiled with buf", async () => {
  using folder = new SchemaFolder();
  const { code, stdout } = await run(["list", ...PROTO], only(folder));
  equal(code, 0);
  match(
    stdout,
    /^ttrpc\.test\.v1\.TestService\n {2}Echo {5}\(ttrpc\.test\.v1\.EchoRequest\) returns/,
  );
  match(
    stdout,
    /^ {2}Chat .*\(stream ttrpc\.test\.v1\.EchoRequest\) returns \(stream .*EchoResponse\)$/m,
  );
});

needing(["protoc"], "list names the same, compiled with protoc", async () => {
  using folder = new SchemaFolder();
  const options = only(folder, "protoc");
  const { stdout } = await run(["list", ...PROTO], options);
  match(stdout, /^ttrpc\.test\.v1\.TestService\n {2}Echo /);
  const text = await run(["describe", `${SERVICE}/Echo`, ...PROTO], options);
  match(text.stdout, /^\/\/ Sends back the payload and the metadata it came with\.$/m);
});

Deno.test("cli: a proto file is found without -I when it imports nothing of its own", async () => {
  const { stdout } = await run(["list", "-p", "proto/greeter/v1/greeter.proto"]);
  equal(
    stdout,
    "greeter.v1.Greeter\n  SayHello  (greeter.v1.HelloRequest) returns (greeter.v1.HelloReply)\n",
  );
});

Deno.test("cli: imports are found in the folders of -I, also in other ones", async () => {
  using folder = new SchemaFolder();
  Deno.mkdirSync(`${folder.folder}/a/x`, { recursive: true });
  Deno.mkdirSync(`${folder.folder}/b/y`, { recursive: true });
  const main = folder.write(
    "a/x/main.proto",
    `syntax = "proto3"; package x;\nimport "y/other.proto"; // import "no.proto";\n` +
      `service S { rpc M(y.Other) returns (y.Other); }\n`,
  );
  folder.write("b/y/other.proto", `syntax = "proto3"; package y;\nmessage Other {}\n`);
  const args = ["list", "-p", main, "-I", `${folder.folder}/a`, "-I", `${folder.folder}/b`];
  equal((await run(args)).stdout, "x.S\n  M  (y.Other) returns (y.Other)\n");
});

Deno.test("cli: a Buf image does as a schema, also as JSON and packed", async () => {
  using folder = new SchemaFolder();
  const image = `${folder.folder}/image`;
  const buf = [Deno.execPath(), "run", "--quiet", "--allow-all", "npm:@bufbuild/buf@1.74.0"];
  await using bed = new TestBed();
  for (const format of ["binpb", "json", "binpb.gz"]) {
    const path = `${image}.${format}`;
    const built = await run(["build", "proto", "-o", path], { program: buf as [string] });
    equal(built.code, 0, built.stderr);
    const args = ["call", bed.path, `${SERVICE}/Echo`, `{"text":"${format}"}`, "-d", path];
    const { stdout, stderr } = await run(args);
    equal(stderr, "");
    deepEqual(JSON.parse(stdout), { text: format });
  }
});

Deno.test("cli: list --json has a line for each service", async () => {
  using folder = new SchemaFolder();
  const { stdout } = await run(["list", "greeter.v1.Greeter", "--json", "-d", folder.set]);
  deepEqual(JSON.parse(stdout), {
    service: "greeter.v1.Greeter",
    methods: [{
      name: "SayHello",
      kind: "unary",
      input: "greeter.v1.HelloRequest",
      output: "greeter.v1.HelloReply",
    }],
  });
});

Deno.test("cli: describe shows methods, messages and enums with their comments", async () => {
  using folder = new SchemaFolder();
  const path = folder.write(
    "all.proto",
    `syntax = "proto3";
package all;
// What it does.
service S {
  // How.
  rpc M(In) returns (stream Out);
}
// Goes in.
message In {
  // A name.
  string name = 1;
  optional int64 size = 2; // in bytes
  oneof choice {
    Out one = 3;
    bool two = 4 [deprecated = true];
  }
  map<string, E> map = 5;
  repeated uint32 numbers = 6;
}
message Out {}
enum E {
  NONE = 0;
  // The only one.
  SOME = 1;
}
`,
  );
  const describe = async (...args: string[]) => {
    const { stdout, stderr } = await run(["describe", ...args, "-p", path]);
    equal(stderr, "");
    return stdout;
  };
  equal(await describe(), await describe("all.S"));
  equal(
    await describe("all.S"),
    `// What it does.
service all.S {
  // How.
  rpc M(all.In) returns (stream all.Out);
}
`,
  );
  equal(
    await describe("all.S/M"),
    `// all.S/M, server streaming
// How.
rpc M(all.In) returns (stream all.Out);

// Goes in.
message all.In {
  // A name.
  string name = 1;
  // in bytes
  optional int64 size = 2;
  oneof choice {
    all.Out one = 3;
    bool two = 4 [deprecated = true];
  }
  map<string, all.E> map = 5;
  repeated uint32 numbers = 6;
}

message all.Out {}
`,
  );
  equal(
    await describe("all.E"),
    `enum all.E {
  NONE = 0;
  // The only one.
  SOME = 1;
}
`,
  );
  deepEqual(JSON.parse(await describe("all.S.M", "--template")), {
    name: "",
    size: "0",
    one: {},
    map: { key: "SOME" },
    numbers: [0],
  });
  const { code, stderr } = await run(["describe", "all.I", "-p", path]);
  equal(code, 2);
  match(stderr, /Cannot find all\.I in the schema; did you mean all\.In\?/);
});

Deno.test("cli: call takes what describe --template prints", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const schema = ["-d", folder.set];
  for (const method of ["Echo", "Sleep", "Nothing", "Count", "Sum"]) {
    const { stdout } = await run(["describe", `${SERVICE}/${method}`, "--template", ...schema]);
    const { code, stderr } = await run([
      "call",
      bed.path,
      `${SERVICE}/${method}`,
      stdout,
      ...schema,
    ]);
    equal(stderr, "");
    equal(code, 0);
  }
});
