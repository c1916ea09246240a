/**
 * Prints the events of calls, as text or as lines of JSON.
 *
 * @module
 */

import type { DescMethod } from "@bufbuild/protobuf";
import { Code } from "../core.ts";
import type { CallEvent, Side } from "./calls.ts";
import type { Json } from "./input.ts";
import type { JsonFormat } from "./json.ts";
import { showBytes, showTime } from "./options.ts";
import { printableJson, rawDetail } from "./printable.ts";
import type { SchemaOptions } from "./schema.ts";
import type { Output, Painted } from "./terminal.ts";

/** Prints events. */
export class Printer {
  readonly #out: Output;
  readonly #json: boolean;
  readonly #messages: Decoder | undefined;

  constructor(out: Output, json: boolean, messages: Decoder | undefined) {
    this.#out = out;
    this.#json = json;
    this.#messages = messages;
  }

  /** Prints an event. Does not wait until it is written. */
  event(event: CallEvent): void {
    if (this.#json) this.#out.json(this.#asJson(event));
    else this.#lines(event);
  }

  /** Prints a line that does not belong to a call. */
  note(text: string, fields: Readonly<Record<string, Json>>): void {
    if (!this.#json) this.#out.line`${this.#out.paint("dim", text)}`;
    else this.#out.json({ time: new Date().toISOString(), ...fields });
  }

  #lines(event: CallEvent): void {
    const out = this.#out;
    const id = out.paint("dim", `${event.connection}:${event.stream}`);
    const method = event.method ?? "an unknown call";
    if (event.event === "request") {
      const { metadata, timeoutMs, payload } = event;
      const deadline = timeoutMs === 0 ? "" : `  deadline ${showTime(timeoutMs)}`;
      const size = payload ? `  ${showBytes(payload.length)}` : "";
      out.line`${id} ${out.paint("cyan", "-->")} ${out.paint("bold", method)}${size}${deadline}`;
      for (const [key, value] of metadata) out.line`${id}     ${key}: ${value}`;
      if (payload) this.#message(id, event.method, "client", payload);
    } else if (event.event === "message") {
      const arrow = event.from === "client" ? "->" : "<-";
      out.line`${id} ${out.paint("cyan", arrow)}  ${showBytes(event.payload.length)}`;
      this.#message(id, event.method, event.from, event.payload);
    } else if (event.event === "half-close") {
      out.line`${id} ${out.paint("cyan", "->|")} no more messages`;
    } else if (event.event === "end") {
      const { code, message, details, payload, ms } = event;
      const status = out.paint(code === 0 ? "green" : "red", codeName(code));
      const why = message === "" ? "" : `: ${message}`;
      const size = payload ? `  ${showBytes(payload.length)}` : "";
      const time = ms === undefined ? "" : `  ${showTime(ms)}`;
      const arrow = out.paint("cyan", event.from === "client" ? "-->" : "<--");
      out.line`${id} ${arrow} ${status}${why}${size}${time}  ${method}`;
      if (payload) this.#message(id, event.method, "server", payload);
      for (const detail of details) {
        out.line`${id}     ${this.#messages?.detail(detail) ?? rawDetail(detail)}`;
      }
    } else out.line`${id} ${out.paint("yellow", "???")} ${event.message}`;
  }

  #message(id: Painted, method: string | undefined, from: Side, payload: Uint8Array): void {
    const message = this.#messages?.decode(method, from, payload);
    if (message !== undefined) this.#out.line`${id}     ${printableJson(message)}`;
  }

  #asJson(event: CallEvent): Json {
    const { connection, stream, method, event: name } = event;
    const json: Record<string, Json> = { time: new Date().toISOString(), connection, stream };
    if (method !== undefined) json["method"] = method;
    json["event"] = name;
    if ("from" in event) json["from"] = event.from;
    if (event.event === "request") {
      json["metadata"] = event.metadata.map((pair) => [...pair]);
      if (event.timeoutMs !== 0) json["timeoutMs"] = event.timeoutMs;
    }
    if (event.event === "strange") json["error"] = event.message;
    if (event.event === "end") {
      json["code"] = event.code;
      json["status"] = codeName(event.code);
      if (event.message !== "") json["error"] = event.message;
      if (event.details.length > 0) {
        json["details"] = event.details.map(({ typeUrl, value }) => ({
          "@type": typeUrl,
          value: value.toBase64(),
        }));
      }
      if (event.ms !== undefined) json["ms"] = Math.round(event.ms * 1e3) / 1e3;
    }
    if ("payload" in event && event.payload) {
      json["bytes"] = event.payload.length;
      const from = event.event === "message" ? event.from : name === "end" ? "server" : "client";
      const message = this.#messages?.decode(method, from, event.payload);
      if (message !== undefined) json["message"] = message;
    }
    return json;
  }
}

/** The name of a code; `CODE_` and the number if gRPC does not define it. */
export function codeName(code: number): string {
  return Code[code] ?? `CODE_${code}`;
}

/** Decodes the messages of any method of a schema. */
export class Decoder {
  readonly #format: JsonFormat;
  readonly #methods = new Map<string, DescMethod>();

  constructor(format: JsonFormat) {
    this.#format = format;
    for (const type of format.registry) {
      if (type.kind !== "service") continue;
      for (const method of type.methods) {
        this.#methods.set(`${type.typeName}/${method.name}`, method);
      }
    }
  }

  /** A message as JSON, or why it cannot be decoded; `undefined` if the schema lacks the method. */
  decode(path: string | undefined, from: Side, payload: Uint8Array): Json | undefined {
    const method = path === undefined ? undefined : this.#methods.get(path);
    if (!method) return undefined;
    try {
      return this.#format.decode(from === "client" ? method.input : method.output, payload);
    } catch (error) {
      return `not a ${(from === "client" ? method.input : method.output).typeName}: ${error}`;
    }
  }

  /** A status detail, as a line. */
  detail(detail: { typeUrl: string; value: Uint8Array }): string {
    return this.#format.detail(detail);
  }
}

/** The decoder for the schema that the options name, if they name one. */
export async function decoderOf(
  options: SchemaOptions & { readonly emitDefaults?: boolean },
): Promise<Decoder | undefined> {
  if (!options.proto && !options.descriptorSet && !options.importPath) return undefined;
  const { needSchema } = await import("./schema.ts");
  const { registry } = await needSchema(options, "Cannot decode messages");
  const { JsonFormat } = await import("./json.ts");
  return new Decoder(new JsonFormat(registry, options.emitDefaults));
}
