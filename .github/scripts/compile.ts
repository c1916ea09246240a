/**
 * Compiles the `ttrpc` command for every platform that Deno compiles for, as `deno task compile` does
 * for one, and packs each with the license:
 *
 *     deno run --allow-read --allow-write --allow-run .github/scripts/compile.ts [TARGET...]
 *
 * `dist/` then has `ttrpc-TARGET.tar.gz`, and SHA256SUMS for `sha256sum --check`.
 *
 * @module
 */

/** The platforms, as `deno compile --target` names them. */
export const TARGETS: readonly string[] = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
];

/**
 * What to call Deno with.
 *
 * @param task The command of the task `compile` in deno.json.
 * @param target The platform.
 * @param output The file to write.
 * @returns The arguments.
 */
export function compileArgs(task: string, target: string, output: string): string[] {
  const [deno, ...args] = task.split(" ");
  const at = args.indexOf("--output") + 1;
  if (deno !== "deno" || args[0] !== "compile" || at === 0) {
    throw new Error(`Cannot compile for ${target}: the task is no "deno compile" with --output`);
  }
  args[at] = output;
  args.splice(1, 0, "--target", target);
  return args;
}

/** The name of the program on a platform. */
export function programName(target: string): string {
  return target.includes("windows") ? "ttrpc.exe" : "ttrpc";
}

/**
 * The sums of files, as `sha256sum` prints them.
 *
 * @param folder Where the files are.
 * @param names Their names.
 * @returns A line for each file.
 */
export async function sha256sums(folder: string, names: readonly string[]): Promise<string> {
  const lines: string[] = [];
  for (const name of names) {
    const hash = await crypto.subtle.digest("SHA-256", await Deno.readFile(`${folder}/${name}`));
    lines.push(`${new Uint8Array(hash).toHex()}  ${name}\n`);
  }
  return lines.join("");
}

async function run(program: string, args: string[], cwd: URL): Promise<void> {
  const { success } = await new Deno.Command(program, {
    args,
    cwd,
    stdout: "inherit",
    stderr: "inherit",
  }).spawn().status;
  if (!success) throw new Error(`Cannot go on: ${program} ${args.join(" ")} has failed`);
}

if (import.meta.main) {
  const root = new URL("../../", import.meta.url);
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  const packed: string[] = [];
  for (const target of Deno.args.length > 0 ? Deno.args : TARGETS) {
    const folder = `dist/${target}`;
    const program = programName(target);
    await Deno.mkdir(new URL(folder, root), { recursive: true });
    await Deno.copyFile(new URL("LICENSE", root), new URL(`${folder}/LICENSE`, root));
    const args = compileArgs(tasks.compile.command, target, `${folder}/${program}`);
    await run(Deno.execPath(), args, root);
    const name = `ttrpc-${target}.tar.gz`;
    await run("tar", ["-czf", `dist/${name}`, "-C", folder, program, "LICENSE"], root);
    packed.push(name);
  }
  const dist = new URL("dist/", root);
  const sums = await sha256sums(dist.pathname, packed);
  await Deno.writeTextFile(new URL("SHA256SUMS", dist), sums);
}
