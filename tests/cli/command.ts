/** The command as users run it: a process of its own. */

import { create, toBinary } from "@bufbuild/protobuf";
import {
  file_google_protobuf_any,
  file_google_protobuf_empty,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { fileURLToPath } from "node:url";
import { file_greeter_v1_greeter } from "../../gen/greeter/v1/greeter_pb.ts";
import { file_ttrpc_integration_streaming_streaming } from "../../gen/ttrpc/integration/streaming/streaming_pb.ts";
import { file_ttrpc_test_v1_test } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder } from "../fixture.ts";
import { findProgram, missingProgram, testUnless } from "../machine.ts";

/** The folder of the repository. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The service that most tests call. */
export const SERVICE = "ttrpc.test.v1.TestService";

const DENO = Deno.execPath();
const MAIN = `${ROOT}cli/main.ts`;

/** What runs the command: Deno and its arguments, or a compiled binary. */
export type Program = readonly [program: string, ...args: string[]];

/** The command compiled to a binary, if there is one to be tried. */
export const BINARY = Deno.env.get("TTRPC_BINARY");

/** The command, run by Deno unless there is that binary. */
export const CLI: Program = BINARY === undefined
  ? [DENO, "run", "--quiet", "--allow-all", MAIN]
  : [BINARY];

/** How a command ended. */
export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** How to run a command. */
export interface RunOptions {
  /** What it reads; nothing by default. */
  stdin?: string | Uint8Array<ArrayBuffer>;
  /** Variables of its environment. */
  env?: Record<string, string>;
  /** The folder that it runs in. */
  cwd?: string;
  /** What to run instead of the command in the repository. */
  program?: Program;
}

/** Runs a command to its end. */
export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const { code, stdout, stderr } = await runBytes(args, options);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** The same, with what it has printed as bytes. */
export async function runBytes(
  args: readonly string[],
  { stdin, ...options }: RunOptions = {},
): Promise<Deno.CommandOutput> {
  const process = spawn(args, options, stdin === undefined ? "null" : "piped");
  if (stdin !== undefined) {
    const bytes = typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin;
    // It may end without having read all, or anything.
    await new Blob([bytes]).stream().pipeTo(process.stdin).catch(() => {});
  }
  return await process.output();
}

function spawn(
  args: readonly string[],
  { env = {}, cwd = ROOT, program: [program, ...first] = CLI }: RunOptions,
  stdin: "null" | "piped",
): Deno.ChildProcess {
  return new Deno.Command(program, {
    args: [...first, ...args],
    cwd,
    env,
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** A command that goes on until it is told to stop. */
export class Running implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #stdout: Reading;
  readonly #stderr: Reading;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  #ended: Promise<Ended> | undefined;

  constructor(args: readonly string[], options: Omit<RunOptions, "stdin"> = {}) {
    this.#process = spawn(args, options, "piped");
    this.#stdout = new Reading(this.#process.stdout);
    this.#stderr = new Reading(this.#process.stderr);
    this.#stdin = this.#process.stdin.getWriter();
  }

  /** Waits until it has printed something on stdout. */
  printed(pattern: RegExp): Promise<string> {
    return this.#stdout.has(pattern);
  }

  /** Waits until it has printed something on stderr. */
  told(pattern: RegExp): Promise<string> {
    return this.#stderr.has(pattern);
  }

  /** Gives it a line to read. */
  async type(line: string): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode(`${line}\n`));
  }

  /** Lets it read no more. */
  async typeEnd(): Promise<void> {
    await this.#stdin.close();
  }

  /** Sends it a signal. */
  signal(signal: Deno.Signal): void {
    this.#process.kill(signal);
  }

  /** Waits for its end. */
  ended(): Promise<Ended> {
    return this.#ended ??= this.#end();
  }

  /** Interrupts it, and waits for its end. */
  async stop(): Promise<Ended> {
    this.signal("SIGINT");
    return await this.ended();
  }

  async #end(): Promise<Ended> {
    const { code } = await this.#process.status;
    await this.#stdin.close().catch(() => {}); // it may be closed already
    return { code, stdout: await this.#stdout.all, stderr: await this.#stderr.all };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) {
      try {
        this.signal("SIGKILL");
      } catch {
        // It has ended by itself.
      }
    }
    await this.ended();
  }
}

/** What a process prints, as it comes. */
class Reading {
  /** All of it, at the end. */
  readonly all: Promise<string>;
  #read = "";
  #changed = Promise.withResolvers<void>();
  #over = false;

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.all = this.#consume(stream);
  }

  async has(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = pattern.exec(this.#read);
      if (found) return found[0];
      if (this.#over) throw new Error(`There is no ${pattern} in ${JSON.stringify(this.#read)}`);
      await this.#changed.promise;
    }
  }

  async #consume(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) {
      this.#read += part;
      this.#wake();
    }
    this.#over = true;
    this.#wake();
    return this.#read;
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** A folder with the compiled schema of the test services. */
export class SchemaFolder extends SocketFolder {
  /** The compiled schema. */
  readonly set: string = `${this.folder}/test.binpb`;

  constructor() {
    super();
    Deno.writeFileSync(this.set, descriptors());
  }

  /** Writes a file. */
  write(name: string, content: string | Uint8Array): string {
    const path = `${this.folder}/${name}`;
    if (typeof content === "string") Deno.writeTextFileSync(path, content);
    else Deno.writeFileSync(path, content);
    return path;
  }
}

function descriptors(): Uint8Array {
  const files = [
    file_google_protobuf_any,
    file_google_protobuf_empty,
    file_ttrpc_test_v1_test,
    file_greeter_v1_greeter,
    file_ttrpc_integration_streaming_streaming,
  ];
  const set = create(FileDescriptorSetSchema, { file: files.map(({ proto }) => proto) });
  return toBinary(FileDescriptorSetSchema, set);
}

/** What has a command find some programs and no others, through links in a folder. */
export function only(folder: SchemaFolder, ...programs: string[]): RunOptions {
  const bin = `${folder.folder}/bin`;
  Deno.mkdirSync(bin);
  for (const name of programs) Deno.symlinkSync(findProgram(name)!, `${bin}/${name}`);
  return { env: { PATH: bin } };
}

/** A test that needs programs. Where one is missing, its name says so. */
export function needing(programs: readonly string[], name: string, fn: () => Promise<void>): void {
  testUnless(missingProgram(...programs), `cli: ${name}`, fn);
}
