// The options of the plugin, and what is wrong in protos.

import { create } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  Edition,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import { deepEqual, equal, match, throws } from "node:assert/strict";
import { generate } from "../../codegen/generate.ts";
import { corpusRequest } from "./tools.ts";

async function specifiers(parameter: string, name = "shop/v1/shop_ttrpc.ts"): Promise<string[]> {
  const { file, error } = generate(await corpusRequest(parameter));
  equal(error, "");
  const { content } = file.find((written) => written.name === name)!;
  return [...new Set(Array.from(content.matchAll(/ from "(.*)";$/gm), ([, from]) => from!))];
}

Deno.test("without options everything is where buf puts it, and imports end in .ts", async () => {
  const expected = [
    "@ttrpc/ttrpc/types",
    "../../money/currency_pb.ts",
    "../../money/money_pb.ts",
    "../../other/deep/er/money_pb.ts",
    "./shop_pb.ts",
  ];
  deepEqual(await specifiers(""), expected);
  deepEqual(await specifiers("target=ts,import_extension=ts,pb_path=."), expected);
});

Deno.test("import_extension says how imports of other generated files end", async () => {
  equal((await specifiers("import_extension=js"))[4], "./shop_pb.js");
  equal((await specifiers("import_extension=none"))[4], "./shop_pb");
  deepEqual(await specifiers("import_extension=js", "well_known_ttrpc.ts"), [
    "@ttrpc/ttrpc/types",
    "./well_known_pb.js",
    "@bufbuild/protobuf/wkt",
  ]);
});

Deno.test("runtime is the specifier of the ttrpc module, or a path from the output folder", async () => {
  equal((await specifiers("runtime=jsr:@ttrpc/ttrpc@1"))[0], "jsr:@ttrpc/ttrpc@1");
  equal((await specifiers("runtime=./lib/ttrpc.ts"))[0], "../../lib/ttrpc.ts");
  equal((await specifiers("runtime=../mod.ts"))[0], "../../../mod.ts");
  equal((await specifiers("runtime=../mod.ts", "kinds_ttrpc.ts"))[0], "../mod.ts");
  equal((await specifiers('runtime=a"b'))[0], 'a\\"b');
});

Deno.test("pb_path is a folder from the output folder, or a package", async () => {
  deepEqual((await specifiers("pb_path=../es")).slice(1), [
    "../../../es/money/currency_pb.ts",
    "../../../es/money/money_pb.ts",
    "../../../es/other/deep/er/money_pb.ts",
    "../../../es/shop/v1/shop_pb.ts",
  ]);
  equal((await specifiers("pb_path=../es/", "kinds_ttrpc.ts"))[1], "../es/kinds_pb.ts");
  equal((await specifiers("pb_path=./shop"))[4], "../shop/v1/shop_pb.ts");
  equal(
    (await specifiers("pb_path=@me/protos,import_extension=none"))[4],
    "@me/protos/shop/v1/shop_pb",
  );
});

Deno.test("an option that is unknown, or has a wrong value, is an error that says what is right", async () => {
  for (
    const [parameter, error] of [
      ["targt=ts", `"targt=ts": the options are target, import_extension, runtime, pb_path`],
      ["toString", `"toString": the options are target, import_extension, runtime, pb_path`],
      ["target=js", `"target=js": target must be ts`],
      ["target", `"target=": target must be ts`],
      ["import_extension=.ts", `"import_extension=.ts": import_extension must be ts or js or none`],
      ["target=ts,runtime=", `"runtime=": runtime needs a value`],
      ["pb_path= ", `"pb_path= ": pb_path needs a value`],
    ] as const
  ) {
    const response = generate(await corpusRequest(parameter));
    equal(response.error, `Cannot use the option ${error}`);
    deepEqual(response.file, []);
  }
});

Deno.test("the options are told in the first line, and cannot end it", async () => {
  const { file } = generate(await corpusRequest("runtime=a\nb\u2028c"));
  match(file[0]!.content, /^.*protoc-gen-ttrpc-es with parameter "runtime=a\\nb\\u2028c"\n/);
});

Deno.test("the plugin says what it understands", async () => {
  const response = generate(await corpusRequest());
  equal(response.supportedFeatures, 3n);
  equal(response.minimumEdition, Edition.EDITION_PROTO2);
  equal(response.maximumEdition >= Edition.EDITION_2024, true);
});

function generateOne(methods: string[], name = "Bad", pkg = "bad"): string {
  const type = `.${pkg}.Empty`;
  const proto = create(FileDescriptorProtoSchema, {
    name: "bad.proto",
    syntax: "proto3",
    package: pkg,
    messageType: [{ name: "Empty" }],
    service: [{
      name,
      method: methods.map((name) => ({ name, inputType: type, outputType: type })),
    }],
  });
  const request = { fileToGenerate: ["bad.proto"], protoFile: [proto] };
  return generate(create(CodeGeneratorRequestSchema, request)).error;
}

Deno.test("methods that would be one in TypeScript are an error that names both", () => {
  equal(
    generateOne(["Get", "get"]),
    "bad.proto: Cannot generate bad.Bad: its methods Get and get would both be called get",
  );
  equal(
    generateOne(["__proto__"]),
    "bad.proto: Cannot generate bad.Bad: a JavaScript object cannot have an ordinary property called __proto__",
  );
});

Deno.test("names that no compiler lets through do not get into the code", () => {
  for (const name of ["1st", 'a"b', "a b", "a*/b"]) throws(() => generateOne([], name), /name/);
  for (const name of ["1st", 'a"b']) throws(() => generateOne([name]), /name/);
  for (const pkg of ["a*/b", "a\nb", "1a"]) {
    throws(() => generateOne(["Get"], "Bad", pkg), /not a valid package name/);
  }
});
