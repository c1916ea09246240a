// What .proto files import, and texts that a slow expression would take hours for.

import { deepEqual, equal, match } from "node:assert/strict";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { commentOf } from "../../cli/comments.ts";
import { fileReason, messageOf } from "../../cli/failure.ts";
import { importsIn } from "../../cli/imports.ts";
import { generate } from "../../codegen/generate.ts";
import { parseOptions } from "../../codegen/options.ts";

Deno.test("importsIn() finds what is imported, however it is written", () => {
  const text = `// import "commented.proto";
    syntax = "proto3"; /* import "inside.proto"; */ package x;
    import "a.proto"; import public "b/c.proto";
    import/**/weak
      'd.proto' ;
    option (x) = "import \\"quoted.proto\\";";
    option (y) = "http://x"; import "e.proto";
    message import { string import = 1; } import "f//g.proto";
    import ; import "no" "proto"; import public; other "h.proto"; import i;
    import "no end.proto`;
  deepEqual(importsIn(text), ["a.proto", "b/c.proto", "d.proto", "e.proto", "f//g.proto"]);
  deepEqual(importsIn(""), []);
  deepEqual(importsIn(`import "a`), []);
  deepEqual(importsIn(`import "a\\`), []);
});

// With an expression that looks at the same text again from each of its characters, a test below
// takes hours. None of them measures time.
const LENGTH = 4 << 20;

Deno.test("importsIn() looks through text of any make once", () => {
  const texts = [
    "/*",
    "/* ",
    "\n",
    " ",
    '"',
    "'\\'",
    '"\\"',
    "import ",
    'import "',
    "import \n\n",
    "//",
  ];
  for (const text of texts) {
    const long = text.repeat(LENGTH / text.length);
    deepEqual(importsIn(`${long}x`).length, 0, text);
    deepEqual(importsIn(`import "a.proto";\n${long}x`), ["a.proto"], text);
  }
});

Deno.test("messageOf() and fileReason() look through text of any make once", () => {
  for (const text of [" ", "\n", " \n", " (os error ", " (os error 1", "1"]) {
    const long = `x${text.repeat(LENGTH / text.length)}x`;
    equal(messageOf(new Error(long)), long);
    equal(fileReason(new Error(`${long}\n`)), long);
  }
  equal(fileReason(new Error(`x${" (os error 1)".repeat(LENGTH / 16)}\nx`)), "x");
});

/** A file with a service and its comment. */
function commented(leadingComments: string): FileDescriptorProto {
  return create(FileDescriptorProtoSchema, {
    name: "x.proto",
    syntax: "proto3",
    service: [{ name: "S" }],
    sourceCodeInfo: { location: [{ path: [6, 0], leadingComments }] },
  });
}

Deno.test("the comments of a schema are looked through once, of whatever make they are", () => {
  for (const text of ["\n", " ", "\n ", "\r\n"]) {
    const long = text.repeat((1 << 20) / text.length);
    const file = commented(`${long}first${long}last${long}`);
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
    const lines = commentOf(registry.getService("S")!);
    match(lines[0]!, /first/);
    match(lines.at(-1)!, /last/);
    const request = { protoFile: [file], fileToGenerate: [file.name] };
    const response = generate(create(CodeGeneratorRequestSchema, request));
    equal(response.error, "");
    match(response.file[0]!.content, /first/);
    match(response.file[0]!.content, /last/);
  }
});

Deno.test("options that end in many slashes are looked through once", () => {
  const slashes = "/".repeat(LENGTH);
  equal(parseOptions(`pb_path=${slashes}x`).pbPath, `${slashes}x`);
  equal(parseOptions(`pb_path=x${slashes}`).pbPath, "x");
  equal(parseOptions(`pb_path=${slashes}`).pbPath, "/");
});
