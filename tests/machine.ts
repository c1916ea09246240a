/**
 * What tests need of the machine that they run on. Where it is missing they are skipped, and their
 * names say why.
 *
 * @module
 */

/**
 * A test that not every machine can run.
 *
 * @param missing What is missing for it, if anything is.
 * @param name What is the case, as a sentence.
 * @param fn Shows it.
 */
export function testUnless(
  missing: string | undefined,
  name: string,
  fn: () => void | Promise<void>,
): void {
  const reason = missing === undefined ? "" : ` (skipped: ${missing})`;
  Deno.test({ name: `${name}${reason}`, ignore: missing !== undefined, fn });
}

/** Why something is missing that only Linux has, if that is so. */
export function missingOfLinux(what: string): string | undefined {
  return Deno.build.os === "linux" ? undefined : `only Linux has ${what}`;
}

/** A test of what Linux says in `/proc` of a process: its memory, and whether it stands still. */
export function procTest(name: string, fn: () => void | Promise<void>): void {
  testUnless(missingOfLinux("/proc"), name, fn);
}

/** The file of a program on the path, if there is one. */
export function findProgram(name: string): string | undefined {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  return folders.map((folder) => `${folder}/${name}`).find(isFile);
}

/** Whether there is a file that can be seen. */
export function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** What shows that a program works, if that is not `--version`. */
const TRIALS: Record<string, string[]> = {
  go: ["version"],
  // Debian has these files in a package of their own.
  protoc: ["--descriptor_set_out=/dev/null", "google/protobuf/any.proto"],
};

/** Which program is not there, if one is not. */
export function absentProgram(...names: readonly string[]): string | undefined {
  const absent = names.find((name) => findProgram(name) === undefined);
  return absent && `there is no ${absent}`;
}

/** Which program is not there or does not work, if one is so. */
export function missingProgram(...names: readonly string[]): string | undefined {
  for (const name of names) {
    const absent = absentProgram(name);
    if (absent !== undefined) return absent;
    const { success, stderr } = outputOf(name, ...TRIALS[name] ?? ["--version"]);
    const [reason] = stderr.split("\n");
    if (!success) return `${name} does not work${reason && `: ${reason}`}`;
  }
  return undefined;
}

/**
 * Why nothing can be mounted, if that is so. Root can, but not in most containers; and only trying
 * shows it.
 */
export function missingMount(): string | undefined {
  if (Deno.build.os !== "linux") return "this is not Linux";
  if (Deno.uid() !== 0) return "not run as root";
  const absent = absentProgram("mount", "umount");
  if (absent !== undefined) return absent;
  const folder = Deno.makeTempDirSync({ prefix: "ttrpc-mount-" });
  try {
    const { success } = outputOf("mount", "-t", "tmpfs", "none", folder);
    if (success) outputOf("umount", folder);
    return success ? undefined : "nothing can be mounted";
  } finally {
    Deno.removeSync(folder);
  }
}

/** Runs a program to its end. One that cannot be started has failed. */
export function outputOf(program: string, ...args: string[]): Outcome {
  const text = new TextDecoder();
  try {
    const { success, stdout, stderr } = new Deno.Command(program, { args }).outputSync();
    return { success, stdout: text.decode(stdout), stderr: text.decode(stderr) };
  } catch (error) {
    return { success: false, stdout: "", stderr: String(error) };
  }
}

/** How a program has ended. */
export interface Outcome {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Waits until all have ended, also when some have failed: what goes on after the end of its test
 * makes the next one fail, too.
 *
 * @throws The first failure.
 */
export async function allEnded<T>(running: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(running);
  return await Promise.all(running);
}
