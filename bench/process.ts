import type { Plan } from "./workloads.ts";

/** How long a process may run before it is killed, in milliseconds. */
const PATIENCE_MS = 120_000;

/** The memory and CPU time that a process has used so far. */
export interface Usage {
  /** The resident memory, in bytes. */
  readonly rss: number;
  /** The CPU time, in microseconds. */
  readonly cpuUs: number;
}

/** The usage of a process; `undefined` without `/proc`. */
export function usage(pid: number): Usage | undefined {
  try {
    const status = Deno.readTextFileSync(`/proc/${pid}/status`);
    const kib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
    let nanoseconds = 0;
    for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
      const [onProcessor] = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ");
      nanoseconds += Number(onProcessor);
    }
    return { rss: kib * 1024, cpuUs: nanoseconds / 1e3 };
  } catch {
    return undefined;
  }
}

/** A running peer, which exits when its stdin is closed. `peers/peer.ts` documents the commands. */
export class PeerProcess implements AsyncDisposable {
  readonly #name: string;
  readonly #process: Deno.ChildProcess;
  readonly #questions: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: ReadableStreamDefaultReader<string>;
  #rest = "";

  private constructor(name: string, process: Deno.ChildProcess) {
    this.#name = name;
    this.#process = process;
    this.#questions = process.stdin.getWriter();
    this.#answers = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Starts a peer, and waits until it is ready. */
  static async start(
    role: "server" | "client",
    [program = "", ...args]: readonly string[],
    path: string,
    plan: Plan,
  ): Promise<PeerProcess> {
    const command = new Deno.Command(program, {
      args: [...args, role, path, JSON.stringify(plan)],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const peer = new PeerProcess(role, command.spawn());
    try {
      await peer.answer<{ ready: true }>();
    } catch (error) {
      await peer[Symbol.asyncDispose]();
      throw error;
    }
    return peer;
  }

  /** The id of the process. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Its usage so far. */
  get usage(): Usage | undefined {
    return usage(this.pid);
  }

  /** Sends a command, and waits for the answer. */
  async ask<T = unknown>(question: string): Promise<T> {
    await this.#questions.write(new TextEncoder().encode(`${question}\n`));
    return await this.answer<T>();
  }

  /** Reads the next answer, a line of JSON. */
  async answer<T>(): Promise<T> {
    while (!this.#rest.includes("\n")) {
      const { done, value } = await this.#answers.read();
      if (done) throw new Error(`the ${this.#name} has exited`);
      this.#rest += value;
    }
    const at = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, at);
    this.#rest = this.#rest.slice(at + 1);
    return JSON.parse(line);
  }

  /** Closes its stdin, and waits until it has exited. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#questions.close().catch(() => {});
    await this.#answers.cancel();
    await this.#process.status;
  }
}
