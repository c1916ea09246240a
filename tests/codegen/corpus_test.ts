// The corpus: what is generated for it is as it is in gen/, sound, and works.

import type { DescMessage, DescService } from "@bufbuild/protobuf";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { connect, type MethodKind, serve } from "@ttrpc/ttrpc";
import type { TypedService } from "@ttrpc/ttrpc/types";
import { deepEqual, equal, ok } from "node:assert/strict";
import { generate } from "../../codegen/generate.ts";
import { SocketFolder } from "../fixture.ts";
import { BUF, corpusRequest, deno, filesIn, Folder, projectConfig, run } from "./tools.ts";

const FOLDER = import.meta.dirname!;

Deno.test("generating the corpus again changes nothing", async () => {
  using place = new Folder();
  await deno([...BUF, "generate", "--output", place.path], FOLDER);
  deepEqual(filesIn(`${place.path}/gen`), filesIn(`${FOLDER}/gen`));
});

Deno.test("each proto file with a service gives one file, whatever else is asked for", async () => {
  const request = await corpusRequest();
  const { file, error } = generate(request);
  equal(error, "");
  const expected = [...filesIn(`${FOLDER}/gen`)].filter(([name]) => name.endsWith("_ttrpc.ts"));
  const written = file.map(({ name, content }) => [name, content] as const);
  deepEqual(new Map(written.sort(([a], [b]) => a < b ? -1 : 1)), new Map(expected));

  request.fileToGenerate.reverse();
  deepEqual(generate(request).file, file.toReversed());
  for (const alone of request.fileToGenerate) {
    const [only, ...more] = generate({ ...request, fileToGenerate: [alone] }).file;
    equal(more.length, 0);
    deepEqual(only, file.find(({ name }) => name === alone.replace(".proto", "_ttrpc.ts")));
  }
});

Deno.test("what is generated satisfies the strictest compiler, the linter and the formatter", async () => {
  using place = new Folder();
  place.write("deno.json", await projectConfig());
  const files = filesIn(`${FOLDER}/gen`);
  for (const [name, text] of files) place.write(name, text);
  const written = [...files.keys()].filter((name) => name.endsWith("_ttrpc.ts"));
  await deno(["check", ...written], place.path);
  await deno(["lint", ...written], place.path);
  await deno(["fmt", "--check", ...written], place.path);
  for (const name of written) {
    const code = files.get(name)!.replaceAll(/^ *(\/?\*|\/\/).*$/gm, "");
    ok(!/\bany\b|=>\s*\{|\bfunction\b/.test(code), `${name} has logic, or any`);
  }
});

Deno.test("deno doc --lint finds nothing in what is generated", async () => {
  using place = new Folder();
  const { imports } = await projectConfig() as { imports: Record<string, string> };
  // Deno takes types for private that come from a package in a local folder, and none that come
  // from JSR (denoland/deno#34339). So here the types come from a module that is no file.
  const types = ["CallOptions", "HandlerContext", "MessageInitShape<_>", "Messages<_>"];
  const stub = [...types, "MessageStream<_>", "TypedService<_, __>"]
    .map((type) => `export type ${type} = unknown;`).join("");
  imports["@ttrpc/ttrpc/types"] = `data:application/typescript,${encodeURIComponent(stub)}`;
  place.write("deno.json", { imports });
  const files = filesIn(`${FOLDER}/gen`);
  for (const [name, text] of files) place.write(name, text);
  const written = [...files.keys()].filter((name) => name.endsWith("_ttrpc.ts"));
  const args = ["doc", "--lint", ...written];
  const { stderr } = await run(Deno.execPath(), args, { cwd: place.path });
  // protoc-gen-es documents its files less thoroughly.
  ok(/--> .*_pb\.ts:/.test(stderr), stderr);
  deepEqual(stderr.match(/^error.*\n *--> .*_ttrpc\.ts:.*$/gm) ?? [], []);
});

Deno.test("a server and a client of every service in the corpus exchange all kinds of calls", async () => {
  using socket = new SocketFolder();
  const services = await servicesOf([...filesIn(`${FOLDER}/gen`).keys()]);
  const kinds = new Set<MethodKind>();
  await using _server = serve({ path: socket.path }, (router) => {
    for (const service of services) router.service(service, handlersOf(service));
  });
  await using client = await connect({ path: socket.path });
  for (const service of services) {
    const methods = client.service(service);
    for (const { localName, methodKind, input, output } of service.methods) {
      const name = localName === "then" ? "then$" : localName;
      const manyIn = methodKind === "client_streaming" || methodKind === "bidi_streaming";
      const manyOut = methodKind === "server_streaming" || methodKind === "bidi_streaming";
      const result = methods[name]!(manyIn ? [some(input), some(input)] : some(input));
      const messages = manyOut
        ? await Array.fromAsync(result as AsyncIterable<unknown>)
        : [await result];
      equal(messages.length, manyOut ? 2 : 1);
      for (const message of messages) {
        equal((message as { $typeName: string }).$typeName, output.typeName);
      }
      kinds.add(methodKind);
    }
  }
  deepEqual([...kinds].sort(), ["bidi_streaming", "client_streaming", "server_streaming", "unary"]);
});

type Methods = Record<string, (request: unknown) => unknown>;

// Services of whatever types: those of each are checked elsewhere.
async function servicesOf(names: string[]): Promise<TypedService<Methods, Methods>[]> {
  const modules: Record<string, unknown>[] = await Promise.all(
    names.filter((name) => name.endsWith("_ttrpc.ts")).map((name) => import(`./gen/${name}`)),
  );
  return modules.flatMap(Object.values).filter((value): value is TypedService<Methods, Methods> =>
    (value as { kind?: string }).kind === "service"
  );
}

function handlersOf({ methods }: DescService): Methods {
  const kinds: Record<MethodKind, (one: object) => (request: never) => unknown> = {
    unary: (one) => () => one,
    server_streaming: (one) => () => [one, one],
    client_streaming: (one) => async (requests: AsyncIterable<unknown>) => {
      equal((await Array.fromAsync(requests)).length, 2);
      return one;
    },
    bidi_streaming: (one) =>
      async function* (requests: AsyncIterable<unknown>) {
        for await (const _ of requests) yield one;
      },
  };
  const named = methods.map(({ localName, methodKind, output }) =>
    [localName === "then" ? "then$" : localName, kinds[methodKind](some(output))] as const
  );
  return Object.fromEntries(named) as Methods;
}

/** Of what a message is made that has what it must have: texts only, in the corpus. */
function some({ fields }: DescMessage): object {
  const required = fields.filter(({ presence }) =>
    presence === FeatureSet_FieldPresence.LEGACY_REQUIRED
  );
  return Object.fromEntries(required.map(({ localName }) => [localName, "x"]));
}
