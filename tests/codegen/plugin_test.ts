// The plugin as a process: what it needs, and what it does with what is no request.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { generate } from "../../codegen/generate.ts";
import { answer, readAll } from "../../codegen/plugin.ts";
import { corpusRequest, filesIn, Folder, type Output, PLUGIN, run, testWith } from "./tools.ts";

function plugin(stdin: Uint8Array | ReadableStream<Uint8Array>): Promise<Output> {
  return run(Deno.execPath(), ["run", "--no-prompt", PLUGIN], { stdin });
}

async function corpusBytes(parameter = ""): Promise<Uint8Array> {
  return toBinary(CodeGeneratorRequestSchema, await corpusRequest(parameter));
}

/** A request for two files that need nothing else, some kilobytes long. */
async function smallRequest(): Promise<Uint8Array> {
  const { protoFile } = await corpusRequest();
  const fileToGenerate = ["kinds.proto", "nested.proto"];
  return toBinary(
    CodeGeneratorRequestSchema,
    create(CodeGeneratorRequestSchema, {
      fileToGenerate,
      protoFile: protoFile.filter(({ name }) => fileToGenerate.includes(name)),
    }),
  );
}

/** A single line, which says that it comes from the plugin. */
function failsClearly({ code, stdout, stderr }: Output, reason: RegExp): void {
  equal(code, 1);
  equal(stdout.length, 0);
  match(stderr, /^protoc-gen-ttrpc-es: Cannot [^\n]*\n$/);
  match(stderr, reason);
}

Deno.test("the plugin needs no permission, and writes what the function gives", async () => {
  const { code, stdout, stderr } = await plugin(await corpusBytes());
  equal(stderr, "");
  equal(code, 0);
  deepEqual(
    fromBinary(CodeGeneratorResponseSchema, stdout),
    generate(await corpusRequest()),
  );
});

Deno.test("an error of the user goes into the response, as protoc wants it", async () => {
  const { code, stdout, stderr } = await plugin(await corpusBytes("bad=1"));
  deepEqual([code, stderr], [0, ""]);
  match(fromBinary(CodeGeneratorResponseSchema, stdout).error, /^Cannot use the option "bad=1": /);
});

Deno.test("nothing, half a request and noise on stdin fail with one line", async () => {
  const whole = await corpusBytes();
  const noise = crypto.getRandomValues(new Uint8Array(1 << 16));
  const [empty, half, random] = await Promise.all([
    plugin(new Uint8Array()),
    plugin(whole.subarray(0, whole.length / 2)),
    plugin(noise),
  ]);
  failsClearly(empty, /the request names no file/);
  failsClearly(half, /Cannot read the request: /);
  failsClearly(random, /Cannot /);
});

Deno.test("names in a request reach no terminal as they are", async () => {
  const request = { fileToGenerate: ["\x1b]0;owned\x07\n\x9b\u202e.proto"] };
  failsClearly(
    await plugin(toBinary(CodeGeneratorRequestSchema, create(CodeGeneratorRequestSchema, request))),
    /Cannot generate \\x1b\]0;owned\\x07\\n\\x9b\\u202e\.proto: the request does not describe it\n$/,
  );
});

Deno.test("a request cut off anywhere fails, or has all that was asked for", async () => {
  const whole = await smallRequest();
  const full = answer(whole);
  let failed = 0;
  for (let length = 0; length < whole.length; length++) {
    try {
      deepEqual(answer(whole.subarray(0, length)), full, `cut at ${length}`);
    } catch (error) {
      ok(error instanceof Error && !(error as { code?: string }).code, `${error}`);
      match(error.message, /^Cannot /);
      failed++;
    }
  }
  ok(failed > 100);
});

Deno.test("random bytes, also in the middle of a request, end in an error or a response", async () => {
  const whole = await smallRequest();
  const tried = (bytes: Uint8Array) => {
    try {
      answer(bytes);
    } catch (error) {
      ok(error instanceof Error);
      match(error.message, /^(.*: )?Cannot /s); // what is wrong in a file has its name in front
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), tried));
  fc.assert(
    fc.property(fc.nat(whole.length - 4), fc.uint8Array({ maxLength: 4 }), (at, bytes) => {
      const spoilt = whole.slice();
      spoilt.set(bytes, at);
      tried(spoilt);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("missing descriptors are told by name", async () => {
  const { protoFile } = await corpusRequest();
  const shop = protoFile.filter(({ name }) => name === "shop/v1/shop.proto");
  const bytes = (fileToGenerate: string[], files: typeof shop) =>
    toBinary(
      CodeGeneratorRequestSchema,
      create(CodeGeneratorRequestSchema, { fileToGenerate, protoFile: files }),
    );
  const type = create(FileDescriptorProtoSchema, {
    name: "a.proto",
    service: [{ name: "A", method: [{ name: "Get", inputType: ".no.In", outputType: ".no.Out" }] }],
  });
  const [none, dependency, message] = await Promise.all([
    plugin(bytes(["gone.proto"], shop.slice(1))),
    plugin(bytes(["shop/v1/shop.proto"], shop)),
    plugin(bytes(["a.proto"], [type])),
  ]);
  failsClearly(none, /Cannot generate gone\.proto: the request does not describe it/);
  failsClearly(dependency, /google\/protobuf\/timestamp\.proto, imported by shop\/v1\/shop\.proto/);
  failsClearly(message, /\.no\.In not found/);
});

Deno.test("an enormous file is generated, in a time that grows with it and no faster", async () => {
  const count = 5_000;
  const chain = Array.from({ length: count }, (_, index) => ({
    name: `Message${index}`,
    // Each message holds the next: nothing here may call itself as deep as this goes.
    field: index + 1 < count
      ? [{ name: "next", number: 1, type: 11, label: 1, typeName: `.big.Message${index + 1}` }]
      : [],
  }));
  const file = create(FileDescriptorProtoSchema, {
    name: "big.proto",
    package: "big",
    syntax: "proto3",
    messageType: chain,
    service: [{
      name: "Big",
      method: chain.map(({ name }) => ({
        name: `Get${name}`,
        inputType: `.big.${name}`,
        outputType: `.big.${name}`,
      })),
    }],
  });
  const request = create(CodeGeneratorRequestSchema, {
    fileToGenerate: ["big.proto"],
    protoFile: [file],
  });
  const { code, stdout, stderr } = await plugin(toBinary(CodeGeneratorRequestSchema, request));
  deepEqual([code, stderr], [0, ""]);
  const [{ content } = { content: "" }] = fromBinary(CodeGeneratorResponseSchema, stdout).file;
  equal(content.match(/^ {2}getMessage\d+\(/gm)?.length, count);
});

Deno.test("a request without an end is given up", async () => {
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(1 << 10)),
  });
  await rejects(readAll(endless, 1 << 16), {
    name: "RangeError",
    message: "Cannot read the request: it has more than 65536 bytes",
  });
  equal((await readAll(ReadableStream.from([new Uint8Array(3), new Uint8Array(4)]), 7)).length, 7);
});

testWith("protoc", "protoc runs the plugin, and gets what buf gets", async () => {
  using place = new Folder();
  // What `deno install` would put on the path.
  place.write("bin/protoc-gen-ttrpc-es", `#!/bin/sh\nexec deno run --no-prompt '${PLUGIN}' "$@"\n`);
  Deno.chmodSync(`${place.path}/bin/protoc-gen-ttrpc-es`, 0o755);
  Deno.mkdirSync(`${place.path}/gen`);
  const { code, stderr } = await run("protoc", [
    `--plugin=${place.path}/bin/protoc-gen-ttrpc-es`,
    `--ttrpc-es_out=${place.path}/gen`,
    "--ttrpc-es_opt=import_extension=ts",
    "--ttrpc-es_opt=target=ts",
    `--proto_path=${import.meta.dirname}/protos`,
    "kinds.proto",
    "legacy.proto",
    "shop/v1/shop.proto",
  ]);
  deepEqual([code, stderr], [0, ""]);
  const golden = filesIn(`${import.meta.dirname}/gen`);
  const written = filesIn(`${place.path}/gen`);
  deepEqual([...written.keys()], ["kinds_ttrpc.ts", "legacy_ttrpc.ts", "shop/v1/shop_ttrpc.ts"]);
  for (const [name, text] of written) {
    const parameter = ` with parameter "import_extension=ts,target=ts"`;
    equal(text.replace(parameter, ""), golden.get(name));
  }
});
