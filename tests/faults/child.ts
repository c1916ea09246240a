/** Programs of ours in processes of their own, which can be stopped, killed and weighed. */

import { fileURLToPath } from "node:url";
import { until } from "../wait.ts";

const here = new URL(".", import.meta.url);

/** What a process uses, in bytes. */
export interface Footprint {
  /** Resident now. */
  rss: number;
  /** The most that was ever resident. */
  peak: number;
}

/** A script of this folder in a process of its own. */
export class Child implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  #rest = "";

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#input = process.stdin.getWriter();
    this.#lines = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /**
   * Starts a script, and waits for the line "ready".
   *
   * @param openFiles The most files it may have open, if that is limited.
   */
  static async start(script: string, args: string[], openFiles?: number): Promise<Child> {
    const command = [
      Deno.execPath(),
      "run",
      "--allow-all",
      "--v8-flags=--expose-gc",
      fileURLToPath(new URL(script, here)),
      ...args,
    ];
    // The shell makes way for Deno, so that the process is the same.
    const limit = openFiles === undefined ? "" : `ulimit -n ${openFiles}; `;
    const child = new Child(
      new Deno.Command("sh", {
        args: ["-c", `${limit}exec "$@"`, "sh", ...command],
        cwd: fileURLToPath(new URL("../..", here)),
        env: { NO_COLOR: "1" },
        stdin: "piped",
        stdout: "piped",
        stderr: "inherit",
      }).spawn(),
    );
    await child.expect(/^ready$/);
    return child;
  }

  /** Reads lines until one matches. */
  async expect(pattern: RegExp): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        if (pattern.test(line)) return line;
        continue;
      }
      const { done, value } = await this.#lines.read();
      if (done) throw new Error(`The process has ended without a line like ${pattern}`);
      this.#rest += value;
    }
  }

  /** Sends a line. */
  async tell(line: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
  }

  signal(name: Deno.Signal): void {
    this.#process.kill(name);
  }

  /** Stops the process, and waits until the system says that it stands still. */
  async pause(): Promise<void> {
    this.signal("SIGSTOP");
    await until(() => /^State:\s+T/m.test(this.#status()), "a process that stands still");
  }

  resume(): void {
    this.signal("SIGCONT");
  }

  get exit(): Promise<Deno.CommandStatus> {
    return this.#process.status;
  }

  get footprint(): Footprint {
    const status = this.#status();
    const bytes = (name: string) => 1024 * Number(status.match(`${name}:\\s+(\\d+) kB`)![1]);
    return { rss: bytes("VmRSS"), peak: bytes("VmHWM") };
  }

  #status(): string {
    return Deno.readTextFileSync(`/proc/${this.#process.pid}/status`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.signal("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#process.status;
    await this.#input.close().catch(() => {}); // nobody reads it any more
    await this.#lines.cancel();
  }
}
