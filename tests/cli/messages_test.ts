// Messages of every kind of field, as JSON and as text, with types that the schema may lack.

import { deepEqual, equal, match } from "node:assert/strict";
import { TestBed } from "../fixture.ts";
import { only, run, Running, SchemaFolder, SERVICE } from "./command.ts";

const PROTO = `syntax = "proto3";
package all;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
service S {
  rpc Get(Tree) returns (All);
  rpc Watch(Tree) returns (stream All);
}
message Tree { string name = 1; repeated Tree trees = 2; }
enum E { NONE = 0; SOME = 1; }
message All {
  string s = 1;
  bytes b = 2;
  E e = 3;
  bool yes = 4;
  double f = 5;
  map<string, Tree> trees = 6;
  map<bool, E> enums = 7;
  repeated uint32 numbers = 8;
  repeated Tree list = 9;
  google.protobuf.Any any = 10;
  repeated google.protobuf.Any anys = 11;
  map<string, google.protobuf.Any> named = 12;
  google.protobuf.Duration duration = 13;
  google.protobuf.Timestamp time = 14;
  google.protobuf.Struct struct = 15;
  google.protobuf.Int32Value wrapped = 16;
  oneof choice { int64 big = 17; string small = 18; }
}
`;

const KNOWN = { "@type": "type.googleapis.com/all.Tree", name: "oak" };
const UNKNOWN = { "@type": "example.com/not.There", value: "AAEC" };

const ALL = {
  s: 'a "b"',
  b: "AEEi",
  e: "SOME",
  yes: true,
  f: 1.5,
  trees: { x: { name: "birch" } },
  enums: { true: "SOME" },
  numbers: [1, 2],
  list: [{ name: "a", trees: [{ name: "b" }] }, {}],
  any: KNOWN,
  anys: [UNKNOWN, { "@type": "all.Tree" }],
  named: { k: UNKNOWN },
  duration: "1.500s",
  time: "2026-01-02T03:04:05Z",
  struct: { deep: [{ x: null }] },
  wrapped: 0,
  big: "9007199254740993",
};

const TEXT = `s: "a \\"b\\""
b: "\\000A\\""
e: SOME
yes: true
f: 1.5
trees {
  key: "x"
  value {
    name: "birch"
  }
}
enums {
  key: true
  value: SOME
}
numbers: 1
numbers: 2
list {
  name: "a"
  trees {
    name: "b"
  }
}
list {
}
any {
  [type.googleapis.com/all.Tree] {
    name: "oak"
  }
}
`;

Deno.test("cli: messages of all kinds of fields pass as JSON, and print as text", async () => {
  using folder = new SchemaFolder();
  const proto = folder.write("all.proto", PROTO);
  const replies = folder.write(
    "replies.json",
    JSON.stringify({
      "all.S/Get": [
        { when: { trees: [{ name: "inner" }] }, response: { s: "inner" } },
        { response: ALL },
      ],
      "all.S/Watch": { responses: [{ s: "1" }, { s: "2" }] },
    }),
  );
  const buf = only(folder); // it has google/protobuf, which protoc may not have
  await using mock = new Running(["serve", folder.path, "-p", proto, "-r", replies], buf);
  await mock.told(/serving on/);
  const call = (method: string, json: string, ...rest: string[]) =>
    run(["call", folder.path, method, json, "-p", proto, ...rest], buf);
  const [json, text, stream, inner, template] = await Promise.all([
    call("all.S/Get", "{}"),
    call("all.S.Get", "{}", "-o", "text"),
    call("/all.S/Watch", "{}", "-o", "text"),
    call("all.S/Get", `{"trees":[{"name":"inner"}]}`),
    run(["describe", "all.All", "--template", "-p", proto], buf),
  ]);
  equal(json.stderr, "");
  deepEqual(JSON.parse(json.stdout), ALL);
  equal(text.stdout.slice(0, TEXT.length), TEXT);
  match(
    text.stdout,
    /^anys \{\n {2}type_url: "example\.com\/not\.There"\n {2}value: "\\000\\001\\002"/m,
  );
  match(text.stdout, /^big: 9007199254740993\n$/m);
  equal(stream.stdout, `s: "1"\n\ns: "2"\n\n`);
  equal(JSON.parse(inner.stdout).s, "inner");
  deepEqual(JSON.parse(template.stdout), {
    ...{ s: "", b: "", e: "SOME", yes: false, f: 0, trees: { key: { name: "" } } },
    ...{ enums: { true: "SOME" }, numbers: [0], list: [{ name: "" }] },
    any: { "@type": "pkg.Message" },
    anys: [{ "@type": "pkg.Message" }],
    named: { key: { "@type": "pkg.Message" } },
    ...{ duration: "1s", time: "2026-01-01T00:00:00Z", struct: {}, wrapped: 0, big: "0" },
  });
});

Deno.test("cli: the type of an Any is sent as it was given", async () => {
  const urls: string[] = [];
  await using bed = new TestBed({
    fail: ({ details }) => {
      urls.push(...details.map(({ typeUrl, value }) => `${typeUrl} ${value.toHex()}`));
      return {};
    },
  });
  using folder = new SchemaFolder();
  const details = [{ "@type": "ttrpc.test.v1.CountRequest", count: 3 }, UNKNOWN];
  const json = JSON.stringify({ details });
  await run(["call", bed.path, `${SERVICE}/Fail`, json, "-d", folder.set]);
  deepEqual(urls, ["ttrpc.test.v1.CountRequest 0803", "example.com/not.There 000102"]);
});

Deno.test("cli: a response that the schema does not describe says how to see it", async () => {
  await using bed = new TestBed({ echo: ({ text }) => ({ text }) });
  using folder = new SchemaFolder();
  const other = folder.write(
    "other.proto",
    `syntax = "proto3"; package ttrpc.test.v1;
service TestService { rpc Echo(In) returns (Out); }
message In { string text = 2; }
message Inner { string name = 1; }
message Out { Inner text = 2; }`,
  );
  const call = ["call", bed.path, `${SERVICE}/Echo`];
  const { code, stderr } = await run([...call, `{"text":"zzz"}`, "-p", other]);
  match(
    stderr,
    /Cannot decode the response .*; is this the server's schema\? --raw prints the bytes/,
  );
  equal(code, 2);
  const raw = await run([...call, "--raw", "-d", folder.set], { stdin: "\x12\x02hi" });
  equal(raw.stdout, "\x12\x02hi");
});

Deno.test("cli: a line that is no base64 ends a raw stream", async () => {
  await using bed = new TestBed();
  const args = ["call", bed.path, `${SERVICE}/Chat`, "--raw", "--kind", "bidi-streaming", "-"];
  const { code, stderr } = await run(args, { stdin: "EgJoaQ==\n***\n" });
  match(stderr, /Cannot send "\*\*\*": with --raw, a stream takes base64 lines/);
  equal(code, 2);
});

Deno.test("cli: tap tells of messages that are not what the schema says", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const path = `${folder.folder}/tap.sock`;
  await using tap = new Running(["tap", path, bed.path, "-d", folder.set, "--json"]);
  await tap.told(/tapping/);
  const stdin = new Uint8Array([0x0a, 0x7f]); // a field that ends too early
  const { code } = await run(["call", path, `${SERVICE}/Echo`, "--raw"], { stdin });
  equal(code, 64 + 13);
  await tap.printed(/"message":"not a ttrpc\.test\.v1\.EchoRequest: /);
  await tap.printed(/"status":"INTERNAL","error":"ttrpc: error unmarshalling payload/);
});
