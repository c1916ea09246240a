/**
 * The messages of a call: as JSON with a schema, or as bytes.
 *
 * @module
 */

import type { MethodKind, RpcError } from "../core.ts";
import { messageOf, usage } from "./failure.ts";
import type { Input, Json } from "./input.ts";
import { splitMethod } from "./names.ts";
import { rawDetail } from "./printable.ts";
import type { SchemaOptions } from "./schema.ts";
import type { Output } from "./terminal.ts";

/** How responses are printed. */
export type OutputFormat = "json" | "text" | "none";

/** The schema, and how to print responses. */
export interface MessageOptions extends SchemaOptions {
  /** How responses are printed; `json` by default. */
  readonly output?: OutputFormat;
  /** Whether to print fields that have their default values. */
  readonly emitDefaults?: boolean;
}

/** The messages of one call. */
export interface Messages {
  /** The service and the method. */
  readonly name: readonly [service: string, method: string];
  /** The same, as `pkg.Service/Method`. */
  readonly path: string;
  /** Whether the method takes more than one request. */
  readonly clientStreaming: boolean;
  /** Whether it returns more than one response. */
  readonly serverStreaming: boolean;
  /** Reads and encodes the only request. */
  request(): Promise<Uint8Array>;
  /** Reads and encodes the requests of a stream. */
  requests(): AsyncIterable<Uint8Array>;
  /** Prints a response. */
  show(bytes: Uint8Array, out: Output): void;
  /** The status details of an error, one per line. */
  details(error: RpcError): string[];
}

/**
 * Messages as JSON.
 *
 * @param method The name of the method.
 * @param input The input with the requests.
 * @param options The schema, and how to print.
 * @returns The messages.
 * @throws {Failure} If there is no schema, or the method is not in it.
 */
export async function jsonMessages(
  method: string,
  input: Input,
  options: MessageOptions,
): Promise<Messages> {
  const { findMethod, loadSchema, noSchema, pathOf } = await import("./schema.ts");
  splitMethod(method);
  const schema = await loadSchema(options);
  if (!schema) throw noSchema(`Cannot call ${method}`, ", or --raw to send and receive bytes");
  const found = findMethod(schema, method);
  const { JsonFormat } = await import("./json.ts");
  const format = new JsonFormat(schema.registry, options.emitDefaults);
  const { toText } = await import("./text.ts");
  const kind = kinds(found.methodKind);
  const encode = (json: Json) => format.encode(found.input, json);
  return {
    name: [found.parent.typeName, found.name],
    path: pathOf(found),
    ...kind,
    request: async () => encode(await input.value()),
    async *requests() {
      for await (const json of input.values()) yield encode(json);
    },
    show: (bytes, out) => {
      if (options.output === "none") return;
      try {
        if (options.output === "text") {
          for (const line of toText(found.output, bytes, schema.registry)) out.line`${line}`;
          if (kind.serverStreaming) out.line``;
        } else {
          const json = format.decode(found.output, bytes);
          out.json(json, kind.serverStreaming ? 0 : 2);
        }
      } catch (error) {
        throw usage(
          `Cannot decode the response of ${pathOf(found)} as ${found.output.typeName}: ` +
            `${messageOf(error)}; is this the server's schema? --raw prints the bytes`,
        );
      }
    },
    details: (error) => error.details.map((detail) => format.detail(detail)),
  };
}

/**
 * Messages as bytes. In a stream and on a terminal, each message is a line of base64.
 *
 * @param method The name of the method.
 * @param input The input with the requests.
 * @param kind The kind of method; by default the one in the schema, or unary without a schema.
 * @param options The schema, which is optional, and how to print.
 * @returns The messages.
 * @throws {Failure} If the name is not valid, or the method is not in the schema.
 */
export async function rawMessages(
  method: string,
  input: Input,
  kind: MethodKind | undefined,
  options: MessageOptions,
): Promise<Messages> {
  const name = splitMethod(method);
  if (kind === undefined && (options.proto ?? options.descriptorSet)) {
    const { findMethod, needSchema } = await import("./schema.ts");
    kind = findMethod(await needSchema(options, `Cannot call ${method}`), method).methodKind;
  }
  const both = kinds(kind ?? "unary");
  return {
    name,
    path: name.join("/"),
    ...both,
    request: () => input.bytes(),
    async *requests() {
      for await (const line of input.lines()) {
        if (line.trim() !== "") yield fromBase64(line.trim());
      }
    },
    show: (bytes, out) => {
      if (options.output === "none") return;
      // A terminal could take bytes for control sequences.
      if (both.serverStreaming || out.isTerminal) out.line`${bytes.toBase64()}`;
      else out.print(bytes);
    },
    details: (error) => error.details.map(rawDetail),
  };
}

function kinds(kind: MethodKind): Pick<Messages, "clientStreaming" | "serverStreaming"> {
  return {
    clientStreaming: kind === "client_streaming" || kind === "bidi_streaming",
    serverStreaming: kind === "server_streaming" || kind === "bidi_streaming",
  };
}

function fromBase64(line: string): Uint8Array {
  try {
    return Uint8Array.fromBase64(line);
  } catch {
    throw usage(`Cannot send ${JSON.stringify(line)}: with --raw, a stream takes base64 lines`);
  }
}
