/**
 * The output of the command: a queue that keeps the order, colours on terminals, and interrupts.
 *
 * @module
 */

import { printable, printableJson } from "./printable.ts";

const encoder = new TextEncoder();

/** A destination of bytes: a file, or one of the standard streams. */
export interface Sink {
  /** Writes some of the bytes, and returns how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Whether it is a terminal. */
  isTerminal(): boolean;
}

// With more bytes than this waiting to be written, a producer should wait.
const PENDING_BYTES = 1 << 20;

/** Output to a file, written in order. Adding to it never waits. */
export class Output {
  /** Whether to print colours. */
  readonly colours: boolean;
  readonly #sink: Sink;
  #queue: Uint8Array[] = [];
  #pending = 0;
  #writing: Promise<void> | undefined;
  #failed: { error: unknown } | undefined;

  constructor(sink: Sink) {
    this.#sink = sink;
    this.colours = sink.isTerminal() && !Deno.env.get("NO_COLOR") &&
      Deno.env.get("TERM") !== "dumb";
  }

  /** Whether it is a terminal. */
  get isTerminal(): boolean {
    return this.#sink.isTerminal();
  }

  /**
   * Adds text or bytes as they are. Not for text from peers or files that can reach a terminal. The
   * bytes must not be changed afterwards.
   */
  print(text: string | Uint8Array): void {
    if (this.#failed || text.length === 0) return;
    const bytes = typeof text === "string" ? encoder.encode(text) : text;
    this.#queue.push(bytes);
    this.#pending += bytes.length;
    this.#writing ??= this.#write();
  }

  /**
   * Adds text. The template itself is printed as it is; the values in it may come from anywhere,
   * and are made printable.
   */
  show(ours: TemplateStringsArray, ...values: Shown[]): void {
    this.print(this.#text(ours, values));
  }

  /** Adds a line, as {@linkcode Output.show} adds text. */
  line(ours: TemplateStringsArray, ...values: Shown[]): void {
    this.print(`${this.#text(ours, values)}\n`);
  }

  /** Adds a value as one line of JSON, or as several with an indent. */
  json(value: unknown, indent?: number): void {
    this.print(`${printableJson(value, indent)}\n`);
  }

  /** Whether {@linkcode Output.ready} has something to wait for, or will reject. */
  get busy(): boolean {
    return this.#pending > PENDING_BYTES || this.#failed !== undefined;
  }

  /** Waits while much is left to write. Rejects if writing has failed. */
  async ready(): Promise<void> {
    if (this.#pending > PENDING_BYTES) await this.#writing;
    if (this.#failed) throw this.#failed.error;
  }

  /** Waits until all is written. Rejects if writing has failed. */
  async flushed(): Promise<void> {
    await this.#writing;
    if (this.#failed) throw this.#failed.error;
  }

  /** Text in a colour, for {@linkcode Output.show} and {@linkcode Output.line}. */
  paint(colour: Colour, text: string): Painted {
    return new Painted(colour, text);
  }

  #text(ours: TemplateStringsArray, values: Shown[]): string {
    return String.raw({ raw: ours }, ...values.map((value) => this.#shown(value)));
  }

  #shown(value: Shown): string {
    const text = printable(String(value));
    return value instanceof Painted && this.colours
      ? `\x1b[${COLOURS[value.colour]}m${text}\x1b[0m`
      : text;
  }

  /** Never rejects: `ready()` and `flushed()` report a failure. */
  async #write(): Promise<void> {
    try {
      await null; // what is printed in one turn goes out in one write
      while (this.#queue.length > 0) {
        const chunks = this.#queue;
        this.#queue = [];
        let bytes = chunks.length === 1 ? chunks[0]! : joined(chunks);
        this.#pending -= bytes.length;
        while (bytes.length > 0) bytes = bytes.subarray(await this.#sink.write(bytes));
      }
    } catch (error) {
      this.#failed = { error };
      this.#queue = [];
    }
    this.#writing = undefined;
  }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

const COLOURS = { red: 31, green: 32, yellow: 33, blue: 34, cyan: 36, dim: 2, bold: 1 } as const;

/** The name of a colour. */
export type Colour = keyof typeof COLOURS;

/** Text in a colour. */
export class Painted {
  /** The colour. */
  readonly colour: Colour;
  readonly #text: string;

  constructor(colour: Colour, text: string) {
    this.colour = colour;
    this.#text = text;
  }

  /** The text without its colour. */
  toString(): string {
    return this.#text;
  }
}

/** A value in a template. */
type Shown = string | number | Painted;

/** The outputs of a command. */
export interface Terminal {
  /** For results. */
  readonly out: Output;
  /** For errors, and for everything else that is not a result. */
  readonly err: Output;
}

/** The standard output and the standard error of the process. */
export function terminal(): Terminal {
  return { out: new Output(Deno.stdout), err: new Output(Deno.stderr) };
}

/** Listens for SIGINT and SIGTERM. A second one ends the process at once. */
export class Interrupt implements Disposable {
  readonly #controller = new AbortController();
  readonly #listener = (): void => {
    if (this.#controller.signal.aborted) Deno.exit(130);
    this.#controller.abort(new Error("interrupted"));
  };

  constructor() {
    for (const name of SIGNALS) Deno.addSignalListener(name, this.#listener);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    for (const name of SIGNALS) Deno.removeSignalListener(name, this.#listener);
  }
}

// Windows has no SIGTERM to listen for.
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];
