/** The Go peer: builds it, runs it as a server, and runs it as a client. */

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

const SOURCE = new URL("./go/", import.meta.url);
const CACHE = new URL("../../.cache/interop/", import.meta.url);

/** A test that needs Go. Where there is none, its name says so. */
export function goTest(name: string, fn: () => Promise<void>): void {
  if (hasGo) Deno.test({ name: `go: ${name}`, fn });
  else Deno.test({ name: `go: ${name} (skipped: there is no go)`, ignore: true, fn });
}

const hasGo = canRun("go", "version");

function canRun(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

let built: Promise<string> | undefined;

/** The path of the program, which is built first if need be. */
function peerProgram(): Promise<string> {
  return built ??= build();
}

// Test files run in parallel, so one of them builds while the others wait for the lock. Go itself
// finds out whether there is anything to do.
async function build(): Promise<string> {
  await Deno.mkdir(CACHE, { recursive: true });
  using lock = await Deno.open(new URL("go.lock", CACHE), { create: true, write: true });
  await lock.lock(true);
  const program = fileURLToPath(new URL("go-peer", CACHE));
  const { success, stderr } = await new Deno.Command("go", {
    args: ["build", "-trimpath", "-buildvcs=false", "-o", program, "."],
    cwd: SOURCE,
  }).output();
  if (!success) throw new Error(`Cannot build the Go peer: ${text(stderr)}`);
  return program;
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

async function spawn(command: "serve" | "call", ...args: string[]): Promise<Deno.ChildProcess> {
  return new Deno.Command(await peerProgram(), {
    args: [command, ...args],
    env: { TTRPC_TEST_PROTOS: descriptors() },
    stdin: command === "serve" ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** What describes the service `ttrpc.integration.streaming.Streaming` in Go's own code. */
export async function streamingDescriptors(): Promise<FileDescriptorSet> {
  const { success, stdout, stderr } = await new Deno.Command(await peerProgram(), {
    args: ["describe"],
  }).output();
  if (!success) throw new Error(`Cannot get descriptors from the Go peer: ${text(stderr)}`);
  return fromBinary(FileDescriptorSetSchema, stdout);
}

/** A Go server at work, on a socket of its own unless another address is given. */
export class GoServer implements AsyncDisposable {
  /** Where it listens, in the peer's own notation. */
  readonly address: string;
  readonly #process: Deno.ChildProcess;
  readonly #socket: Disposable;
  readonly #errors: Promise<string>;
  #killed = false;

  private constructor(process: Deno.ChildProcess, address: string, socket: Disposable) {
    this.#process = process;
    this.address = address;
    this.#socket = socket;
    this.#errors = process.stderr.text();
  }

  /** Starts one, and waits until it listens. */
  static async start(given?: string): Promise<GoServer> {
    const socket = new SocketFolder();
    const process = await spawn("serve", given ?? socket.path);
    const line = await firstLine(process.stdout);
    const [, address] = /^listening (.+)$/.exec(line) ?? [];
    const server = new GoServer(process, address ?? "", socket);
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
    throw new Error(`The Go server ended with ${signal ?? `code ${code}`}: ${errors}`);
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

/** A Go client that runs one case. */
export class GoClient implements AsyncDisposable {
  readonly #name: string;
  readonly #process: Deno.ChildProcess;
  readonly #output: Promise<Deno.CommandOutput>;

  private constructor(name: string, process: Deno.ChildProcess) {
    this.#name = name;
    this.#process = process;
    this.#output = process.output();
  }

  /** Starts one. */
  static async start(address: string, name: string): Promise<GoClient> {
    return new GoClient(name, await spawn("call", address, name));
  }

  /** Waits for the end of the case, and fails if that does. */
  async passes(): Promise<void> {
    const { stdout, stderr } = await this.#output;
    const [line = ""] = text(stdout).split("\n");
    const result: unknown = line.startsWith("{") ? JSON.parse(line) : {};
    const { ok: passed, error } = result as { ok?: boolean; error?: string };
    ok(passed, `case ${this.#name} of the Go client: ${error ?? text(stderr)}`);
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

/** Runs a case of the Go client against a server, and fails if the case does. */
export async function goCall(address: string, name: string): Promise<void> {
  await using client = await GoClient.start(address, name);
  await client.passes();
}
