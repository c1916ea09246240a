import type { Plan } from "./workloads.ts";

/** How long a process may take at all before it counts as hung, in milliseconds. */
const PATIENCE_MS = 120_000;

/** What a process has used so far. */
export interface Usage {
  /** What it has resident in memory, in bytes. */
  readonly rss: number;
  /** The time on processors, in microseconds. */
  readonly cpuUs: number;
}

/** What a process has used, or nothing where there is no /proc that says so. */
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

/** A peer at work, which ends with its standard input. `peers/peer.ts` says how one talks. */
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

  /** What it has used so far. */
  get usage(): Usage | undefined {
    return usage(this.pid);
  }

  /** Asks something, and waits for the answer. */
  async ask<T = unknown>(question: string): Promise<T> {
    await this.#questions.write(new TextEncoder().encode(`${question}\n`));
    return await this.answer<T>();
  }

  /** The next line, which is one of JSON. */
  async answer<T>(): Promise<T> {
    while (!this.#rest.includes("\n")) {
      const { done, value } = await this.#answers.read();
      if (done) throw new Error(`The ${this.#name} has ended`);
      this.#rest += value;
    }
    const at = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, at);
    this.#rest = this.#rest.slice(at + 1);
    return JSON.parse(line);
  }

  /** Closes its input, which ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#questions.close().catch(() => {});
    await this.#answers.cancel();
    await this.#process.status;
  }
}
