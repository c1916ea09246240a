/**
 * The status of a call: gRPC's status codes, and `RpcError`, the error that has one.
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
  /** The call was cancelled, typically by the caller. */
  CANCELLED = 1,
  /** An error without a status code, such as a plain `Error` thrown by a handler. */
  UNKNOWN = 2,
  /** The request is invalid, regardless of the state of the system. */
  INVALID_ARGUMENT = 3,
  /** The deadline passed before the call was complete. */
  DEADLINE_EXCEEDED = 4,
  /** The requested entity does not exist. */
  NOT_FOUND = 5,
  /** The entity to create exists already. */
  ALREADY_EXISTS = 6,
  /** The caller does not have the permission. */
  PERMISSION_DENIED = 7,
  /** A resource or a limit is exhausted; in ttrpc also: a message is too long. */
  RESOURCE_EXHAUSTED = 8,
  /** The system is not in the state that the call requires. */
  FAILED_PRECONDITION = 9,
  /** The operation was aborted, typically because of a conflict with another one. */
  ABORTED = 10,
  /** The request is outside the valid range, such as past the end of a file. */
  OUT_OF_RANGE = 11,
  /** The server does not have the service or the method. */
  UNIMPLEMENTED = 12,
  /** An internal error: this side or the peer does not work as it must. */
  INTERNAL = 13,
  /** The service is unavailable at the moment, or the connection was lost. */
  UNAVAILABLE = 14,
  /** Data is lost or damaged, and cannot be recovered. */
  DATA_LOSS = 15,
  /** The caller is not authenticated. */
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
 * How a call ended: the fields of a `google.rpc.Status`, and the cause.
 *
 * @category Errors
 */
export interface Status {
  /** A {@linkcode Code}; numbers that gRPC does not define are passed on as they are. */
  readonly code: number;
  /** A description for developers. */
  readonly message: string;
  /** Details for programs. */
  readonly details?: readonly StatusDetail[] | undefined;
  /** The error that led to this status on this side. It is never sent. */
  readonly cause?: unknown;
}

/** The status of a call that succeeded. */
export const OK: Status = { code: Code.OK, message: "" };

/**
 * Options of an {@linkcode RpcError}.
 *
 * @category Errors
 */
export interface RpcErrorOptions {
  /** Details for programs, which are sent if a handler throws the error. */
  details?: readonly StatusDetail[] | undefined;
  /** The method that was called, as `pkg.Service/Method`. */
  method?: string | undefined;
  /** What led to the error. It is never sent. */
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
  /** The error's `message`, with the method and the code. */
  message: string;
  /** The status code. */
  code: Code;
  /** The message without the method and the code. */
  rawMessage: string;
  /** The details, with their values as base64. */
  details: { typeUrl: string; value: string }[];
  /** The method that was called, as `pkg.Service/Method`, if the error is that of a call. */
  method?: string;
}

const brand = Symbol.for("@ttrpc/ttrpc/RpcError");

/**
 * The error of a failed call.
 *
 * A client's call rejects with one, whatever the reason: the server's response, a deadline, an
 * abort, a lost connection. A handler throws one to choose the status that its caller gets. A
 * `message` is, for example, `pkg.Service/Method: NOT_FOUND: no such task`.
 *
 * `instanceof` works across several copies of this module in one program. To send an error to
 * another worker, use {@linkcode RpcError.toJSON}: `structuredClone()` and `postMessage()` turn any
 * error into an `Error` that has its message, stack and cause, and nothing else.
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
  /** The status code. */
  readonly code: Code;
  /** The message as it is sent, without the method and the code. */
  readonly rawMessage: string;
  /** The details, encoded. See {@linkcode RpcError.findDetails}. */
  readonly details: readonly StatusDetail[];
  /** The method that was called, as `pkg.Service/Method`, if the error is that of a call. */
  readonly method: string | undefined;

  /**
   * Creates an error.
   *
   * @param code Any code except `OK`.
   * @param message A description for developers.
   * @param options Details, method and cause.
   * @throws {RangeError} If `code` is `OK`, or is not a 32-bit integer.
   * @throws {TypeError} If a detail has no `typeUrl` or no `value`.
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
   * Decodes the details of one type.
   *
   * @param schema The type to look for.
   * @returns The messages, in order. Those that cannot be decoded are left out.
   * @throws {TypeError} If only `@ttrpc/ttrpc/core` was imported, which does not load protobuf-es.
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
        // To look at the details of an error must not throw another one.
      }
    }
    return found;
  }

  /**
   * Converts anything that was thrown into an `RpcError`.
   *
   * @param reason What was thrown.
   * @returns An `RpcError` unchanged; for anything else, one with `UNKNOWN`, the message of the
   * thrown error, and that error as its cause.
   */
  static from(reason: unknown): RpcError {
    if (reason instanceof RpcError) return reason;
    return new RpcError(Code.UNKNOWN, describe(reason), { cause: reason });
  }

  /**
   * Converts the error into plain data, which `JSON.stringify()`, `structuredClone()` and
   * `postMessage()` preserve. The stack and the cause are left out.
   *
   * @returns What {@linkcode RpcError.fromJSON} takes.
   *
   * @example Send an error to another worker
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
   * Creates an error from the plain data of another one.
   *
   * @param json What {@linkcode RpcError.toJSON} returned.
   * @returns An error with the same code, message, details and method.
   * @throws {TypeError | RangeError} If `json` is something else.
   */
  static fromJSON(json: RpcErrorJson): RpcError {
    const { code, rawMessage, method, details } = json ?? {};
    if (
      typeof rawMessage !== "string" || !Array.isArray(details) ||
      method !== undefined && typeof method !== "string"
    ) throw new TypeError("Cannot create an RpcError from JSON: it is not what toJSON() returns");
    return new RpcError(code, rawMessage, { method, details: details.map(fromJsonDetail) });
  }

  /**
   * Whether a value is an `RpcError` of this or another copy of the module. A subclass matches its
   * own instances only.
   *
   * @param value Any value.
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
 * The status of a call whose handler, interceptor or codec has thrown.
 *
 * @param error What was thrown.
 * @returns Its status; `UNKNOWN` if it has none.
 */
export function statusOf(error: unknown): Status {
  if (!(error instanceof RpcError)) {
    return { code: Code.UNKNOWN, message: describe(error), cause: error };
  }
  try {
    // Checked, because another copy of the module may have made it, or user code changed it.
    const { code, rawMessage, details = [], cause } = error;
    checkCode(code);
    return { code, message: String(rawMessage), details: checkDetails(details), cause };
  } catch (cause) {
    return { code: Code.UNKNOWN, message: describe(error), cause };
  }
}

/**
 * The error of a failed call. It is made where the caller waits, so that its stack leads there.
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
 * Describes what was thrown. That can be any value, even one that cannot be converted to a string.
 *
 * @param reason What was thrown.
 * @returns The message of an error, or the value as text.
 */
export function describe(reason: unknown): string {
  try {
    if (reason instanceof RpcError) return String(reason.rawMessage);
    return String(reason instanceof Error ? reason.message : reason);
  } catch {
    return "a value was thrown that cannot be converted to a string";
  }
}

function fromJsonDetail(detail: RpcErrorJson["details"][number]): StatusDetail {
  try {
    return { typeUrl: detail.typeUrl, value: Uint8Array.fromBase64(detail.value) };
  } catch (cause) {
    throw new TypeError("Cannot create an RpcError: a detail's value is not base64", { cause });
  }
}

function checkCode(code: number): void {
  if ((code | 0) === code && code !== Code.OK) return;
  throw new RangeError(
    `Cannot create an RpcError with code ${code}: it takes a 32-bit integer other than 0`,
  );
}

function checkDetails(details: readonly StatusDetail[]): readonly StatusDetail[] {
  for (const detail of details) {
    if (typeof detail?.typeUrl !== "string" || !(detail.value instanceof Uint8Array)) {
      throw new TypeError(
        "Cannot create an RpcError: a detail takes a string typeUrl and a Uint8Array value",
      );
    }
  }
  return details;
}
