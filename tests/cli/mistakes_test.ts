// What users get wrong: each is told in one line, with the way out.

import { Code, RpcError } from "@ttrpc/ttrpc";
import { equal, match } from "node:assert/strict";
import { createServer } from "node:http2";
import { TestBed } from "../fixture.ts";
import { allEnded } from "../machine.ts";
import { needing, only, run, type RunOptions, SchemaFolder, SERVICE } from "./command.ts";

/** Fails with one line on stderr, and nothing on stdout. */
async function fails(
  args: string[],
  code: number,
  message: RegExp,
  options?: RunOptions,
): Promise<void> {
  const ended = await run(args, options);
  match(ended.stderr, message);
  equal(ended.stderr.split("\n").length, 2, ended.stderr);
  match(ended.stderr, /^error: /);
  equal(ended.stdout, "");
  equal(ended.code, code);
}

Deno.test("cli: a mistake in the arguments exits with 2", async () => {
  using folder = new SchemaFolder();
  const method = `${SERVICE}/Echo`;
  await allEnded([
    fails(["cal"], 2, /unknown command 'cal' \(Did you mean call\?\) See --help/),
    fails(["call"], 2, /missing required argument 'address'; see --help/),
    fails(["call", "x", method, "--tiemout", "5s"], 2, /unknown option '--tiemout'.*--timeout/),
    fails(
      ["call", "x", method, "-t", "5"],
      2,
      /'5' is invalid\. Expected a number and a unit, such/,
    ),
    fails(["call", "x", method, "-m", "nothing"], 2, /Expected key=value/),
    fails(["call", "nowhere", method, "-d", folder.set], 2, /"nowhere": expected unix:\/\/\//),
    fails(
      ["call", "tcp://x:1", "Echo", "-d", folder.set],
      2,
      /expected a name such as pkg\.Service\/Method/,
    ),
    fails(["completions", "csh"], 2, /Allowed choices are bash, zsh, fish/),
  ]);
});

Deno.test("cli: an unknown method suggests the nearest name", async () => {
  using folder = new SchemaFolder();
  const call = (method: string) => ["call", folder.path, method, "{}", "-d", folder.set];
  await allEnded([
    fails(call(`${SERVICE}/Ecko`), 2, /Cannot find method Ecko of .*; did you mean Echo\?/),
    fails(call(`${SERVICE}/Zzzzzzzz`), 2, /it has Echo, Fail, Sleep/),
    fails(call("TestService/Echo"), 2, /did you mean ttrpc\.test\.v1\.TestService\/Echo\?/),
    fails(call("ttrpc.test.v1.TestServise/Echo"), 2, /did you mean ttrpc\.test\.v1\.TestService/),
  ]);
});

Deno.test("cli: JSON that does not fit names the field and the type wanted", async () => {
  using folder = new SchemaFolder();
  const call = (method: string, json: string) => {
    const path = folder.path;
    return ["call", path, `${SERVICE}/${method}`, json, "-d", folder.set];
  };
  await allEnded([
    fails(
      call("Count", `{"count":"x"}`),
      2,
      /CountRequest\.count: expected number \(uint32\), got "x"/,
    ),
    fails(call("Count", `{"count":-1}`), 2, /CountRequest\.count: .*-1 out of range/),
    fails(call("Count", `{"cuont":1}`), 2, /has no field "cuont"; did you mean count\?/),
    fails(call("Count", `[1]`), 2, /expected an object, got Array/),
    fails(call("Count", `{count:1}`), 2, /Cannot read the argument as JSON/),
    fails(call("Echo", `{"payload":"*"}`), 2, /EchoRequest\.payload: expected bytes as base64/),
    fails(call("Fail", `{"details":[{"@type":"a.B","c":1}]}`), 2, /no type a\.B; .*BASE64/),
    fails(call("Echo", "@/nowhere.json"), 2, /Cannot read \/nowhere\.json: there is no such file/),
  ]);
});

Deno.test("cli: a line of a stream that does not fit ends the call with its number", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const args = ["call", bed.path, `${SERVICE}/Sum`, "-", "-d", folder.set];
  const { code, stderr } = await run(args, { stdin: `{"value":1}\n{"value":\n` });
  match(stderr, /^error: Cannot read line 2 of stdin as JSON: .*\n$/);
  equal(code, 2);
});

Deno.test("cli: a missing schema is told with what to give", async () => {
  using folder = new SchemaFolder();
  const noSet = folder.write("no.binpb", "hello");
  const method = `${SERVICE}/Echo`;
  await allEnded([
    fails(["call", folder.path, method], 2, /without a schema: give --proto FILE, or .* or --raw/),
    fails(["list"], 2, /Cannot list services without a schema: give --proto FILE/),
    fails(["list", "-I", "."], 2, /from -I alone; name the file with --proto/),
    fails(["list", "-p", "/nowhere.proto"], 2, /Cannot read the schema \/nowhere\.proto/),
    fails(["list", "-d", noSet], 2, /as a descriptor set: make it with "buf build/),
  ]);
});

/** Compiles what cannot be compiled; the compiler has its own words for it. */
async function failsToCompile(
  folder: SchemaFolder,
  options: RunOptions,
  unknown: RegExp,
  lost: RegExp,
) {
  const write = (name: string, line: string) => folder.write(name, `syntax = "proto3";\n${line}\n`);
  const broken = write("broken.proto", "message M { strin a = 1; }");
  const importing = write("importing.proto", `import "gone.proto";`);
  const place = /Cannot compile \S+broken\.proto: broken\.proto:2:13:/;
  const advice = /; name its folder with -I DIR/;
  await allEnded([
    fails(["list", "-p", broken], 2, new RegExp(place.source + unknown.source), options),
    fails(["list", "-p", importing], 2, new RegExp(lost.source + advice.source), options),
  ]);
}

Deno.test("cli: a broken schema is told with what to give, compiled with buf", async () => {
  using folder = new SchemaFolder();
  const lost = /importing\.proto:2:1:imported file does not exist/;
  await failsToCompile(folder, only(folder), /cannot find `strin`/, lost);
});

needing(["protoc"], "a broken schema is told with what to give, compiled with protoc", async () => {
  using folder = new SchemaFolder();
  const lost = /gone\.proto: File not found\..*/;
  await failsToCompile(folder, only(folder, "protoc"), / "strin" is not defined/, lost);
});

Deno.test("cli: nobody at the address exits with 78 and says what to do", async () => {
  using folder = new SchemaFolder();
  const args = ["call", folder.path, `${SERVICE}/Nothing`, "{}", "-d", folder.set];
  await fails(args, 78, /there is no such socket; is the server running\? \(--wait waits for it\)/);
});

Deno.test("cli: an HTTP server and a gRPC server are recognised", async () => {
  using folder = new SchemaFolder();
  const call = (path: string) => ["call", path, `${SERVICE}/Echo`, "{}", "-d", folder.set];

  const plain = `${folder.folder}/http.sock`;
  using listener = Deno.listen({ transport: "unix", path: plain });
  const answering = answerHttp(listener);
  await fails(
    call(plain),
    77,
    /there is an HTTP server, which does not speak ttrpc; use the address/,
  );
  listener.close();
  await answering;

  const grpc = `${folder.folder}/grpc.sock`;
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(grpc, resolve));
  try {
    await fails(
      call(grpc),
      78,
      /HTTP\/2 server, as those of gRPC are, .*for gRPC there is grpcurl/,
    );
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Answers as HTTP/1 servers do that understand nothing. */
async function answerHttp(listener: Deno.Listener): Promise<void> {
  try {
    for (;;) {
      using conn = await listener.accept();
      await conn.read(new Uint8Array(1024));
      await conn.write(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n"));
    }
  } catch {
    // It was closed.
  }
}

Deno.test("cli: a method that only the schema has is told as such", async () => {
  await using bed = new TestBed({
    nothing: () => {
      throw new RpcError(Code.UNIMPLEMENTED, "method Nothing");
    },
  });
  using folder = new SchemaFolder();
  const args = ["call", bed.path, `${SERVICE}/Nothing`, "{}", "-d", folder.set];
  await fails(args, 76, /UNIMPLEMENTED: method Nothing; the server does not implement this/);
});
