// The repository keeps what it says: generated code is current, the documentation complete, the
// permissions exact, the layers in order.

import { deepEqual, equal, ok } from "node:assert/strict";
import { SocketFolder } from "./fixture.ts";
import { floors, folderOf, FOLDERS, imports, map, withMap } from "./layers.ts";

const root = new URL("..", import.meta.url).pathname;

interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

async function deno(args: string[], cwd = root): Promise<Output> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

async function files(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (!isDirectory) found.set(name, await Deno.readTextFile(`${folder}/${name}`));
    else {for (const [path, text] of await files(`${folder}/${name}`)) {
        found.set(`${name}/${path}`, text);
      }}
  }
  return found;
}

Deno.test("generating again changes nothing", async () => {
  using place = new SocketFolder();
  const { code, stderr } = await deno([
    "run",
    "--allow-all",
    "npm:@bufbuild/buf@1.74.0",
    "generate",
    "--output",
    place.folder,
  ]);
  equal(code, 0, stderr);
  deepEqual(await files(`${place.folder}/gen`), await files(`${root}/gen`));
});

Deno.test("every exported symbol is documented", async () => {
  const { exports } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  const { stderr } = await deno(["doc", "--lint", ...Object.values<string>(exports)]);
  const findings = stderr.split("\n").filter((line) => line.startsWith("error["));
  deepEqual(findings, []);
});

Deno.test("every symbol of the two main entries has a category", async () => {
  for (const entry of ["mod.ts", "types.ts"]) {
    const { stdout } = await deno(["doc", "--json", entry]);
    const [{ symbols }] = Object.values(JSON.parse(stdout).nodes) as [{ symbols: Documented[] }];
    const without = symbols.filter(({ declarations }) =>
      !declarations.some(({ jsDoc }) =>
        jsDoc?.tags?.some(({ kind }) => kind === "category" || kind === "ignore")
      )
    );
    deepEqual(without.map(({ name }) => name), [], entry);
  }
});

interface Documented {
  name: string;
  declarations: { jsDoc?: { tags?: { kind: string }[] } }[];
}

interface Module {
  specifier: string;
  dependencies?: { code?: { specifier?: string } }[];
}

/** The modules that are loaded with one; not those that only types come from. */
async function loadedWith(module: string): Promise<string[]> {
  const { stdout } = await deno(["info", "--json", module]);
  const { modules, roots } = JSON.parse(stdout) as { modules: Module[]; roots: string[] };
  const known = new Map(modules.map((module) => [module.specifier, module]));
  const loaded = new Set(roots);
  for (const specifier of loaded) {
    for (const { code } of known.get(specifier)?.dependencies ?? []) {
      if (code?.specifier !== undefined) loaded.add(code.specifier);
    }
  }
  return [...loaded];
}

Deno.test("the core does not load protobuf-es", async () => {
  const protobuf = (specifiers: string[]) => specifiers.filter((name) => /bufbuild/.test(name));
  deepEqual(protobuf(await loadedWith("core.ts")), []);
  ok(protobuf(await loadedWith("mod.ts")).length > 0);
});

Deno.test("files import others of their folder or of one below, never in a circle", async () => {
  const graph = await imports();
  floors(graph);
  ok(graph.get("client.ts")!.has("engine/client_call.ts")); // imports into folders are seen
  for (const [file, imported] of graph) {
    for (const other of imported) {
      ok(graph.has(other), `${file} imports ${other}, which is not a part of the module`);
      const [from, to] = [folderOf(file), folderOf(other)];
      ok(from === to || FOLDERS[from]!.includes(to), `${file} imports ${other}`);
    }
  }
});

Deno.test("CONTRIBUTING.md has the map of the files as they are", async () => {
  const text = await Deno.readTextFile(`${root}/CONTRIBUTING.md`);
  const plain = (markdown: string) => markdown.replaceAll(/\s+/g, " ");
  equal(
    plain(text),
    plain(withMap(text, await map())),
    "deno run -A tests/layers.ts --write puts it there",
  );
  ok(text.includes("`server.ts`: "));
});

Deno.test("what is published is the module and its documents, and nothing else", async () => {
  const sources = [...(await imports()).keys()];
  const documents = ["CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"];
  const standIns = [...(await files(`${root}/links`)).keys()].map((path) => `links/${path}`);
  // What must not be published is there as well.
  using place = new SocketFolder();
  const others = ["CONTRIBUTING.md", "deno.json", "deno.lock", "isolate-1.log", "tests/layers.ts"];
  await Deno.writeTextFile(`${place.folder}/isolate-1.log`, "a profile");
  for (const path of [...sources, ...documents, ...standIns, ...others]) {
    const to = `${place.folder}/${path}`;
    await Deno.mkdir(to.slice(0, to.lastIndexOf("/")), { recursive: true });
    if (!path.endsWith(".log")) await Deno.copyFile(`${root}/${path}`, to);
  }
  const folder = await Deno.realPath(place.folder); // macOS has temporary files behind a link
  const args = ["publish", "--dry-run", "--allow-dirty", "--no-check"];
  const { code, stderr } = await deno(args, folder);
  equal(code, 0, stderr);
  const listed = [...stderr.matchAll(/^ +file:\/\/(\S+) \(/gm)]
    .map(([, path]) => path!.slice(folder.length + 1));
  deepEqual(listed.sort(), [...documents, "deno.json", ...sources].sort());
});

Deno.test("the permissions in the README are enough, and each is needed", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  const net = `--allow-net=unix:${path}`;
  const files = [`--allow-read=${path}`, `--allow-write=${path}`];
  const folder = [`--allow-read=${socket.folder}`, `--allow-write=${socket.folder}`];
  const serverFlags = [`${net},unix:${path}.new/s`, ...folder];

  for (const left of serverFlags) {
    const flags = serverFlags.filter((flag) => flag !== left);
    const { code, stderr } = await deno([
      "run",
      "--no-prompt",
      ...flags,
      "examples/greeter_server.ts",
      path,
    ]);
    equal(code, 1, left);
    ok(/NotCapable/.test(stderr), stderr);
  }

  await using server = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", ...serverFlags, "examples/greeter_server.ts", path],
    cwd: root,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const stdout = server.stdout.getReader();
  equal(new TextDecoder().decode((await stdout.read()).value), `listening on ${path}\n`);

  const clientFlags = [net, ...files];
  const client = ["examples/greeter_client.ts", `unix://${path}`, "Ada"];
  deepEqual(await deno(["run", "--no-prompt", ...clientFlags, ...client]), {
    code: 0,
    stdout: "Hello Ada\n",
    stderr: "",
  });
  for (const left of clientFlags) {
    const flags = clientFlags.filter((flag) => flag !== left);
    const { code, stderr } = await deno(["run", "--no-prompt", ...flags, ...client]);
    equal(code, 1, left);
    ok(/NotCapable/.test(stderr), stderr);
  }

  server.kill("SIGTERM");
  equal((await server.status).code, 0);
  await stdout.cancel();
});

Deno.test("the demo runs through", async () => {
  const { code, stdout, stderr } = await deno(["task", "--quiet", "demo"]);
  equal(code, 0, stderr);
  for (const line of [/Hello Deno/, /NOT_FOUND: no such room/, /DEADLINE_EXCEEDED/, /is gone/]) {
    ok(line.test(stdout), stdout);
  }
});

Deno.test("no module prints anything", async () => {
  for (const name of (await imports()).keys()) {
    if (/^(cli|codegen)\//.test(name)) continue;
    const code = (await Deno.readTextFile(`${root}/${name}`)).replace(/^ *(\*|\/\/|\/\*).*$/gm, "");
    ok(!/\bconsole\./.test(code), name);
  }
});

Deno.test("the command prints as it is only its help, its completions and bytes", async () => {
  const printing = new Map<string, number>();
  for await (const { name } of Deno.readDir(`${root}/cli`)) {
    const code = (await Deno.readTextFile(`${root}/cli/${name}`)).replace(
      /^ *(\*|\/\/|\/\*).*$/gm,
      "",
    );
    ok(!/\bconsole\./.test(code), name);
    const count = code.match(/\.print\(/g)?.length;
    if (count !== undefined) printing.set(name, count);
  }
  printing.delete("terminal.ts"); // which escapes what it is given, before
  deepEqual(printing, new Map([["program.ts", 3], ["messages.ts", 1]]));
});

Deno.test("the core says what to import for protobuf-es's services", async () => {
  const { code, stderr } = await deno([
    "eval",
    `import { createConnectionPair, serve } from "./core.ts";
     import { Greeter } from "./gen/greeter/v1/greeter_pb.ts";
     const [connection] = createConnectionPair();
     serve({ connection }, (router) => router.service(Greeter, {}));`,
  ]);
  equal(code, 1);
  ok(
    stderr.includes(
      "TypeError: Cannot encode or decode greeter.v1.HelloRequest: " +
        '"@ttrpc/ttrpc/core" does not load protobuf-es, import "@ttrpc/ttrpc"',
    ),
    stderr,
  );
});

/** The names of all tests, as expressions: what is filled in may be anything. */
async function testNames(folder: string): Promise<RegExp[]> {
  const names: RegExp[] = [];
  for (const [path, text] of await files(folder)) {
    if (!path.endsWith(".ts")) continue;
    const calls = text.matchAll(/[(,]\s*(["`])((?:(?!\1).)+)\1,\s*(?=async|\(|\{)/gs);
    for (const [, quote, name] of calls) {
      const fixed = quote === "`" ? name!.split(/\$\{.*?\}/s) : [name!];
      if (fixed.join("").length < 10) continue; // would fit any name
      const escaped = fixed.map((part) => RegExp.escape(part.replaceAll(/\\(["`])/g, "$1")));
      names.push(new RegExp(`^${escaped.join(".*")}$`));
    }
  }
  return names;
}

Deno.test("the tests that SECURITY.md names are there", async () => {
  const text = await Deno.readTextFile(`${root}/SECURITY.md`);
  const names = await testNames(`${root}/tests`);
  const named: string[] = [];
  for (const block of text.split(/\n(?:\n|- |(?=\|))/)) {
    const tests = block.startsWith("|") ? block : block.match(/Tests?:.*/s)?.[0] ?? "";
    const line = tests.replaceAll(/\s+/g, " ");
    for (const [, name] of line.matchAll(/"((?:[^"]|"\w+")+)"(?=[ ,;.]|$)/g)) named.push(name!);
  }
  ok(named.length >= 48, `${named.length} tests are named`);
  deepEqual(named.filter((name) => !names.some((pattern) => pattern.test(name))), []);
});
