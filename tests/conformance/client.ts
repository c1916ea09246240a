/** The client under test, as the runner sees it: it is told what to call, and says how that went. */

import type { Outcome } from "./match.ts";
import { hex, toBytes } from "./proto.ts";
import { numbered } from "./match.ts";
import type { Call, Case } from "./vector.ts";

/** What a client is told. */
export interface Instruction {
  id: string;
  address: string;
  concurrent: boolean;
  calls: {
    service: string;
    method: string;
    kind: "unary" | "server" | "client" | "bidi";
    requests: string[];
    metadata: [string, string][];
    timeoutMs?: number;
    cancelAfterMs?: number;
    keepOpen?: true;
  }[];
}

/** What a client says in return. */
export interface Answer {
  id: string;
  outcomes: Outcome[];
}

/** A client of any kind. */
export interface ClientUnderTest extends AsyncDisposable {
  /** Rejects if there is no answer, or none in time. */
  run(instruction: Instruction, until: number): Promise<Answer>;
}

export function instruction(each: Case, address: string): Instruction {
  const { id, concurrent } = each;
  return { id, address, concurrent, calls: each.calls.map(instructed) };
}

function instructed(call: Call): Instruction["calls"][number] {
  const { method, kind = "unary", requests = [], metadata = [], ...options } = call;
  const bytes = options.numbered === undefined
    ? requests.map((each) => toBytes(each))
    : numbered(options.numbered);
  const { timeoutMs, cancelAfterMs, keepOpen } = options;
  return {
    service: "ttrpc.test.v1.TestService",
    method,
    kind,
    requests:
      (bytes.length === 0 && (kind === "unary" || kind === "server") ? [new Uint8Array(0)] : bytes)
        .map(hex),
    metadata,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(cancelAfterMs === undefined ? {} : { cancelAfterMs }),
    ...(keepOpen ? { keepOpen } : {}),
  };
}

/** Lines of JSON there and back, on the streams of a process or on our own. */
export class LineClient implements ClientUnderTest {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor(input: WritableStream<Uint8Array>, output: ReadableStream<Uint8Array>) {
    this.#writer = input.getWriter();
    const decoder = new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>;
    this.#lines = output.pipeThrough(decoder).getReader();
  }

  async run(what: Instruction, until: number): Promise<Answer> {
    const { promise, reject } = Promise.withResolvers<never>();
    const late = new Error("the client has not answered in time");
    const timer = setTimeout(() => reject(late), Math.max(1, until - performance.now()));
    try {
      return await Promise.race([this.#exchange(what), promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #exchange(what: Instruction): Promise<Answer> {
    await this.#writer.write(new TextEncoder().encode(JSON.stringify(what) + "\n"));
    for (;;) {
      const line = await this.#line();
      const answer = line.startsWith("{") ? JSON.parse(line) as Answer : undefined;
      // An answer to an earlier case that came too late there counts for nothing.
      if (answer?.id === what.id) return answer;
    }
  }

  async #line(): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return line;
      }
      const { value, done } = await this.#lines.read();
      if (done) throw new Error("the client has ended");
      this.#rest += value;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#lines.cancel().catch(() => {});
  }
}

/** A command that is the client. It is started again for the next case when it has failed one. */
export class CommandClient implements ClientUnderTest {
  readonly #command: readonly string[];
  #process: Deno.ChildProcess | undefined;
  #lines: LineClient | undefined;

  constructor(command: readonly string[]) {
    this.#command = command;
  }

  async run(what: Instruction, until: number): Promise<Answer> {
    if (!this.#lines) {
      const [program, ...args] = this.#command;
      const options = { args, stdin: "piped", stdout: "piped", stderr: "inherit" } as const;
      this.#process = new Deno.Command(program!, options).spawn();
      this.#lines = new LineClient(this.#process.stdin, this.#process.stdout);
    }
    try {
      return await this.#lines.run(what, until);
    } catch (error) {
      await this.#stop();
      throw error;
    }
  }

  async #stop(): Promise<void> {
    const process = this.#process;
    if (!process) return;
    try {
      process.kill("SIGKILL");
    } catch {
      // It is gone already.
    }
    await this.#lines?.[Symbol.asyncDispose]();
    await process.status;
    this.#process = undefined;
    this.#lines = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }
}
