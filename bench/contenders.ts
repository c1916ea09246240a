import { buildGo, buildRust, bundleForNode, output, pathOf } from "./build.ts";

/** Something to measure. */
export interface Contender {
  /** Its name in figures and on the command line. */
  readonly name: string;
  /** What is measured, with its version. */
  readonly about: string;
  /** The command that starts its server; `server` and the other arguments follow. */
  readonly server: readonly string[];
  /** The command that starts its client; `client` and the other arguments follow. */
  readonly client: readonly string[];
}

/** A contender that may not be available. */
export interface Candidate {
  /** The contender's name. */
  readonly name: string;
  /**
   * Builds or loads what it needs.
   *
   * @param profiles The folder for V8 profiles of the peers under Deno, if they are wanted.
   * @returns The rest of the contender. Rejects with the reason if it is not available here.
   */
  prepare(profiles: string | undefined): Promise<Omit<Contender, "name">>;
}

/** All contenders, ours among them. */
export const candidates: readonly Candidate[] = [
  {
    name: "raw",
    prepare: async (profiles) =>
      both(await deno("raw.ts", profiles), "Deno.Conn, bytes echoed as they are"),
  },
  {
    name: "ours",
    prepare: async (profiles) => both(await deno("ours.ts", profiles), "this module with itself"),
  },
  ...[
    { way: "typed", about: "this module with itself, messages that are bytes" },
    { way: "raw", about: "the same by client.callRaw()" },
    { way: "intercepted", about: "the same with a pass-through interceptor on each side" },
  ].map(({ way, about }) => ({
    name: `ours-${way}`,
    prepare: async (profiles?: string) =>
      both([...await deno("ours_bytes.ts", profiles), way], about),
  })),
  {
    name: "go",
    async prepare() {
      const { command, version } = await go();
      return both(command, `Go's ${version}, with itself`);
    },
  },
  {
    name: "ours-go",
    async prepare(profiles) {
      const { command, version } = await go();
      const client = await deno("ours.ts", profiles);
      return { about: `our client, and a server of Go's ${version}`, client, server: command };
    },
  },
  {
    name: "go-ours",
    async prepare(profiles) {
      const { command, version } = await go();
      const server = await deno("ours.ts", profiles);
      return { about: `a client of Go's ${version}, and our server`, client: command, server };
    },
  },
  {
    name: "rust",
    async prepare() {
      const binary = await buildRust();
      return both([binary], `Rust's ${(await output([binary, "version"])).trim()}, with itself`);
    },
  },
  {
    name: "grpc-js",
    prepare: async (profiles) =>
      both(await deno("grpc_js.ts", profiles), "@grpc/grpc-js 1.14.7 under Deno"),
  },
  {
    name: "grpc-js-node",
    prepare: async () =>
      both(await node("grpc_js.ts"), `@grpc/grpc-js 1.14.7 under Node ${await nodeVersion()}`),
  },
  {
    name: "connect-node",
    prepare: async () =>
      both(
        await node("connect.ts"),
        `@connectrpc/connect-node 2.2.0, HTTP/2, under Node ${await nodeVersion()}`,
      ),
  },
];

/** The command that runs a peer under Deno. */
export async function deno(peer: string, profiles?: string): Promise<string[]> {
  const path = pathOf(`peers/${peer}`);
  await output([Deno.execPath(), "cache", "--quiet", path]);
  const flags = profiles === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profiles}`];
  // Lets a server collect its garbage on request; it has no other effect.
  flags.push("--v8-flags=--expose-gc");
  return [Deno.execPath(), "run", "--quiet", "--allow-all", ...flags, path];
}

async function node(peer: string): Promise<string[]> {
  return ["node", "--expose-gc", await bundleForNode(peer)];
}

async function nodeVersion(): Promise<string> {
  return (await output(["node", "--version"])).trim();
}

let built: Promise<string> | undefined;

async function go(): Promise<{ command: readonly string[]; version: string }> {
  const binary = await (built ??= buildGo());
  return { command: [binary], version: (await output([binary, "version"])).trim() };
}

function both(command: readonly string[], about: string): Omit<Contender, "name"> {
  return { about, server: command, client: command };
}
