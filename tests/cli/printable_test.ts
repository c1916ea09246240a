// What others have written never reaches a terminal as it is: not from a server, a client, a
// recording, or a schema.

import { create, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { bytesCodec, Code, connect, RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok } from "node:assert/strict";
import { printable, printableJson } from "../../cli/printable.ts";
import { TestBed } from "../fixture.ts";
import { type Ended, run, Running, SchemaFolder, SERVICE } from "./command.ts";

// Sets the title, clears the line, begins a new one, colours it, turns its direction.
const EVIL = "\x1b]0;owned\x07\x1b[2K\r\nOK \x9b31m\x7f\u202e\u2066\u200f\u061c\u2028\u2029.";
const SHOWN =
  "\\x1b]0;owned\\x07\\x1b[2K\\r\\nOK \\x9b31m\\x7f\\u202e\\u2066\\u200f\\u061c\\u2028\\u2029.";

// Keys of metadata have no capitals.
const KEY = `k${EVIL.toLowerCase()}`;

/** All that a terminal acts on, but for the ends of our own lines. */
// deno-lint-ignore no-control-regex
const RAW = /[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

function clean({ stdout, stderr }: Ended): void {
  equal(RAW.exec(stdout), null, JSON.stringify(stdout));
  equal(RAW.exec(stderr), null, JSON.stringify(stderr));
}

Deno.test("printable() escapes what a terminal acts on, and nothing else", () => {
  equal(printable(EVIL), SHOWN);
  for (let code = 0; code <= 0xffff; code++) {
    const text = printable(`a${String.fromCharCode(code)}b`);
    equal(RAW.exec(text) === null && !text.includes("\n"), true, text);
  }
  for (const text of ["", "plain", "C:\\n", "\u00a0\u00e9\u4e16\u{1f600}\u200d\ufeff", SHOWN]) {
    equal(printable(text), text);
  }
  equal(printable("\0\t\x1f\x80\x9f"), "\\x00\\t\\x1f\\x80\\x9f");
});

Deno.test("printableJson() is the same value as JSON, in which a terminal finds nothing to act on", () => {
  const value = { [EVIL]: [EVIL, { text: EVIL }], plain: "\u00e9" };
  for (const indent of [0, 2]) {
    const json = printableJson(value, indent);
    equal(RAW.exec(json), null);
    deepEqual(JSON.parse(json), value);
    equal(json.split("\n").length, indent === 0 ? 1 : 9);
  }
  equal(printableJson("\x9b\u202e\x1b"), '"\\u009b\\u202e\\u001b"');
});

Deno.test("cli: call escapes what a server answers, in messages, errors and their details", async () => {
  await using bed = new TestBed({
    echo: () => ({ text: EVIL, metadata: [{ key: EVIL, value: "x" }] }),
    async *chat() {
      yield { text: EVIL };
    },
    fail: () => {
      const details = [{ typeUrl: EVIL, value: new Uint8Array([0x9b]) }];
      throw new RpcError(Code.NOT_FOUND, EVIL, { details });
    },
  });
  using folder = new SchemaFolder();
  const call = (method: string, ...args: string[]) =>
    run(["call", bed.path, `${SERVICE}/${method}`, ...args]);
  const schema = ["-d", folder.set];
  const [json, text, lines, failed, raw] = await Promise.all([
    call("Echo", "{}", ...schema),
    call("Echo", "{}", ...schema, "-o", "text"),
    call("Chat", "{}", ...schema),
    call("Fail", "{}", ...schema),
    call("Fail", "", "--raw"),
  ]);
  for (const ended of [json, text, lines, failed, raw]) clean(ended);
  equal(JSON.parse(json.stdout).text, EVIL);
  deepEqual(JSON.parse(lines.stdout), { text: EVIL });
  equal(lines.stdout.split("\n").length, 2);
  equal(JSON.parse(/^text: (.*)$/m.exec(text.stdout)![1]!), EVIL);
  for (const { code, stderr } of [failed, raw]) {
    equal(code, 69);
    const [first, detail, ...rest] = stderr.split("\n");
    equal(first, `error: ${SERVICE}/Fail: NOT_FOUND: ${SHOWN}`);
    equal(JSON.parse(detail!.replace("detail ", ""))["@type"], EVIL);
    deepEqual(rest, [""]);
  }
});

Deno.test("cli: call --raw passes bytes on as they are where no terminal is", async () => {
  await using bed = new TestBed({ echo: () => ({ text: EVIL }) });
  const { stdout } = await run(["call", bed.path, `${SERVICE}/Echo`, "", "--raw"]);
  ok(stdout.endsWith(EVIL));
});

Deno.test("cli: bench escapes what a server answers", async () => {
  await using bed = new TestBed({
    echo: () => {
      throw new RpcError(Code.NOT_FOUND, EVIL);
    },
  });
  const ended = await run([
    "bench",
    bed.path,
    `${SERVICE}/Echo`,
    "",
    "--raw",
    "-n",
    "2",
    "-c",
    "1",
  ]);
  clean(ended);
  ok(ended.stdout.includes(`failed        2 NOT_FOUND: ${SHOWN}\n`), ended.stdout);
});

Deno.test("cli: tap and replay escape what clients and servers say, on as many lines as without", async () => {
  using folder = new SchemaFolder();
  const methods = { m: { name: `M${EVIL}`, methodKind: "unary" } } as const;
  const service = {
    typeName: `S${EVIL}`,
    method: { m: { ...methods.m, input: bytesCodec, output: bytesCodec } },
  } as const;
  await using _server = serve({ path: folder.path }, (router) =>
    router.service(service, {
      m: () => {
        throw new RpcError(Code.ABORTED, EVIL, {
          details: [{ typeUrl: EVIL, value: new Uint8Array(0) }],
        });
      },
    }));
  const path = `${folder.folder}/tap.sock`;
  const recording = `${folder.folder}/calls.rec`;
  for (const args of [["--record", recording], ["--json"]]) {
    await using tap = new Running(["tap", path, folder.path, ...args]);
    await tap.told(/tapping .*\n/);
    const client = await connect({ path });
    const metadata = { [KEY]: EVIL };
    await client.service(service).m(new Uint8Array(1), { metadata }).catch(() => {});
    client.close();
    await tap.printed(/closed/);
    const ended = await tap.stop();
    clean(ended);
    const lines = ended.stdout.trimEnd().split("\n");
    if (args[0] === "--json") {
      const events = lines.map((line) => JSON.parse(line));
      deepEqual(events[1].metadata, [[KEY, EVIL]]);
      equal(events[2].error, EVIL);
      equal(lines.length, 4);
    } else {
      equal(lines[1], `1:1 --> S${SHOWN}/M${SHOWN}  1 B`);
      equal(lines[2], `1:1     ${printable(KEY)}: ${SHOWN}`);
      ok(lines[3]!.startsWith(`1:1 <-- ABORTED: ${SHOWN}  `), lines[3]!);
      equal(lines.length, 6);
    }
  }
  const again = await run(["replay", recording, folder.path]);
  clean(again);
  ok(again.stdout.includes(`S${SHOWN}/M${SHOWN}`));
  await using other = new TestBed(); // which does not have the service
  const differs = await run(["replay", recording, other.path]);
  clean(differs);
  ok(differs.stdout.includes(`1:1 S${SHOWN}/M${SHOWN}: recorded ABORTED: ${SHOWN}, now UNIMPL`));
});

/** A schema that no compiler would make: what protobuf-es does not look at is hostile. */
function evilSchema(message = "T"): Uint8Array {
  const type = `.p${EVIL}.${message}`;
  const file = {
    name: `x${EVIL}.proto`,
    syntax: "proto3",
    package: `p${EVIL}`,
    messageType: [{
      name: message,
      field: [{ name: "f", number: 1, label: 1, type: 9, jsonName: `f${EVIL}` }],
    }],
    service: [{ name: "S", method: [{ name: "M", inputType: type, outputType: type }] }],
    sourceCodeInfo: {
      location: [{ path: [6, 0], leadingComments: ` about ${EVIL}\n \tindented\n` }],
    },
  };
  return toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [file] }));
}

Deno.test("cli: list, describe and serve escape what a schema has for names and comments", async () => {
  using folder = new SchemaFolder();
  const set = folder.write("evil.binpb", evilSchema());
  const refused = folder.write("refused.binpb", evilSchema(`T${EVIL}`));
  const method = `p${EVIL}.S/M`;
  const responses = folder.write("replies.json", JSON.stringify({ [method]: { response: {} } }));
  const [list, json, all, service, rpc, template, ...failed] = await Promise.all([
    run(["list", "-d", set]),
    run(["list", "--json", "-d", set]),
    run(["describe", "-d", set]),
    run(["describe", `p${EVIL}.S`, "-d", set]),
    run(["describe", method, "-d", set]),
    run(["describe", method, "--template", "-d", set]),
    run(["describe", "no.Such", "-d", set]),
    run(["list", `no${EVIL}`, "-d", set]),
    run(["call", folder.path, `p${EVIL}.S/No`, "{}", "-d", set]),
    run(["list", "-d", refused]),
  ]);
  for (const ended of [list, json, all, service, rpc, template, ...failed]) clean(ended);
  equal(list.stdout, `p${SHOWN}.S\n  M  (p${SHOWN}.T) returns (p${SHOWN}.T)\n`);
  equal(JSON.parse(json.stdout).service, `p${EVIL}.S`);
  equal(all.stdout, service.stdout);
  const [before, after] = SHOWN.split("\\n");
  equal(
    service.stdout,
    `// about ${
      before!.replace(/\\r$/, "")
    }\n// ${after}\n//     indented\nservice p${SHOWN}.S {\n` +
      `  rpc M(p${SHOWN}.T) returns (p${SHOWN}.T);\n}\n`,
  );
  ok(rpc.stdout.startsWith(`// p${SHOWN}.S/M, unary\n`), rpc.stdout);
  equal(JSON.parse(template.stdout)[`f${EVIL}`], "");
  for (const { code, stderr } of failed) {
    equal(code, 2, stderr);
    equal(stderr.split("\n").length, 2, stderr);
  }

  await using mock = new Running(["serve", folder.path, "-d", set, "-r", responses]);
  await mock.told(/serving/);
  const called = await run(["call", folder.path, method, "{}", "-d", set, "-v"]);
  clean(called);
  equal(called.code, 0, called.stderr);
  await mock.told(/OK {2}\d/);
  clean(await mock.stop());
});

Deno.test("cli: mistakes in files are told without what a terminal acts on", async () => {
  using folder = new SchemaFolder();
  const json = folder.write("request.json", `{"text": ${EVIL}}`);
  const key = folder.write("key.json", JSON.stringify({ [EVIL]: 1 }));
  const any = folder.write("any.json", JSON.stringify({ details: [{ "@type": EVIL, x: 1 }] }));
  const proto = folder.write("evil.proto", `syntax = "proto3"; import "${EVIL}"; message \x1b {}`);
  const replies = folder.write("replies.json", JSON.stringify({ [`${SERVICE}/${EVIL}`]: {} }));
  const schema = ["-d", folder.set];
  const all = await Promise.all([
    run(["call", folder.path, `${SERVICE}/Echo`, `@${json}`, ...schema]),
    run(["call", folder.path, `${SERVICE}/Echo`, `@${key}`, ...schema]),
    run(["call", folder.path, `${SERVICE}/Fail`, `@${any}`, ...schema]),
    run(["list", "-p", proto]),
    run(["serve", folder.path, "-r", replies, ...schema]),
    run(["call", `unix:${folder.folder}/${EVIL}`, `${SERVICE}/Echo`, "{}", ...schema]),
    run(["call", EVIL, EVIL, EVIL]),
    run([EVIL]),
  ]);
  for (const ended of all) {
    clean(ended);
    equal(ended.stderr.split("\n").length, 2, ended.stderr);
    ok(ended.code !== 0);
  }
});
