/** What the models speak of: messages that have names, the service that moves them, and statuses. */

import type { Codec } from "@ttrpc/ttrpc";
import { Code, codeName, RpcError } from "../../../status.ts";

/**
 * A message by its name: `7/40` is the one of number 7, which takes 40 bytes. There are three more:
 * one without a byte, and two that cannot be decoded and not be encoded.
 */
export type Message = string;

export const EMPTY: Message = "empty";
export const UNDECODABLE: Message = "undecodable";
export const UNENCODABLE: Message = "unencodable";

/** The longest message of the service in bytes, in its envelope: both sides have this limit. */
export const LIMIT = 100_000;

export function named(number: number, size: number): Message {
  return size === 0 ? EMPTY : `${number}/${Math.max(4, size)}`;
}

/** How many bytes a message takes. */
export function sizeOf(message: Message): number {
  if (message === EMPTY) return 0;
  return message === UNDECODABLE ? 1 : Number(message.split("/")[1]);
}

export function encode(message: Message): Uint8Array {
  if (message === UNENCODABLE) throw new Error("it cannot be encoded");
  const bytes = new Uint8Array(sizeOf(message));
  if (message === UNDECODABLE) bytes[0] = 0xff;
  else if (message !== EMPTY) {
    const number = parseInt(message);
    bytes.fill(number * 31);
    new DataView(bytes.buffer).setUint32(0, number);
  }
  return bytes;
}

export function decode(bytes: Uint8Array): Message {
  if (bytes.length === 0) return EMPTY;
  if (bytes[0] === 0xff) throw new Error("it cannot be decoded");
  const number = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(0);
  const filler = number * 31 & 0xff;
  for (let at = 4; at < bytes.length; at++) {
    if (bytes[at] !== filler) return `damaged ${number}/${bytes.length} at ${at}`;
  }
  return `${number}/${bytes.length}`;
}

const codec: Codec<Message> = { encode, decode };

/** A service of all four kinds. */
export const Service = {
  typeName: "test.Model",
  method: {
    one: { name: "One", methodKind: "unary", input: codec, output: codec },
    down: { name: "Down", methodKind: "server_streaming", input: codec, output: codec },
    up: { name: "Up", methodKind: "client_streaming", input: codec, output: codec },
    both: { name: "Both", methodKind: "bidi_streaming", input: codec, output: codec },
  },
} as const;

/** A method of the service, by its name in TypeScript. */
export type MethodName = keyof typeof Service.method;

export const METHODS = Object.keys(Service.method) as MethodName[];

/** Whether a method takes many messages. */
export function takesMany(method: MethodName): boolean {
  return method === "up" || method === "both";
}

/** Whether a method gives many messages. */
export function givesMany(method: MethodName): boolean {
  return method === "down" || method === "both";
}

/** How a call ended. In the models a star in the message stands for any text. */
export interface Ending {
  readonly code: Code;
  readonly message: string;
}

export const FINE: Ending = { code: Code.OK, message: "" };

export function ending(code: Code, message: string): Ending {
  return { code, message };
}

/** An ending as the models and what they are compared with show it. */
export function shown({ code, message }: Ending): string {
  return `${codeName(code)}: ${message}`;
}

/** What was thrown, in the same way. That it names the method is part of being right. */
export function shownError(error: unknown, method?: MethodName): string {
  if (!(error instanceof RpcError)) return `not an RpcError: ${error}`;
  const path = method && `${Service.typeName}/${Service.method[method].name}`;
  const of = error.method === path ? "" : ` (of ${error.method}, not ${path})`;
  return `${codeName(error.code)}: ${error.rawMessage}${of}`;
}

/** Whether a text is what a model says it is. */
export function isAs(model: string, text: string): boolean {
  if (!model.includes("*")) return model === text;
  const parts = model.split("*");
  let at = parts[0]!.length;
  if (!text.startsWith(parts[0]!)) return false;
  for (const part of parts.slice(1, -1)) {
    at = text.indexOf(part, at);
    if (at < 0) return false;
    at += part.length;
  }
  const last = parts.at(-1)!;
  return text.length - at >= last.length && text.endsWith(last);
}

export function tooLong(length: number | string, limit: number): Ending {
  const message = `message length ${length} exceed maximum message size of ${limit}`;
  return ending(Code.RESOURCE_EXHAUSTED, message);
}

export const NOT_DECODED = ending(
  Code.INTERNAL,
  "ttrpc: error unmarshalling payload: it cannot be decoded",
);
export const NOT_ENCODED = ending(
  Code.INTERNAL,
  "ttrpc: error marshalling payload: it cannot be encoded",
);
