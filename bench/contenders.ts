import { fileURLToPath } from "node:url";

/** Something to measure. */
export interface Contender {
  /** What it is called in figures and on the command line. */
  readonly name: string;
  /** What is measured, with its version. */
  readonly about: string;
  /** How its peer is started, before `server` or `client` and the rest. */
  readonly command: readonly string[];
}

/** A contender that may turn out not to be there. */
export interface Candidate {
  /** The contender's name. */
  readonly name: string;
  /**
   * Builds or loads what is needed.
   *
   * @param profiles Where peers under Deno are to write V8 profiles, if at all.
   * @returns The rest. Rejects with the reason if it is not to be had here.
   */
  prepare(profiles: string | undefined): Promise<Omit<Contender, "name">>;
}

/** All contenders, ours among them. */
export const candidates: readonly Candidate[] = [
  {
    name: "raw",
    prepare: (profiles) => deno("raw.ts", profiles, "Deno.Conn, bytes echoed as they are"),
  },
  {
    name: "ours",
    prepare: (profiles) => deno("ours.ts", profiles, "this module with itself"),
  },
  {
    name: "go",
    async prepare() {
      const binary = pathOf("../.cache/bench/go");
      await output(["go", "build", "-buildvcs=false", "-o", binary, "."], pathOf("go"));
      return { about: `Go ${(await output([binary, "version"])).trim()}`, command: [binary] };
    },
  },
  {
    name: "grpc-js",
    prepare: (profiles) => deno("grpc_js.ts", profiles, "@grpc/grpc-js 1.14.7 under Deno"),
  },
];

async function deno(
  peer: string,
  profiles: string | undefined,
  about: string,
): Promise<Omit<Contender, "name">> {
  const path = pathOf(`peers/${peer}`);
  await output([Deno.execPath(), "cache", "--quiet", path]);
  const flags = profiles === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profiles}`];
  return { about, command: [Deno.execPath(), "run", "--quiet", "--allow-all", ...flags, path] };
}

function pathOf(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}

/** What a program prints. Rejects, with what it complains of, if it fails. */
async function output(command: readonly string[], cwd?: string): Promise<string> {
  const [program = "", ...args] = command;
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    ...(cwd !== undefined && { cwd }),
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${command.join(" ")}: ${decoder.decode(stderr).trim()}`);
  return decoder.decode(stdout);
}
