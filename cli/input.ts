/**
 * What a call is to send: from the argument, a file or stdin.
 *
 * @module
 */

import { toTransformStream } from "@std/streams/to-transform-stream";
import { fileReason, messageOf, usage } from "./failure.ts";

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What is given, read when it is needed. */
export class Input {
  readonly #argument: string | undefined;

  /**
   * @param argument The text itself; `@FILE`; `-` or `@-` for stdin. Without it, stdin, unless that
   * is a terminal where nobody was asked to type.
   */
  constructor(argument: string | undefined) {
    this.#argument = argument;
  }

  /** All of it as bytes. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const source = await this.#source(false);
    if (typeof source === "string") return new TextEncoder().encode(source);
    return new Uint8Array(await new Response(source).arrayBuffer());
  }

  /** One JSON value; `{}` if there is nothing. */
  async value(): Promise<Json> {
    const source = await this.#source(false);
    const text = typeof source === "string" ? source : await new Response(source).text();
    return text.trim() === "" ? {} : parse(text, this.#name);
  }

  /** JSON values, one a line, each as soon as its line is there. */
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

  /** Its lines, each as soon as it is there. */
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

/** One value, on however many lines, or one a line. */
function* fromText(text: string, name: string): Generator<Json> {
  if (text.trim() === "") return;
  let single: { json: Json } | undefined;
  try {
    single = { json: JSON.parse(text) };
  } catch {
    // Then it is one a line, or wrong.
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
        rest += first; // a long line is not looked through again for each part of it
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
