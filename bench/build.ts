import { create, toBinary } from "@bufbuild/protobuf";
import { CodeGeneratorRequestSchema, CodeGeneratorResponseSchema } from "@bufbuild/protobuf/wkt";
import { fromBinary } from "@bufbuild/protobuf";
import { fileURLToPath } from "node:url";
import { file_ttrpc_bench_v1_bench } from "./gen/ttrpc/bench/v1/bench_pb.ts";

/** Where everything goes that is built. */
const CACHE = new URL("../.cache/bench/", import.meta.url);

/** The path of something beside this file. */
export function pathOf(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}

/** The path of something that is built. */
export function cached(name: string): string {
  return fileURLToPath(new URL(name, CACHE));
}

/** Builds the Go peer, with code that the generator of its own protobuf module makes. */
export async function buildGo(): Promise<string> {
  await Deno.mkdir(CACHE, { recursive: true });
  const folder = pathOf("go");
  const plugin = cached("protoc-gen-go");
  const generator = "google.golang.org/protobuf/cmd/protoc-gen-go";
  await output(["go", "build", "-buildvcs=false", "-o", plugin, generator], folder);
  const generated = cached("bench.pb.go");
  await Deno.writeTextFile(generated, await generate(plugin));
  // The generated file appears in the module without being there.
  const overlay = cached("overlay.json");
  const Replace = { [`${folder}/benchv1/bench.pb.go`]: generated };
  await Deno.writeTextFile(overlay, JSON.stringify({ Replace }));
  const binary = cached("go");
  await output(["go", "build", "-buildvcs=false", "-overlay", overlay, "-o", binary, "."], folder);
  return binary;
}

/** What a plugin of protoc makes of the benchmark's schema. */
async function generate(plugin: string): Promise<string> {
  const { proto } = file_ttrpc_bench_v1_bench;
  const request = create(CodeGeneratorRequestSchema, {
    fileToGenerate: [`${proto.name}`],
    protoFile: [proto],
  });
  const process = new Deno.Command(plugin, { stdin: "piped", stdout: "piped" }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(toBinary(CodeGeneratorRequestSchema, request));
  await writer.close();
  const { stdout } = await process.output();
  const { error, file } = fromBinary(CodeGeneratorResponseSchema, stdout);
  if (error || !file[0]) throw new Error(`${plugin}: ${error || "there is no file"}`);
  return file[0].content;
}

/** Builds the Rust peer. */
export async function buildRust(): Promise<string> {
  const target = cached("rust");
  await output(
    ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", target],
    pathOf("rust"),
  );
  return `${target}/release/ttrpc-bench`;
}

/** Makes of a peer one file that Node runs. */
export async function bundleForNode(peer: string): Promise<string> {
  await output(["node", "--version"]);
  await Deno.mkdir(CACHE, { recursive: true });
  const bundle = cached(peer.replace(/\.ts$/, ".mjs"));
  const path = pathOf(`peers/${peer}`);
  await bundleTo(bundle, path);
  return bundle;
}

/** Makes one file of a program and all that it imports. */
export async function bundleTo(file: string, path: string, ...flags: string[]): Promise<void> {
  const command = [Deno.execPath(), "bundle", "--quiet", "--platform", "deno", ...flags];
  await output([...command, "-o", file, path]);
}

/** What a program prints. Rejects, with what it complains of, if it fails. */
export async function output(command: readonly string[], cwd?: string): Promise<string> {
  const [program = "", ...args] = command;
  let result: Deno.CommandOutput;
  try {
    result = await new Deno.Command(program, { args, ...(cwd !== undefined && { cwd }) }).output();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new Error(`there is no ${program}`, { cause });
  }
  const decoder = new TextDecoder();
  const { success, stdout, stderr } = result;
  if (!success) throw new Error(`${command.join(" ")}: ${decoder.decode(stderr).trim()}`);
  return decoder.decode(stdout);
}
