// The way from a proto file to a call that the README shows, and the page on generating: what they
// say is done, in an empty folder, to the letter.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { deno, filesIn, Folder, linked, ROOT } from "./tools.ts";

interface Chapter {
  files: Map<string, string>;
  commands: string[];
}

async function readChapter(): Promise<Chapter> {
  const readme = await Deno.readTextFile(`${ROOT}/README.md`);
  const [, chapter = ""] = readme.match(/^## From a proto file to a call$(.*?)^## /ms) ?? [];
  const blocks = chapter.matchAll(/`([\w./]+)`:\n\n```[^\n]*\n(.*?)^```$/gms);
  const files = Array.from(blocks, ([, name, text]) => [name!, text!] as const);
  return { files: new Map(files), commands: commandsOf(chapter) };
}

function commandsOf(markdown: string): string[] {
  return Array.from(markdown.matchAll(/^ {4}((?:deno|protoc) .*)$/gm), ([, command]) => command!);
}

/** The arguments of a command that runs Deno. */
function denoArgs(command: string): string[] {
  const [program, ...args] = command.split(" ");
  equal(program, "deno");
  return args;
}

Deno.test("the README leads from an empty folder to a call, and to a package for JSR", async () => {
  const { files, commands } = await readChapter();
  const [generate = "", server = "", client = ""] = commands;
  deepEqual([...files.keys()], [
    "deno.json",
    "proto/greeter/v1/greeter.proto",
    "buf.yaml",
    "buf.gen.yaml",
    "server.ts",
    "client.ts",
  ]);
  using place = new Folder();
  for (const [name, text] of files) place.write(name, text);
  // The only thing that the README does not say: this checkout stands for `jsr:@ttrpc/ttrpc`, which
  // cannot be fetched everywhere, and has not been published with what is to be tested.
  const config = JSON.parse(files.get("deno.json")!);
  place.write("deno.json", { ...config, ...linked });

  await deno(denoArgs(generate), place.path);
  deepEqual([...filesIn(`${place.path}/gen`).keys()], [
    "greeter/v1/greeter_pb.ts",
    "greeter/v1/greeter_ttrpc.ts",
  ]);
  await deno(["check", "."], place.path);

  const process = new Deno.Command(Deno.execPath(), {
    args: denoArgs(server),
    cwd: place.path,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  try {
    const stdout = process.stdout.getReader();
    equal(new TextDecoder().decode((await stdout.read()).value), "listening\n");
    stdout.releaseLock();
    equal(await deno(denoArgs(client), place.path), "Hello Deno\n");
  } finally {
    process.kill();
    await process.status;
    await process.stdout.cancel();
  }

  const service = "./gen/greeter/v1/greeter_ttrpc.ts";
  const published = { name: "@me/greeter", version: "1.0.0", license: "MIT", exports: service };
  place.write("deno.json", { ...config, ...linked, ...published });
  await deno(["publish", "--dry-run", "--allow-dirty"], place.path);
});

Deno.test("docs/generate.md names the plugin so that protoc finds it", async () => {
  const page = await Deno.readTextFile(`${ROOT}/docs/generate.md`);
  const [install = "", protoc = ""] = commandsOf(page);
  match(
    install,
    /^deno install .*--name protoc-gen-ttrpc-es jsr:@ttrpc\/ttrpc\/protoc-gen-ttrpc-es$/,
  );
  match(protoc, /^protoc .*--ttrpc-es_out=/);
  const { exports } = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
  ok(exports["./protoc-gen-ttrpc-es"]);
});
