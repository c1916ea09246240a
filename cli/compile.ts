/**
 * Compiles .proto files with buf or protoc, whichever is installed.
 *
 * @module
 */

import { basename, dirname, join, relative, resolve } from "node:path";
import { fileReason, messageOf, usage } from "./failure.ts";
import { importsIn } from "./imports.ts";

const BUF = "npm:@bufbuild/buf@1.74.0";

/** Which files to compile. */
export interface Sources {
  /** The paths of the files, as the user gave them. */
  readonly files: readonly string[];
  /** The folders that are searched for them and for their imports. */
  readonly folders: readonly string[];
}

/** The result of a compilation. */
export interface Compiled {
  /** A FileDescriptorSet, encoded. */
  readonly bytes: Uint8Array;
  /** The names of the given files in it. */
  readonly names: readonly string[];
}

/**
 * Compiles files.
 *
 * @param sources The files and the folders.
 * @returns The descriptors of the files and of their imports, with comments.
 * @throws {Failure} If there is no compiler, or the files do not compile.
 */
export async function compile(sources: Sources): Promise<Compiled> {
  // As protoc does without -I; but a file outside of this folder works as well.
  const folders = sources.folders.length > 0 ? [...sources.folders] : ["."];
  const names: string[] = [];
  for (const file of sources.files) {
    let name = nameBelow(file, folders);
    if (name === undefined || (sources.folders.length === 0 && !(await compilesAs(name)))) {
      folders.unshift(dirname(file));
      name = basename(file);
    }
    names.push(name);
  }
  const temporary = await Deno.makeTempDir({ prefix: "ttrpc-schema-" });
  try {
    const output = join(temporary, "schema.binpb");
    await run(sources.files, temporary, await command(folders, names, temporary, output));
    return { bytes: await Deno.readFile(output), names };
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

/** The name of a file for imports, relative to the nearest of the folders. */
function nameBelow(file: string, folders: readonly string[]): string | undefined {
  const names = folders.map((folder) => relative(resolve(folder), resolve(file)));
  const below = names.filter((name) => !name.startsWith("..") && !name.startsWith("/"));
  return below.toSorted((a, b) => a.length - b.length)[0];
}

/** Whether the current folder can be the import root of a file: if its imports are found there. */
async function compilesAs(name: string): Promise<boolean> {
  const imports = await importsOf(name).catch(() => []);
  for (const imported of imports) {
    if (!imported.startsWith("google/protobuf/") && !(await isFile(imported))) return false;
  }
  return true;
}

async function command(
  folders: readonly string[],
  names: readonly string[],
  temporary: string,
  output: string,
): Promise<string[]> {
  const buf = await findProgram("buf");
  const protoc = buf === undefined ? await findProgram("protoc") : undefined;
  if (protoc !== undefined) {
    return [
      protoc,
      ...folders.map((folder) => `-I${folder}`),
      ...["--include_imports", "--include_source_info", `--descriptor_set_out=${output}`],
      ...names,
    ];
  }
  const program = buf === undefined ? await bufOverDeno() : [buf];
  // buf compiles whole modules, so it is given one with exactly the files that are needed.
  const module = join(temporary, "module");
  await gather(folders, names, module);
  return [...program, "build", module, "--as-file-descriptor-set", "--output", output];
}

async function bufOverDeno(): Promise<string[]> {
  const deno = Deno.build.standalone ? await findProgram("deno") : Deno.execPath();
  if (deno !== undefined) return [deno, "run", "--quiet", "--allow-all", BUF];
  throw usage(
    "Cannot compile the schema: there is neither buf nor protoc; install one of them, " +
      "or compile it elsewhere and give --descriptor-set FILE",
  );
}

/** Copies files and their imports into one folder. */
async function gather(
  folders: readonly string[],
  names: readonly string[],
  module: string,
): Promise<void> {
  const done = new Set<string>();
  const todo = [...names];
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (done.has(name)) continue;
    done.add(name);
    const path = await find(name, folders);
    // Either it comes with the compiler, or the compiler reports it better.
    if (path === undefined) continue;
    await Deno.mkdir(dirname(join(module, name)), { recursive: true });
    await Deno.copyFile(path, join(module, name));
    todo.push(...await importsOf(path));
  }
}

async function find(name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const path = join(folder, name);
    if (await isFile(path)) return path;
  }
  return undefined;
}

async function importsOf(path: string): Promise<string[]> {
  return importsIn(await Deno.readTextFile(path));
}

async function run(
  files: readonly string[],
  temporary: string,
  [program, ...args]: string[],
): Promise<void> {
  for (const file of files) {
    try {
      await Deno.stat(file);
    } catch (error) {
      throw usage(`Cannot read the schema ${file}: ${fileReason(error)}`);
    }
  }
  const what = `Cannot compile ${files.join(", ")}`;
  let result: Deno.CommandOutput;
  try {
    result = await new Deno.Command(program!, { args, env: { NO_COLOR: "1" }, stdin: "null" })
      .output();
  } catch (error) {
    throw usage(`${what} with ${program}: ${messageOf(error)}`);
  }
  if (result.success) return;
  const text = new TextDecoder();
  const said = `${text.decode(result.stdout)}\n${text.decode(result.stderr)}`;
  const [first = `${program} has exited with code ${result.code}`, ...rest] = said
    .replaceAll(`${join(temporary, "module")}/`, "")
    .split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const more = rest.length === 0 ? "" : ` (and ${rest.length} more)`;
  const missing = /does not exist|not found/i.test(first) ? "; name its folder with -I DIR" : "";
  throw usage(`${what}: ${first}${more}${missing}`);
}

async function findProgram(name: string): Promise<string | undefined> {
  const windows = Deno.build.os === "windows";
  const folders = (Deno.env.get("PATH") ?? "").split(windows ? ";" : ":");
  for (const folder of folders) {
    const path = join(folder, windows ? `${name}.exe` : name);
    if (folder !== "" && await isFile(path)) return path;
  }
  return undefined;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}
