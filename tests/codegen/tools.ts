/** What the tests of the plugin need: projects of users, programs, and requests as buf makes them. */

import { create, fromBinary } from "@bufbuild/protobuf";
import {
  type CodeGeneratorRequest,
  CodeGeneratorRequestSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { fileURLToPath } from "node:url";
import { missingProgram, testUnless } from "../machine.ts";

/** The repository. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
/** The plugin. */
export const PLUGIN = `${ROOT}/codegen/protoc_gen_ttrpc_es.ts`;
/** How buf is run. */
export const BUF = ["run", "--allow-all", "npm:@bufbuild/buf@1.74.0"];

/** What a program said. */
export interface Output {
  code: number;
  stdout: Uint8Array;
  stderr: string;
}

/** Runs a program to its end, with what it reads. */
export async function run(
  program: string,
  args: string[],
  options: { cwd?: string; stdin?: Uint8Array | ReadableStream<Uint8Array>; path?: string } = {},
): Promise<Output> {
  const { cwd = ROOT, stdin, path } = options;
  const child = new Deno.Command(program, {
    args,
    cwd,
    env: { NO_COLOR: "1", ...path === undefined ? {} : { PATH: path } },
    stdin: stdin ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  if (stdin) {
    const bytes = stdin instanceof Uint8Array ? ReadableStream.from([stdin]) : stdin;
    // A program that has seen enough closes the pipe.
    await bytes.pipeTo(child.stdin).catch(() => {});
  }
  const { code, stdout, stderr } = await output;
  return { code, stdout, stderr: new TextDecoder().decode(stderr) };
}

/** Runs Deno, and fails if it does. */
export async function deno(args: string[], cwd?: string): Promise<string> {
  const { code, stdout, stderr } = await run(Deno.execPath(), args, cwd ? { cwd } : {});
  if (code !== 0) throw new Error(`deno ${args.join(" ")} has exited with ${code}: ${stderr}`);
  return new TextDecoder().decode(stdout);
}

/** The configuration of a user's project, with the strictest options. */
export async function projectConfig(): Promise<Record<string, unknown>> {
  const { version } = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
  return {
    imports: {
      "@bufbuild/protobuf": "npm:@bufbuild/protobuf@^2.17.0",
      "@ttrpc/ttrpc": `jsr:@ttrpc/ttrpc@^${version}`,
    },
    ...linked,
    compilerOptions: {
      strict: true,
      exactOptionalPropertyTypes: true,
      noImplicitOverride: true,
      noPropertyAccessFromIndexSignature: true,
      noUncheckedIndexedAccess: true,
      noUnusedLocals: true,
      verbatimModuleSyntax: true,
    },
    lint: { rules: { tags: ["recommended", "jsr"] } },
  };
}

/** Where JSR cannot be reached, this stands for it: `jsr:@ttrpc/ttrpc` is this checkout. */
export const linked = { links: [ROOT, `${ROOT}/links/bytes`, `${ROOT}/links/streams`] };

/** A folder of its own, removed at the end. */
export class Folder implements Disposable {
  readonly path: string = Deno.makeTempDirSync({ prefix: "ttrpc-codegen-" });

  /** Writes a file. */
  write(name: string, content: string | object): void {
    const path = `${this.path}/${name}`;
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    const text = typeof content === "string" ? content : JSON.stringify(content, null, 2);
    Deno.writeTextFileSync(path, text);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** The files in a folder, by their path in it. */
export function filesIn(folder: string, inside = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const { name, isDirectory } of Deno.readDirSync(`${folder}/${inside}`)) {
    const path = `${inside}${name}`;
    if (!isDirectory) found.set(path, Deno.readTextFileSync(`${folder}/${path}`));
    else for (const [below, text] of filesIn(folder, `${path}/`)) found.set(below, text);
  }
  return new Map([...found].sort(([a], [b]) => a < b ? -1 : 1));
}

/** Compiles the protos of a folder, and asks for all of them. */
export async function requestFor(
  folder: string,
  parameter = "",
): Promise<CodeGeneratorRequest> {
  const args = [...BUF, "build", "--as-file-descriptor-set", "--output", "-"];
  const { code, stdout, stderr } = await run(Deno.execPath(), args, { cwd: folder });
  if (code !== 0) throw new Error(`Cannot compile ${folder}: ${stderr}`);
  const { file } = fromBinary(FileDescriptorSetSchema, stdout);
  return create(CodeGeneratorRequestSchema, {
    parameter,
    protoFile: file,
    fileToGenerate: file.map(({ name }) => name).filter((name) => !name.startsWith("google/")),
  });
}

let compiled: Promise<CodeGeneratorRequest> | undefined;

/** The request for the corpus. */
export async function corpusRequest(parameter = ""): Promise<CodeGeneratorRequest> {
  const request = await (compiled ??= requestFor(import.meta.dirname!));
  return create(CodeGeneratorRequestSchema, { ...request, parameter });
}

/** A test that needs a program. Where it is missing, its name says so. */
export function testWith(program: string, name: string, fn: () => Promise<void>): void {
  testUnless(missingProgram(program), name, fn);
}
