import type { Contender } from "./contenders.ts";
import type { Measured, Plan, Run } from "./workloads.ts";

/** How long a run may take beyond its plan before it counts as hung, in milliseconds. */
const GRACE_MS = 30_000;

/** Runs a plan once: a fresh server, and a client that loads it. */
export async function run(contender: Contender, plan: Plan, path: string): Promise<Run> {
  const signal = AbortSignal.timeout(plan.warmUpMs + plan.measureMs + GRACE_MS);
  const command = (role: string, stdin: "piped" | "null") => {
    const [program = "", ...args] = contender.command;
    args.push(role, path, JSON.stringify(plan));
    return new Deno.Command(program, { args, stdin, stdout: "piped", stderr: "inherit", signal });
  };
  await using server = new Server(command("server", "piped").spawn());
  await server.answer<{ ready: true }>();
  const { success, stdout } = await command("client", "null").output();
  if (!success) throw new Error("the client has failed");
  const measured: Measured = JSON.parse(new TextDecoder().decode(stdout));
  await server.ask();
  const { rss } = await server.answer<{ rss: number }>();
  return { ...measured, rss };
}

/** A server process that talks in lines. */
class Server implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #questions: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: ReadableStreamDefaultReader<string>;

  constructor(process: Deno.ChildProcess) {
    this.#process = process;
    this.#questions = process.stdin.getWriter();
    this.#answers = process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  ask(): Promise<void> {
    return this.#questions.write(new TextEncoder().encode("memory\n"));
  }

  async answer<T>(): Promise<T> {
    let line = "";
    while (!line.endsWith("\n")) {
      const { done, value } = await this.#answers.read();
      if (done) throw new Error("the server has ended");
      line += value;
    }
    return JSON.parse(line);
  }

  /** Closes its input, which ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#questions.close().catch(() => {});
    await this.#answers.cancel();
    await this.#process.status;
  }
}
