/**
 * The input of a call: from the argument, a file or stdin.
 *
 * @module
 */

import { toTransformStream } from "@std/streams/to-transform-stream";
import { fileReason, messageOf, usage } from "./failure.ts";

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The input, read when it is needed. */
export class Input {
  readonly #argument: string | undefined;

  /**
   * @param argument The text itself; `@FILE`; `-` or `@-` for stdin. `undefined` means stdin too,
   * but no input if stdin is a terminal and one value is wanted.
   */
  constructor(argument: string | undefined) {
    this.#argument = argument;
  }

  /** Reads all of it as bytes. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const source = await this.#source(false);
    if (typeof source === "string") return new TextEncoder().encode(source);
    return new Uint8Array(await new Response(source).arrayBuffer());
  }

  /** Reads one JSON value; `{}` if there is no input. */
  async value(): Promise<Json> {
    const source = await this.#source(false);
    const text = typeof source === "string" ? source : await new Response(source).text();
    return text.trim() === "" ? {} : parse(text, this.#name);
  }

  /** Reads JSON values, one per line, each as soon as its line is complete. */
  async *values(): AsyncGenerator<Json> {
    const source = await this.#source(true);
    if (typeof source === "string") {
      yield* fromText(source, this.#name);
      return;
    }
    let number = 0;
    for await (const line of lines(source)) {
      number++;
      if (line.trim() !== "") yield parse(line, `line ${number} of ${this.#name}`);
    }
  }

  /** Reads lines, each as soon as it is complete. */
  async *lines(): AsyncGenerator<string> {
    const source = await this.#source(true);
    if (typeof source !== "string") yield* lines(source);
    else for (const line of source.split("\n")) yield line;
  }

  get #name(): string {
    const argument = this.#argument;
    if (argument === undefined || argument === "-" || argument === "@-") return "stdin";
    return argument.startsWith("@") ? argument.slice(1) : "the argument";
  }

  async #source(interactive: boolean): Promise<string | ReadableStream<Uint8Array<ArrayBuffer>>> {
    const name = this.#name;
    if (name === "the argument") return this.#argument!;
    if (name === "stdin") {
      const asked = this.#argument !== undefined || interactive;
      return asked || !Deno.stdin.isTerminal() ? Deno.stdin.readable : "";
    }
    try {
      return (await Deno.open(name)).readable;
    } catch (error) {
      throw usage(`Cannot read ${name}: ${fileReason(error)}`);
    }
  }
}

/** One value on any number of lines, or one value per line. */
function* fromText(text: string, name: string): Generator<Json> {
  if (text.trim() === "") return;
  let single: { json: Json } | undefined;
  try {
    single = { json: JSON.parse(text) };
  } catch {
    // Then there is one value per line, or the JSON is not valid.
  }
  if (single) {
    yield single.json;
    return;
  }
  const all = text.split("\n").filter((line) => line.trim() !== "");
  for (const [at, line] of all.entries()) {
    yield parse(line, all.length === 1 ? name : `line ${at + 1} of ${name}`);
  }
}

function lines(source: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStream<string> {
  return source.pipeThrough(new TextDecoderStream()).pipeThrough(
    toTransformStream(async function* (texts: ReadableStream<string>) {
      let rest = "";
      for await (const text of texts) {
        const [first = "", ...others] = text.split("\n");
        rest += first; // the parts of a long line are searched only once
        for (const line of others) {
          yield rest;
          rest = line;
        }
      }
      if (rest !== "") yield rest;
    }),
  );
}

function parse(text: string, name: string): Json {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw usage(`Cannot read ${name} as JSON: ${messageOf(error)}`);
  }
}
