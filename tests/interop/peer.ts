/** The peers: programs of ours in other languages, each run as a server and as a client. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  file_google_protobuf_any,
  file_google_protobuf_empty,
  type FileDescriptorSet,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { file_greeter_v1_greeter } from "../../gen/greeter/v1/greeter_pb.ts";
import { file_ttrpc_test_v1_test } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder } from "../fixture.ts";
import { missingProgram, outputOf, testUnless } from "../machine.ts";

const CACHE = new URL("../../.cache/interop/", import.meta.url);

/** Something that is built, once and before its first use, with a tool that may be missing. */
class Program {
  /** Why it cannot be built, if that is so. */
  readonly missing: string | undefined;
  readonly #tool: string;
  readonly #folder: URL;
  readonly #args: string[];
  #built: Promise<void> | undefined;

  /** The arguments are the tool's, run in the folder of the source. */
  constructor(folder: string, missing: string | undefined, tool: string, ...args: string[]) {
    this.missing = missing;
    this.#tool = tool;
    this.#folder = new URL(folder, import.meta.url);
    this.#args = args;
  }

  built(): Promise<void> {
    return this.#built ??= this.#build();
  }

  // Test files run in parallel, so one of them builds while the others wait for the lock, which all
  // programs of a folder share. The tool itself finds out whether there is anything to do.
  async #build(): Promise<void> {
    await Deno.mkdir(CACHE, { recursive: true });
    const name = this.#folder.pathname.split("/").at(-2);
    using lock = await Deno.open(new URL(`${name}.lock`, CACHE), { create: true, write: true });
    await lock.lock(true);
    const { success, stderr } = await new Deno.Command(this.#tool, {
      args: this.#args,
      cwd: this.#folder,
    }).output();
    if (!success) throw new Error(`Cannot build the peer in ${name}: ${text(stderr)}`);
  }
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).trim();
}

/** The messages of our test services, for a program that has no generated code for them. */
function descriptors(): string {
  const files = [
    file_google_protobuf_any,
    file_google_protobuf_empty,
    file_ttrpc_test_v1_test,
    file_greeter_v1_greeter,
  ];
  const set = create(FileDescriptorSetSchema, { file: files.map(({ proto }) => proto) });
  return toBinary(FileDescriptorSetSchema, set).toBase64();
}

/** Another implementation of ttrpc, in a program of ours that takes the same arguments as all. */
export class Peer {
  /** What the names of its tests begin with. */
  readonly name: string;
  readonly #program: Program;
  readonly #path: string;
  readonly #env: Record<string, string>;

  constructor(name: string, program: Program, path: string, env: Record<string, string> = {}) {
    this.name = name;
    this.#program = program;
    this.#path = path;
    this.#env = env;
  }

  /** The same peer on a runtime of several threads. */
  threaded(threads: number): Peer {
    const env = { ...this.#env, PEER_THREADS: `${threads}` };
    return new Peer(this.name, this.#program, this.#path, env);
  }

  /**
   * A test that needs it. Where it cannot be built, or something else is missing, the name of the test
   * says so.
   */
  test(name: string, fn: () => Promise<void>, missing?: string): void {
    testUnless(this.#program.missing ?? missing, `${this.name}: ${name}`, fn);
  }

  /** Starts a server on a socket of its own, unless another address is given. */
  async serve(given?: string): Promise<PeerServer> {
    const socket = new SocketFolder();
    const process = await this.#spawn("piped", "serve", given ?? socket.path);
    return PeerServer.start(this.name, process, socket);
  }

  /** Starts a client that runs one case against a server. */
  async start(address: string, name: string): Promise<PeerClient> {
    return new PeerClient(this.name, name, await this.#spawn("null", "call", address, name));
  }

  /**
   * Runs a case of its client against a server, and fails if the case does.
   *
   * @returns What it has to say about the case.
   */
  async call(address: string, name: string): Promise<string> {
    await using client = await this.start(address, name);
    return await client.passes();
  }

  /** What another command prints. */
  async print(command: string): Promise<Uint8Array> {
    const process = await this.#spawn("null", command);
    const { success, stdout, stderr } = await process.output();
    if (!success) throw new Error(`Cannot run ${this.name} ${command}: ${text(stderr)}`);
    return stdout;
  }

  async #spawn(stdin: "piped" | "null", ...args: string[]): Promise<Deno.ChildProcess> {
    await this.#program.built();
    return new Deno.Command(fileURLToPath(new URL(this.#path, CACHE)), {
      args,
      env: { TTRPC_TEST_PROTOS: descriptors(), ...this.#env },
      stdin,
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }
}

/** A peer's server at work. */
export class PeerServer implements AsyncDisposable {
  /** Where it listens, in the peer's own notation. */
  readonly address: string;
  readonly #name: string;
  readonly #process: Deno.ChildProcess;
  readonly #socket: Disposable;
  readonly #errors: Promise<string>;
  #killed = false;

  private constructor(
    name: string,
    process: Deno.ChildProcess,
    socket: Disposable,
    address: string,
  ) {
    this.#name = name;
    this.#process = process;
    this.#socket = socket;
    this.address = address;
    this.#errors = process.stderr.text();
  }

  /** Waits until it listens. */
  static async start(
    name: string,
    process: Deno.ChildProcess,
    socket: Disposable,
  ): Promise<PeerServer> {
    const line = await firstLine(process.stdout);
    const [, address] = /^listening (.+)$/.exec(line) ?? [];
    const server = new PeerServer(name, process, socket, address ?? "");
    if (address === undefined) await server[Symbol.asyncDispose]();
    return server;
  }

  /** Kills it, so that it cannot say goodbye. */
  kill(): void {
    this.#killed = true;
    this.#process.kill("SIGKILL");
  }

  /** Asks it to end. */
  terminate(): void {
    this.#process.kill("SIGTERM");
  }

  /** Ends it, and fails if it has not lived until then. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stdin.close();
    const { success, code, signal } = await this.#process.status;
    const errors = await this.#errors;
    this.#socket[Symbol.dispose]();
    if (success || this.#killed) return;
    throw new Error(`The ${this.#name} server ended with ${signal ?? `code ${code}`}: ${errors}`);
  }
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  let read = "";
  for await (const part of stream.pipeThrough(new TextDecoderStream())) {
    read += part;
    const [line, ...rest] = read.split("\n");
    if (rest.length > 0) return line!;
  }
  return read;
}

/** A peer's client that runs one case. */
export class PeerClient implements AsyncDisposable {
  readonly #peer: string;
  readonly #name: string;
  readonly #process: Deno.ChildProcess;
  readonly #output: Promise<Deno.CommandOutput>;

  constructor(peer: string, name: string, process: Deno.ChildProcess) {
    this.#peer = peer;
    this.#name = name;
    this.#process = process;
    this.#output = process.output();
  }

  /** Waits for the end of the case, and fails if that does. */
  async passes(): Promise<string> {
    const { stdout, stderr } = await this.#output;
    const [line = ""] = text(stdout).split("\n");
    const result: unknown = line.startsWith("{") ? JSON.parse(line) : {};
    const { ok: passed, error } = result as { ok?: boolean; error?: string };
    ok(passed, `case ${this.#name} of the ${this.#peer} client: ${error ?? text(stderr)}`);
    return text(stderr);
  }

  /** Waits for a case that brings the process down, and tells what it said last. */
  async crashes(): Promise<string> {
    const { success, stdout, stderr } = await this.#output;
    ok(!success, `case ${this.#name} of the ${this.#peer} client has lived: ${text(stdout)}`);
    return text(stderr);
  }

  /** Kills it, so that it cannot close anything. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  /** Waits until it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#output;
  }
}

/** Whether Go is at least 1.`minor`, as the go.mod says, or fetches what is. */
function missingGo(minor: number): string | undefined {
  const missing = missingProgram("go");
  if (missing !== undefined) return missing;
  const [, found] = /go1\.(\d+)/.exec(outputOf("go", "version").stdout) ?? [];
  if (Number(found) >= minor) return undefined;
  // Since 1.21, unless it is told to stay as it is.
  const fetches = Number(found) >= 21 && outputOf("go", "env", "GOTOOLCHAIN").stdout !== "local\n";
  return fetches ? undefined : `go is older than 1.${minor}`;
}

function goProgram(
  missing: string | undefined,
  program: string,
  ...flags: string[]
): Program {
  const path = fileURLToPath(new URL(program, CACHE));
  return new Program(
    "./go/",
    missing,
    "go",
    "build",
    "-trimpath",
    "-buildvcs=false",
    ...flags,
    "-o",
    path,
    ".",
  );
}

/** containerd's ttrpc 1.2.8. */
export const go = new Peer("go", goProgram(missingGo(22), "go-peer"), "go-peer");

/** containerd's ttrpc 1.2.10, in the same program. */
export const newGo = new Peer(
  "go 1.2.10",
  goProgram(missingGo(25), "go1.2.10-peer", "-modfile=go1.2.10.mod"),
  "go1.2.10-peer",
);

/** containerd's ttrpc 1.1.2, as containerd 1.6 has it: unary calls only. */
export const oldGo = new Peer(
  "go 1.1",
  goProgram(missingGo(19), "go1.1-peer", "-modfile=go1.1.2.mod", "-tags=ttrpc1.1"),
  "go1.1-peer",
);

/** Whether there is a Rust of at least this version, as the Cargo.toml says. */
function missingRust(...least: [major: number, minor: number]): string | undefined {
  const missing = missingProgram("cargo", "cc"); // Rust links with the C compiler
  if (missing !== undefined) return missing;
  const { stdout } = outputOf("cargo", "--version");
  const [major = 0, minor = 0] = (stdout.match(/\d+/g) ?? []).map(Number);
  if (major > least[0] || (major === least[0] && minor >= least[1])) return undefined;
  return `cargo is older than ${least.join(".")}`;
}

function cargoProgram(
  folder: string,
  missing: string | undefined,
  target: string,
  ...flags: string[]
): Program {
  return new Program(
    folder,
    missing,
    "cargo",
    "build",
    "--quiet",
    "--locked",
    ...flags,
    "--target-dir",
    fileURLToPath(new URL(target, CACHE)),
  );
}

const missingRust85 = missingRust(1, 85);

// One build for both, so that they share what they depend on.
const crates = cargoProgram(
  "./rust/",
  missingRust85,
  "rust",
  "--package=ttrpc-peer",
  "--package=trapeze-peer",
);

/** The crate ttrpc 0.9, on one thread unless it is told otherwise. */
export const rust = new Peer("rust", crates, "rust/debug/ttrpc-peer");

// A build of its own: in one with the other, the crate would have `async` as well.
const syncCrate = cargoProgram("./rust/", missingRust85, "rust", "--package=ttrpc-sync-peer");

/** The crate ttrpc 0.9 without `async`: threads, and unary calls only. */
export const rustSync = new Peer("rust sync", syncCrate, "rust/debug/ttrpc-sync-peer");

/** The crate trapeze 0.7.6, on two threads: it keeps things in order on any number. */
export const trapeze = new Peer("trapeze", crates, "rust/debug/trapeze-peer").threaded(2);

// It says that it needs 1.96. With 1.95 it builds when cargo is told not to look.
const ramaCrate = cargoProgram(
  "./rust/rama/",
  missingRust(1, 95),
  "rama",
  "--ignore-rust-version",
);

/** The crate rama-ttrpc 0.4.0, on one thread: on several, its client loses answers. */
export const rama = new Peer("rama", ramaCrate, "rama/debug/rama-peer");

/** A test that needs Go. Where there is none, or something else is missing, its name says so. */
export function goTest(name: string, fn: () => Promise<void>, missing?: string): void {
  go.test(name, fn, missing);
}

/** A Go server at work, on a socket of its own unless another address is given. */
export const GoServer = { start: (given?: string): Promise<PeerServer> => go.serve(given) };

/** A Go client that runs one case. */
export const GoClient = {
  start: (address: string, name: string): Promise<PeerClient> => go.start(address, name),
};

/** Runs a case of the Go client against a server, and fails if the case does. */
export async function goCall(address: string, name: string): Promise<void> {
  await go.call(address, name);
}

/** What describes the service `ttrpc.integration.streaming.Streaming` in Go's own code. */
export async function streamingDescriptors(): Promise<FileDescriptorSet> {
  return fromBinary(FileDescriptorSetSchema, await go.print("describe"));
}
