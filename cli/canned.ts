/**
 * Canned replies: the file that `ttrpc serve` answers from.
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
  /** What of a request has to be so; anything goes if there is nothing. */
  readonly when: Json | undefined;
  /** The responses, encoded. */
  readonly responses: readonly Uint8Array[];
  /** The error at the end, if it ends with one. */
  readonly error: CannedError | undefined;
  /** How long to wait before the first, in milliseconds. */
  readonly delay: number;
  /** How long to wait between two, in milliseconds. */
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
 * @param schema Its methods.
 * @param format How messages look as JSON.
 * @returns The replies by method.
 * @throws {Failure} If something in it does not fit, with the place.
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
      `there is no ${JSON.stringify(name)}` +
        (didYouMean(name, FIELDS) || `; it takes ${FIELDS.join(", ")}`),
    );
  }
  const { when, response, responses, error, delay, every } = json;
  const streams = method.methodKind === "server_streaming" ||
    method.methodKind === "bidi_streaming";
  if (responses !== undefined && !Array.isArray(responses)) throw fail(`"responses" is no array`);
  if (responses !== undefined && !streams) {
    throw fail(`${method.name} gives one message; it takes "response"`);
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
        (didYouMean(String(code), names) || "; codes are named as NOT_FOUND is"),
    );
  }
  if (typeof message !== "string") throw new TypeError("the error's message is no string");
  if (!Array.isArray(details)) throw new TypeError("the error's details are no array");
  return { code: number!, message, details: details.map((detail) => format.pack(detail)) };
}

/** The error as handlers throw it. */
export function toError({ code, message, details }: CannedError): RpcError {
  return new RpcError(code, message, { details });
}

function readDuration(json: Json | undefined): number {
  if (json === undefined) return 0;
  if (typeof json === "number" && json >= 0) return json;
  if (typeof json === "string") return duration(json);
  throw new TypeError(`a time is a number of milliseconds, or such as "50ms"`);
}

/**
 * Whether a request is as a reply wants it.
 *
 * @param wanted What has to be so.
 * @param given The request. It may have more.
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
