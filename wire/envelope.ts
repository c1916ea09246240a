/**
 * The messages Request and Response that wrap every call, encoded and decoded by hand:
 *
 *     Request  { string service=1; string method=2; bytes payload=3; int64 timeout_nano=4; repeated KeyValue metadata=5 }
 *     Response { google.rpc.Status status=1; bytes payload=2 }
 *     KeyValue { string key=1; string value=2 }
 *
 * @module
 */

import { concat } from "@std/bytes/concat";
import { Metadata } from "../metadata.ts";
import { Reader, tooMany } from "./protobuf_reader.ts";
import type { Status, StatusDetail } from "../status.ts";
import { NO_BYTES, recycle, utf8Length, varint64Length, varintLength, Writer } from "./writer.ts";

/** The message that opens a call. */
export interface Request {
  /** The full name of the service: `pkg.Service`. */
  service: string;
  /** The name of the method as in the proto file: `SayHello`. */
  method: string;
  /** The request message, encoded. */
  payload: Uint8Array;
  /** The time left until the deadline, in nanoseconds. Zero means no deadline. */
  timeoutNano: bigint;
  /** The metadata, if there is any. */
  metadata: Metadata | undefined;
}

/** The message that ends a call. */
export interface Response {
  /** How the call ended. `undefined` means success, as does code zero. */
  status: Status | undefined;
  /** The response message, encoded. */
  payload: Uint8Array;
}

/** A decoded Response. */
export interface DecodedResponse extends Response {
  /** How the call ended. The details are copies, not views of the received bytes. */
  status: (Status & { readonly details: readonly StatusDetail[] }) | undefined;
}

/** A pair takes at least two bytes on the wire, and ten times as much in memory. */
const MOST_PAIRS = 10_000;
/** A detail takes at least two bytes on the wire, and about a hundred in memory. */
const MOST_DETAILS = 1_000;

/** The tags: field numbers, shifted, with their wire types. */
const Tag = {
  service: 0x0a,
  method: 0x12,
  requestPayload: 0x1a,
  timeoutNano: 0x20,
  metadata: 0x2a,
  key: 0x0a,
  value: 0x12,
  status: 0x0a,
  responsePayload: 0x12,
  code: 0x08,
  message: 0x12,
  details: 0x1a,
  typeUrl: 0x0a,
  detailValue: 0x12,
} as const;

/**
 * The part of a Request that is the same for every call of a method.
 *
 * @param service The full name of the service.
 * @param method The name of the method.
 * @returns Its two fields, encoded.
 */
export function encodeMethod(service: string, method: string): Uint8Array {
  const writer = new Writer();
  writer.reserve(stringLength(service) + stringLength(method));
  writeString(writer, Tag.service, service);
  writeString(writer, Tag.method, method);
  return collect(writer);
}

/** A Request whose service and method are already encoded. */
export interface EncodableRequest extends Omit<Request, "service" | "method"> {
  /** The result of {@linkcode encodeMethod}. */
  method: Uint8Array;
}

/** The length in bytes of a Request as {@linkcode writeRequest} writes it. */
export function requestLength(request: EncodableRequest): number {
  return request.method.length + bytesLength(request.payload) + optionsLength(request);
}

function optionsLength({ timeoutNano, metadata }: EncodableRequest): number {
  let length = timeoutNano === 0n ? 0 : 1 + varint64Length(timeoutNano);
  if (metadata) {
    for (const [key, value] of metadata) length += messageLength(pairLength(key, value));
  }
  return length;
}

/** Writes a Request. The payload comes last, so that no field follows a long one. */
export function writeRequest(writer: Writer, request: EncodableRequest): void {
  const { method, payload, timeoutNano, metadata } = request;
  writer.reserve(method.length + optionsLength(request));
  writer.copy(method);
  if (timeoutNano !== 0n) {
    writer.byte(Tag.timeoutNano);
    writer.varint64(timeoutNano);
  }
  if (metadata) {
    for (const [key, value] of metadata) {
      writer.byte(Tag.metadata);
      writer.varint(pairLength(key, value));
      writeString(writer, Tag.key, key);
      writeString(writer, Tag.value, value);
    }
  }
  writePayload(writer, Tag.requestPayload, payload);
}

/** The length in bytes of a Response as {@linkcode writeResponse} writes it. */
export function responseLength({ status, payload }: Response): number {
  return (status ? messageLength(statusLength(status)) : 0) + bytesLength(payload);
}

/** Writes a Response, in the order of its fields. */
export function writeResponse(writer: Writer, { status, payload }: Response): void {
  if (status) {
    const length = statusLength(status);
    writer.reserve(6 + length);
    writer.byte(Tag.status);
    writer.varint(length);
    writeStatus(writer, status);
  }
  writePayload(writer, Tag.responsePayload, payload);
}

function writeStatus(writer: Writer, { code, message, details = [] }: Status): void {
  if (code !== 0) {
    writer.byte(Tag.code);
    writer.varint64(BigInt(code));
  }
  writeString(writer, Tag.message, message);
  for (const detail of details) {
    writer.byte(Tag.details);
    writer.varint(detailLength(detail));
    writeString(writer, Tag.typeUrl, detail.typeUrl);
    if (detail.value.length === 0) continue;
    writer.byte(Tag.detailValue);
    writer.varint(detail.value.length);
    writer.copy(detail.value);
  }
}

/**
 * The bytes of a Request.
 *
 * @param request The fields.
 * @returns The message, encoded.
 */
export function encodeRequest(request: Request): Uint8Array {
  const writer = new Writer();
  writeRequest(writer, { ...request, method: encodeMethod(request.service, request.method) });
  return collect(writer);
}

/**
 * The bytes of a Response.
 *
 * @param response The fields.
 * @returns The message, encoded.
 */
export function encodeResponse(response: Response): Uint8Array {
  const writer = new Writer();
  writeResponse(writer, response);
  return collect(writer);
}

/** Copies all bytes of a writer, and returns its buffers to their pool. */
function collect(writer: Writer): Uint8Array {
  const chunks = writer.take();
  const bytes = concat(chunks);
  for (const chunk of chunks) recycle(chunk);
  return bytes;
}

/**
 * Decodes a Request. Fields may come in any order; if a field comes twice, the last one counts;
 * unknown fields are skipped.
 *
 * @param data The encoded message.
 * @returns Its fields. `payload` is a view of `data`.
 * @throws {RpcError} With `INVALID_ARGUMENT` if the bytes are not a valid Request, and with
 * `RESOURCE_EXHAUSTED` if it has too many fields or metadata pairs.
 */
export function decodeRequest(data: Uint8Array): Request {
  const reader = new Reader(data);
  const request: Request = {
    service: "",
    method: "",
    payload: NO_BYTES,
    timeoutNano: 0n,
    metadata: undefined,
  };
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === Tag.service) request.service = reader.name();
    else if (tag === Tag.method) request.method = reader.name();
    else if (tag === Tag.requestPayload) request.payload = reader.bytes();
    else if (tag === Tag.timeoutNano) request.timeoutNano = reader.int64();
    else if (tag === Tag.metadata) {
      request.metadata ??= new Metadata();
      if (request.metadata.size === MOST_PAIRS) {
        throw tooMany(MOST_PAIRS, "metadata pairs");
      }
      readPair(reader.nested(), request.metadata);
    } else reader.skip(tag);
  }
  return request;
}

/**
 * Decodes a Response, by the same rules as {@linkcode decodeRequest}.
 *
 * @param data The encoded message.
 * @returns Its fields. `payload` is a view of `data`.
 * @throws {RpcError} With `INVALID_ARGUMENT` if the bytes are not a valid Response, and with
 * `RESOURCE_EXHAUSTED` if it has too many fields or status details.
 */
export function decodeResponse(data: Uint8Array): DecodedResponse {
  const reader = new Reader(data);
  let payload = NO_BYTES as Uint8Array;
  let status: MutableStatus | undefined;
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === Tag.responsePayload) payload = reader.bytes();
    else if (tag === Tag.status) {
      // Protobuf's rule: if a message field comes twice, the two are merged.
      status ??= { code: 0, message: "", details: [] };
      readStatus(reader.nested(), status);
    } else reader.skip(tag);
  }
  return { status, payload };
}

interface MutableStatus extends Status {
  code: number;
  message: string;
  readonly details: StatusDetail[];
}

function readStatus(reader: Reader, status: MutableStatus): void {
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === Tag.code) status.code = reader.int32();
    else if (tag === Tag.message) status.message = reader.string();
    else if (tag === Tag.details) {
      if (status.details.length === MOST_DETAILS) throw tooMany(MOST_DETAILS, "status details");
      status.details.push(readDetail(reader.nested()));
    } else reader.skip(tag);
  }
}

function readDetail(reader: Reader): StatusDetail {
  const detail: StatusDetail = { typeUrl: "", value: NO_BYTES };
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === Tag.typeUrl) detail.typeUrl = reader.string();
    // Copied: an error may be kept for long, and must not keep the whole read buffer.
    else if (tag === Tag.detailValue) detail.value = reader.bytes().slice();
    else reader.skip(tag);
  }
  return detail;
}

function readPair(reader: Reader, metadata: Metadata): void {
  let key = "";
  let value = "";
  while (reader.more()) {
    const tag = reader.tag();
    if (tag === Tag.key) key = reader.name();
    else if (tag === Tag.value) value = reader.string();
    else reader.skip(tag);
  }
  metadata.append(key, value);
}

function messageLength(length: number): number {
  return 1 + varintLength(length) + length;
}

function bytesLength(value: Uint8Array): number {
  return value.length === 0 ? 0 : messageLength(value.length);
}

function stringLength(value: string): number {
  return value === "" ? 0 : messageLength(utf8Length(value));
}

function pairLength(key: string, value: string): number {
  return stringLength(key) + stringLength(value);
}

function detailLength({ typeUrl, value }: StatusDetail): number {
  return stringLength(typeUrl) + bytesLength(value);
}

function statusLength({ code, message, details = [] }: Status): number {
  let length = stringLength(message) + (code === 0 ? 0 : 1 + varint64Length(BigInt(code)));
  for (const detail of details) length += messageLength(detailLength(detail));
  return length;
}

function writeString(writer: Writer, tag: number, value: string): void {
  if (value === "") return;
  const length = utf8Length(value);
  writer.byte(tag);
  writer.varint(length);
  writer.utf8(value, length);
}

function writePayload(writer: Writer, tag: number, value: Uint8Array): void {
  if (value.length === 0) return;
  writer.reserve(6);
  writer.byte(tag);
  writer.varint(value.length);
  writer.bytes(value);
}
