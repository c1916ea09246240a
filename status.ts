/**
 * How a call ends: gRPC's status codes, and the error that carries one.
 *
 * @module
 */

import { type DescMessage, type MessageShape, schemaCodec } from "./codec.ts";

/**
 * The status codes of gRPC.
 *
 * @category Errors
 */
export enum Code {
  /** The call succeeded. */
  OK = 0,
  /** The caller gave the call up. */
  CANCELLED = 1,
  /** An error without a status of its own, such as a plain `Error` thrown by a handler. */
  UNKNOWN = 2,
  /** The request is wrong, whatever state the system is in. */
  INVALID_ARGUMENT = 3,
  /** The deadline passed before the call was complete. */
  DEADLINE_EXCEEDED = 4,
  /** What was asked for does not exist. */
  NOT_FOUND = 5,
  /** What should be created exists. */
  ALREADY_EXISTS = 6,
  /** The caller may not do this. */
  PERMISSION_DENIED = 7,
  /** Something is used up; in ttrpc also: a message is too long. */
  RESOURCE_EXHAUSTED = 8,
  /** The system is not in the state that the call needs. */
  FAILED_PRECONDITION = 9,
  /** The call was given up for a conflict with another. */
  ABORTED = 10,
  /** The request goes past the end of what there is. */
  OUT_OF_RANGE = 11,
  /** The server has no such service or method. */
  UNIMPLEMENTED = 12,
  /** Something that must hold does not: the peer or this side is broken. */
  INTERNAL = 13,
  /** The service cannot be reached at the moment. */
  UNAVAILABLE = 14,
  /** Data is lost or damaged for good. */
  DATA_LOSS = 15,
  /** The caller has not shown who it is. */
  UNAUTHENTICATED = 16,
}

/**
 * One detail of a status: the fields of a `google.protobuf.Any`. What `anyPack()` of
 * `@bufbuild/protobuf/wkt` returns is one.
 *
 * @category Errors
 */
export interface StatusDetail {
  /** The URL of the type, such as `type.googleapis.com/google.rpc.RetryInfo`. */
  typeUrl: string;
  /** The message of that type, encoded. */
  value: Uint8Array;
}

/**
 * How a call ended: the fields of a `google.rpc.Status`, and what led to it.
 *
 * @category Errors
 */
export interface Status {
  /** A {@linkcode Code}; numbers that gRPC does not define are passed on as they are. */
  readonly code: number;
  /** For a developer to read. */
  readonly message: string;
  /** More, in a form for programs. */
  readonly details?: readonly StatusDetail[] | undefined;
  /** What led to it, if it did not come from the peer. It stays in this process. */
  readonly cause?: unknown;
}

/** The status of a call that went well. */
export const OK: Status = { code: Code.OK, message: "" };

/**
 * What an {@linkcode RpcError} may carry beyond its code and message.
 *
 * @category Errors
 */
export interface RpcErrorOptions {
  /** Details for programs, sent along when a handler throws the error. */
  details?: readonly StatusDetail[] | undefined;
  /** The method that was called, as `pkg.Service/Method`. */
  method?: string | undefined;
  /** What led to the error. It stays in this process: it is never sent. */
  cause?: unknown;
}

/**
 * An {@linkcode RpcError} as plain data. See {@linkcode RpcError.toJSON}.
 *
 * @category Errors
 */
export interface RpcErrorJson {
  /** The name of the class. */
  name: string;
  /** As `message` of the error: with the method and the code. */
  message: string;
  /** Why the call failed. */
  code: Code;
  /** The message as it travels. */
  rawMessage: string;
  /** The details, their values as base64. */
  details: { typeUrl: string; value: string }[];
  /** The method that was called, if a call led to the error. */
  method?: string;
}

const brand = Symbol.for("@ttrpc/ttrpc/RpcError");

/**
 * A call that did not succeed.
 *
 * A client's call rejects with one, whatever the reason: the server's answer, a deadline, an
 * abort, a lost connection. A handler throws one to choose the status its caller sees. Its
 * `message` reads `pkg.Service/Method: NOT_FOUND: no such task`.
 *
 * `instanceof` holds across several copies of this module in one program. To another worker, which
 * has objects of its own, an error goes as {@linkcode RpcError.toJSON} has it: what
 * `structuredClone()` and `postMessage()` make of any error is an `Error` with its message, its
 * stack and its cause, and nothing else.
 *
 * @category Errors
 * @example Handle one code
 * ```ts
 * import { Code, RpcError } from "@ttrpc/ttrpc";
 * import { equal } from "node:assert/strict";
 *
 * try {
 *   throw new RpcError(Code.NOT_FOUND, "no such task");
 * } catch (error) {
 *   if (!(error instanceof RpcError && error.code === Code.NOT_FOUND)) throw error;
 *   equal(error.message, "NOT_FOUND: no such task");
 * }
 * ```
 */
export class RpcError extends Error {
  /** The name of the class. */
  override readonly name: string = "RpcError";
  /** Why the call failed. */
  readonly code: Code;
  /** The message as it travels, without the method and the code. */
  readonly rawMessage: string;
  /** The details as they travel. See {@linkcode RpcError.findDetails}. */
  readonly details: readonly StatusDetail[];
  /** The method that was called, as `pkg.Service/Method`, if a call led to this. */
  readonly method: string | undefined;

  /**
   * Makes an error.
   *
   * @param code Any code but `OK`.
   * @param message For a developer to read.
   * @param options What else there is to say.
   * @throws {RangeError} If `code` is `OK` or not a 32-bit integer.
   * @throws {TypeError} If a detail is none.
   */
  constructor(code: Code, message: string, options: RpcErrorOptions = {}) {
    checkCode(code);
    message = String(message);
    const text = message === "" ? codeName(code) : `${codeName(code)}: ${message}`;
    super(
      options.method === undefined ? text : `${options.method}: ${text}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.rawMessage = message;
    this.details = [...checkDetails(options.details ?? [])];
    this.method = options.method;
    Object.defineProperty(this, brand, { value: true });
  }

  /**
   * Decodes the details of one type. Needs `@ttrpc/ttrpc` to be imported, not only its core.
   *
   * @param schema The type to look for.
   * @returns The messages, in order. One whose bytes do not decode is left out.
   *
   * @example Tell a caller when to come back
   * ```ts
   * import { Code, RpcError } from "@ttrpc/ttrpc";
   * import { anyPack, DurationSchema } from "@bufbuild/protobuf/wkt";
   * import { create } from "@bufbuild/protobuf";
   * import { equal } from "node:assert/strict";
   *
   * const wait = create(DurationSchema, { seconds: 3n });
   * const error = new RpcError(Code.UNAVAILABLE, "warming up", {
   *   details: [anyPack(DurationSchema, wait)],
   * });
   * equal(error.findDetails(DurationSchema)[0]?.seconds, 3n);
   * ```
   */
  findDetails<Desc extends DescMessage>(schema: Desc): MessageShape<Desc>[] {
    const codec = schemaCodec(schema);
    const found: MessageShape<Desc>[] = [];
    for (const { typeUrl, value } of this.details) {
      if (typeUrl.slice(typeUrl.lastIndexOf("/") + 1) !== schema.typeName) continue;
      try {
        found.push(codec.decode(value));
      } catch {
        // An error that is being handled must not turn into another one.
      }
    }
    return found;
  }

  /**
   * The error that stands for anything thrown.
   *
   * @param reason What was thrown.
   * @returns An `RpcError` as it is; for anything else one with `UNKNOWN`, the thrown error's
   * message, and that error as its cause.
   */
  static from(reason: unknown): RpcError {
    if (reason instanceof RpcError) return reason;
    return new RpcError(Code.UNKNOWN, describe(reason), { cause: reason });
  }

  /**
   * The error as plain data, which `JSON.stringify()`, `structuredClone()` and `postMessage()` keep
   * as it is. The stack and the cause stay behind.
   *
   * @returns What {@linkcode RpcError.fromJSON} takes.
   *
   * @example Hand an error to another worker
   * ```ts
   * import { Code, RpcError } from "@ttrpc/ttrpc";
   * import { equal } from "node:assert/strict";
   *
   * const error = new RpcError(Code.NOT_FOUND, "no such task");
   * const received = structuredClone(error.toJSON()); // as postMessage() does
   * equal(RpcError.fromJSON(received).code, Code.NOT_FOUND);
   * ```
   */
  toJSON(): RpcErrorJson {
    const { name, message, code, rawMessage, method } = this;
    const details = this.details.map(({ typeUrl, value }) => ({
      typeUrl,
      value: value.toBase64(),
    }));
    return {
      name,
      message,
      code,
      rawMessage,
      details,
      ...(method === undefined ? {} : { method }),
    };
  }

  /**
   * The error that was made plain data of.
   *
   * @param json What {@linkcode RpcError.toJSON} has returned.
   * @returns An error with the same code, message, details and method.
   * @throws {TypeError | RangeError} If it is something else.
   */
  static fromJSON(json: RpcErrorJson): RpcError {
    const { code, rawMessage, method, details } = json ?? {};
    if (
      typeof rawMessage !== "string" || !Array.isArray(details) ||
      method !== undefined && typeof method !== "string"
    ) throw new TypeError("Cannot make an RpcError: this is not what its toJSON() returns");
    return new RpcError(code, rawMessage, { method, details: details.map(fromJsonDetail) });
  }

  /**
   * Whether a value is an `RpcError` of this or another copy of the module. Of a subclass only its
   * own instances are.
   *
   * @param value Anything.
   * @returns What `instanceof` evaluates to.
   */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (this !== RpcError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return typeof value === "object" && value !== null && brand in value;
  }
}

/**
 * The name of a status code, as gRPC spells it.
 *
 * @param code The number.
 * @returns Such as `NOT_FOUND`; `CODE_99` for a number that gRPC does not define.
 */
export function codeName(code: number): string {
  return Code[code] ?? `CODE_${code}`;
}

/**
 * The status of a call for which something was thrown.
 *
 * @param error What was thrown.
 * @returns Its status; `UNKNOWN` if it has none.
 */
export function statusOf(error: unknown): Status {
  if (!(error instanceof RpcError)) {
    return { code: Code.UNKNOWN, message: describe(error), cause: error };
  }
  try {
    // Another copy of the module may have made it, or somebody may have changed it.
    const { code, rawMessage, details = [], cause } = error;
    checkCode(code);
    return { code, message: String(rawMessage), details: checkDetails(details), cause };
  } catch (cause) {
    return { code: Code.UNKNOWN, message: describe(error), cause };
  }
}

/**
 * The error of a call that ended badly. It is made where the caller waits, so that its stack leads
 * there.
 *
 * @param status How the call ended.
 * @param method The method, as `pkg.Service/Method`, if one was called.
 * @returns The error.
 */
export function statusError(status: Status, method?: string): RpcError {
  const { code, message, details, cause } = status;
  return new RpcError(code, message, { details, method, cause });
}

/**
 * The status of a call whose signal was aborted: `DEADLINE_EXCEEDED` if a timeout aborted it, else
 * `CANCELLED`.
 *
 * @param signal The signal.
 * @returns A status with the signal's reason as its cause.
 */
export function abortStatus(signal: AbortSignal): Status {
  const cause: unknown = signal.reason;
  const name = cause instanceof DOMException ? cause.name : undefined;
  if (name === "TimeoutError") {
    return { code: Code.DEADLINE_EXCEEDED, message: describe(cause), cause };
  }
  const message = name === "AbortError"
    ? "the caller gave up"
    : `the caller gave up: ${describe(cause)}`;
  return { code: Code.CANCELLED, message, cause };
}

/**
 * What was thrown, in words. Anything can be thrown, also what cannot be made into a string.
 *
 * @param reason What was thrown.
 * @returns The message of an error, or the value as text.
 */
export function describe(reason: unknown): string {
  try {
    if (reason instanceof RpcError) return String(reason.rawMessage);
    return String(reason instanceof Error ? reason.message : reason);
  } catch {
    return "something that cannot be shown was thrown";
  }
}

function fromJsonDetail(detail: RpcErrorJson["details"][number]): StatusDetail {
  try {
    return { typeUrl: detail.typeUrl, value: Uint8Array.fromBase64(detail.value) };
  } catch (cause) {
    throw new TypeError("Cannot make an RpcError: a detail has no value of base64", { cause });
  }
}

function checkCode(code: number): void {
  if ((code | 0) === code && code !== Code.OK) return;
  throw new RangeError(`Cannot make an RpcError of code ${code}: it takes an error's code`);
}

function checkDetails(details: readonly StatusDetail[]): readonly StatusDetail[] {
  for (const detail of details) {
    if (typeof detail?.typeUrl !== "string" || !(detail.value instanceof Uint8Array)) {
      throw new TypeError("Cannot make an RpcError: a detail has no typeUrl or no value of bytes");
    }
  }
  return details;
}
