/**
 * Reads the file of canned replies that `ttrpc serve` answers with.
 *
 * @module
 */

import type { DescMethod } from "@bufbuild/protobuf";
import { Code, RpcError, type StatusDetail } from "../core.ts";
import { fileReason, messageOf, usage } from "./failure.ts";
import type { Json } from "./input.ts";
import type { JsonFormat } from "./json.ts";
import { didYouMean } from "./names.ts";
import { duration } from "./options.ts";
import { findMethod, pathOf, type Schema } from "./schema.ts";

/** One reply of a method. */
export interface Reply {
  /** The fields that a request must have; `undefined` matches all requests. */
  readonly when: Json | undefined;
  /** The responses, encoded. */
  readonly responses: readonly Uint8Array[];
  /** The error after the responses, if there is one. */
  readonly error: CannedError | undefined;
  /** The pause before the first response, in milliseconds. */
  readonly delay: number;
  /** The pause between two responses, in milliseconds. */
  readonly every: number;
}

/** An error to answer with. */
export interface CannedError {
  readonly code: Code;
  readonly message: string;
  readonly details: readonly StatusDetail[];
}

const FIELDS = ["when", "response", "responses", "error", "delay", "every"];

/**
 * Reads the file.
 *
 * @param path The file.
 * @param schema The schema with the methods.
 * @param format Converts messages from JSON.
 * @returns The replies by method.
 * @throws {Failure} If the file is not valid, with the place in it.
 */
export async function readReplies(
  path: string,
  schema: Schema,
  format: JsonFormat,
): Promise<Map<string, Reply[]>> {
  let json: Json;
  try {
    json = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    const why = error instanceof SyntaxError ? messageOf(error) : fileReason(error);
    throw usage(`Cannot read the responses ${path}: ${why}`);
  }
  if (!isObject(json)) {
    throw usage(
      `Cannot use the responses ${path}: ` +
        `expected an object such as {"pkg.Service/Method": {"response": {}}}`,
    );
  }
  const replies = new Map<string, Reply[]>();
  for (const [name, given] of Object.entries(json)) {
    if (name === "$schema") continue;
    const method = findMethod(schema, name);
    const list = Array.isArray(given) ? given : [given];
    replies.set(
      pathOf(method),
      list.map((reply, at) => {
        const place = `${name}${Array.isArray(given) ? `, reply ${at + 1}` : ""} in ${path}`;
        return readReply(reply, method, format, place);
      }),
    );
  }
  return replies;
}

function readReply(json: Json, method: DescMethod, format: JsonFormat, place: string): Reply {
  const fail = (why: string) => usage(`Cannot use ${place}: ${why}`);
  if (!isObject(json)) throw fail(`expected an object with ${FIELDS.join(", ")}`);
  for (const name of Object.keys(json)) {
    if (FIELDS.includes(name)) continue;
    throw fail(
      `unknown field ${JSON.stringify(name)}` +
        (didYouMean(name, FIELDS) || `; the fields are ${FIELDS.join(", ")}`),
    );
  }
  const { when, response, responses, error, delay, every } = json;
  const streams = method.methodKind === "server_streaming" ||
    method.methodKind === "bidi_streaming";
  if (responses !== undefined && !Array.isArray(responses)) {
    throw fail(`"responses" is not an array`);
  }
  if (responses !== undefined && !streams) {
    throw fail(`${method.name} returns one message; use "response"`);
  }
  const all = responses ?? (response === undefined ? [] : [response]);
  if (all.length === 0 && error === undefined && !streams) {
    throw fail(`expected a "response" or an "error"`);
  }
  try {
    return {
      when,
      responses: all.map((each) => format.encode(method.output, each)),
      error: error === undefined ? undefined : readError(error, format),
      delay: readDuration(delay),
      every: readDuration(every),
    };
  } catch (error) {
    throw fail(messageOf(error));
  }
}

function readError(json: Json, format: JsonFormat): CannedError {
  const { code = "UNKNOWN", message = "", details = [] } = isObject(json) ? json : { code: json };
  const number = typeof code === "number" ? code : Code[String(code) as keyof typeof Code];
  const names = Object.values(Code).filter((name) => typeof name === "string");
  if (!Number.isInteger(number) || number === Code.OK) {
    throw new TypeError(
      `there is no error code ${JSON.stringify(code)}` +
        (didYouMean(String(code), names) || "; use gRPC's name of it, such as NOT_FOUND"),
    );
  }
  if (typeof message !== "string") throw new TypeError("the error's message is not a string");
  if (!Array.isArray(details)) throw new TypeError("the error's details are not an array");
  return { code: number!, message, details: details.map((detail) => format.pack(detail)) };
}

/** The error that a handler throws. */
export function toError({ code, message, details }: CannedError): RpcError {
  return new RpcError(code, message, { details });
}

function readDuration(json: Json | undefined): number {
  if (json === undefined) return 0;
  if (typeof json === "number" && json >= 0) return json;
  if (typeof json === "string") return duration(json);
  throw new TypeError(`expected a number of milliseconds, or a time such as "50ms"`);
}

/**
 * Whether a request matches the `when` of a reply.
 *
 * @param wanted The fields that it must have; `undefined` matches all requests.
 * @param given The request. It may have more fields.
 * @returns `true` if it matches.
 */
export function fits(wanted: Json | undefined, given: Json): boolean {
  if (wanted === undefined) return true;
  if (Array.isArray(wanted)) {
    return Array.isArray(given) && wanted.length === given.length &&
      wanted.every((each, at) => fits(each, given[at]!));
  }
  if (!isObject(wanted)) return wanted === given;
  return isObject(given) &&
    Object.entries(wanted).every(([key, value]) =>
      Object.hasOwn(given, key) && fits(value, given[key]!)
    );
}

function isObject(json: Json): json is { [key: string]: Json } {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
