/** The plugin, asked by what only claims to be buf. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { match, ok } from "node:assert/strict";
import { stripTypeScriptTypes } from "node:module";
import { answer } from "../../codegen/plugin.ts";
import { file_ttrpc_test_v1_test as described } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { mutated, noise, type Target } from "./target.ts";

const good = { ...described.proto };
const imported = described.dependencies.map(({ proto }) => proto);

const name = fc.oneof(
  fc.constantFrom("Echo", "Then", "constructor", "__proto__", "class", "Chat", "TestService"),
  fc.constantFrom("", "a b", "x*/", "Größe", "0", "$", "`${1}`", "a\nb", '"', "toString", "await"),
  fc.string({ maxLength: 8 }),
);
const comment = fc.oneof(
  fc.constantFrom(" Does.\n", " */ x /* \n", " `${x}` \\u{0}\n", "\u2028", " @param {x\n", ""),
  fc.string({ unit: "binary", maxLength: 20 }),
);
const parameter = fc.oneof(
  fc.constantFrom(
    "",
    "import_extension=js",
    "import_extension=none,target=ts",
    "runtime=@ttrpc/ttrpc",
    "pb_path=../pb",
    "x",
    "=",
    ",,",
  ),
  fc.string({ maxLength: 20 }),
);

interface Changes {
  file: string;
  pkg: string;
  service: string;
  methods: string[];
  input: string;
  comments: string[];
  parameter: string;
  generate: string[];
}

const changes: fc.Arbitrary<Changes> = fc.record({
  file: fc.oneof(
    fc.constant("ttrpc/test/v1/test.proto"),
    name.map((each) => `${each}.proto`),
    name,
  ),
  pkg: fc.oneof(fc.constant(good.package), name),
  // protoc-gen-es itself writes what is no module for a service called await.
  service: fc.oneof(fc.constant("TestService"), name.filter((each) => each !== "await")),
  methods: fc.array(name, { maxLength: 8 }),
  input: fc.oneof(fc.constant(".ttrpc.test.v1.EchoRequest"), name),
  comments: fc.array(comment, { maxLength: 3 }),
  parameter,
  generate: fc.array(name, { maxLength: 1 }),
});

function requestOf(asked: Changes): Uint8Array {
  const file: FileDescriptorProto = fromBinary(
    FileDescriptorProtoSchema,
    toBinary(FileDescriptorProtoSchema, good),
  );
  file.name = asked.file;
  file.package = asked.pkg;
  const service = file.service[0]!;
  service.name = asked.service;
  for (const [at, each] of asked.methods.entries()) {
    const method = service.method[at];
    if (method) method.name = each;
  }
  service.method[0]!.inputType = asked.input;
  const location = asked.comments.map((leadingComments, at) => ({
    path: at === 0 ? [6, 0] : [6, 0, 2, at],
    span: [1, 1, 2],
    leadingComments,
  }));
  file.sourceCodeInfo = create(FileDescriptorProtoSchema, { sourceCodeInfo: { location } })
    .sourceCodeInfo!;
  return toBinary(
    CodeGeneratorRequestSchema,
    create(CodeGeneratorRequestSchema, {
      fileToGenerate: [asked.file, ...asked.generate],
      parameter: asked.parameter,
      protoFile: [...imported, file],
    }),
  );
}

const requests = changes.map(requestOf);

export const codegen: Target = {
  name: "codegen",
  inputs: fc.oneof(
    { weight: 5, arbitrary: requests },
    { weight: 3, arbitrary: mutated(requests) },
    { weight: 1, arbitrary: noise },
  ),
  run(input) {
    let response;
    try {
      response = fromBinary(CodeGeneratorResponseSchema, answer(input));
    } catch (error) {
      // The plugin says what is wrong in words of its own.
      ok(error instanceof Error);
      match(error.message, /^Cannot |is not a valid .* name/s);
      return;
    }
    ok((response.error ?? "") === "" || response.file.length === 0);
    for (const { name, content } of response.file) {
      ok(content.length < 100 * input.length, `${content.length} bytes of ${input.length}`);
      try {
        stripTypeScriptTypes(content);
      } catch (cause) {
        throw new Error(`${name} is not TypeScript:\n${content}`, { cause });
      }
    }
  },
};
