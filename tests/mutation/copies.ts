/** Copies of the project, in which files can be changed and tests be run. */

/** What a run of tests may take of memory, so that a change that takes all of it is noticed. */
const MEMORY_KIB = 3 << 20;

/** How a run of tests ended. */
export type End = "passed" | "failed" | "timed out";

/** A copy of the project. */
export class Copy {
  readonly #folder: string;
  readonly #env: Record<string, string>;

  constructor(folder: string, env: Record<string, string>) {
    this.#folder = folder;
    this.#env = env;
  }

  /** Replaces a file. */
  async write(file: string, text: string): Promise<void> {
    await Deno.writeTextFile(`${this.#folder}/${file}`, text);
  }

  /**
   * Runs tests until the first that fails.
   *
   * @param tests Their files.
   * @param limitMs How long they may take, in milliseconds.
   * @param signal Ends them.
   * @param output Whether to show what they print.
   */
  async test(tests: string[], limitMs: number, signal: AbortSignal, output = false): Promise<End> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
    signal.throwIfAborted();
    // The limit of processor time is for one that nobody is left to end.
    const seconds = Math.ceil(limitMs / 1_000) * navigator.hardwareConcurrency;
    const child = new Deno.Command("sh", {
      args: [
        "-c",
        `ulimit -t ${seconds}; ulimit -d ${MEMORY_KIB}; exec "$@"`,
        "sh",
        Deno.execPath(),
        ...["test", "--quiet", "--allow-all", "--no-check", "--fail-fast", ...tests],
      ],
      cwd: this.#folder,
      env: this.#env,
      clearEnv: true,
      detached: true, // a process group of its own, so that what it has started ends with it
      stdin: "null",
      stdout: output ? "inherit" : "null",
      stderr: output ? "inherit" : "null",
    }).spawn();
    const kill = () => killGroup(child.pid);
    limit.addEventListener("abort", kill);
    const { success } = await child.status;
    limit.removeEventListener("abort", kill);
    kill();
    signal.throwIfAborted();
    if (limit.aborted) return "timed out";
    return success ? "passed" : "failed";
  }
}

function killGroup(pid: number): void {
  try {
    Deno.kill(-pid, "SIGKILL");
  } catch {
    // There is nobody left in it.
  }
}

/** Copies of a project in a folder that is removed at the end, with all that tests leave there. */
export class Copies implements AsyncDisposable {
  readonly #folder: string;
  readonly all: readonly Copy[];

  private constructor(folder: string, all: Copy[]) {
    this.#folder = folder;
    this.all = all;
  }

  /**
   * Copies a project as it is, whether committed or not.
   *
   * @param root Its folder.
   * @param count How many copies to make.
   */
  static async make(root: string, count: number): Promise<Copies> {
    // Hidden, so that it is not copied should it lie in the project.
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: ".mutate-" }));
    const copies: Copy[] = [];
    try {
      await Deno.mkdir(`${folder}/deno`);
      await shareDownloads(`${folder}/deno`);
      for (let i = 0; i < count; i++) {
        await copyFolder(root, `${folder}/${i}`);
        await Deno.mkdir(`${folder}/tmp${i}`);
        const { DENO_COVERAGE_DIR: _, ...env } = Deno.env.toObject();
        copies.push(
          new Copy(`${folder}/${i}`, {
            ...env,
            DENO_DIR: `${folder}/deno`,
            TMPDIR: `${folder}/tmp${i}`,
          }),
        );
      }
    } catch (error) {
      await Deno.remove(folder, { recursive: true });
      throw error;
    }
    return new Copies(folder, copies);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Has a cache of its own for what Deno compiles, and the user's for what it has downloaded. */
async function shareDownloads(cache: string): Promise<void> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  const { modulesCache, npmCache } = JSON.parse(new TextDecoder().decode(stdout));
  for (const [from, name] of [[modulesCache, "remote"], [npmCache, "npm"]]) {
    const exists = await Deno.stat(from).then(() => true, () => false);
    if (exists) await Deno.symlink(from, `${cache}/${name}`);
  }
}

/** Copies files; not what is hidden, as the repository is, nor what was built or installed. */
async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    if (name.startsWith(".") || name === "node_modules" || name === "target") continue;
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    if (isFile) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}
