/**
 * Protobuf's wire format, as far as the cases need it. It is written anew here, so that a mistake
 * of the library under test is not in its judge, too.
 */

import type { Bytes, RequestFields, ResponseFields } from "./vector.ts";

export const SERVICE = "ttrpc.test.v1.TestService";

/** A field as it stands on the wire. */
export interface Field {
  number: number;
  wire: number;
  value: bigint | Uint8Array;
}

export function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** The bytes that a notation stands for. `index` is how often the frame was sent before. */
export function toBytes(spec: Bytes, index = 0): Uint8Array {
  if (typeof spec === "string") return Uint8Array.fromHex(spec.replaceAll(" ", ""));
  if (isList(spec)) return join(spec.map((part) => toBytes(part, index)));
  if ("utf8" in spec) return new TextEncoder().encode(spec.utf8);
  if ("zeros" in spec) return new Uint8Array(spec.zeros);
  if ("index" in spec) return new Uint8Array([index >> 24, index >> 16, index >> 8, index]);
  if ("request" in spec) return requestBytes(spec.request, index);
  if ("response" in spec) return responseBytes(spec.response, index);
  if ("varint" in spec) return join([varint(spec.field * 8), varint(BigInt(spec.varint))]);
  return delimited(spec.field, toBytes(spec.bytes, index));
}

function isList(spec: Bytes): spec is readonly Bytes[] {
  return Array.isArray(spec);
}

export function requestBytes(request: RequestFields, index = 0): Uint8Array {
  const { service = SERVICE, method = "", payload = "", timeoutNano = "0" } = request;
  return join([
    text(1, service),
    text(2, method),
    optional(3, toBytes(payload, index)),
    number(4, BigInt(timeoutNano)),
    ...(request.metadata ?? []).map(([key, value]) =>
      delimited(5, join([text(1, key), text(2, value)]))
    ),
  ]);
}

export function responseBytes({ status, payload = "" }: ResponseFields, index = 0): Uint8Array {
  const parts: Uint8Array[] = [];
  if (status) {
    const { code = 0, message = "", details = [] } = status;
    const fields = [number(1, BigInt(code)), text(2, message)];
    for (const [url, value] of details) {
      fields.push(delimited(3, join([text(1, url), optional(2, toBytes(value))])));
    }
    parts.push(delimited(1, join(fields)));
  }
  return join([...parts, optional(2, toBytes(payload, index))]);
}

function varint(value: bigint | number): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return new Uint8Array([...bytes, Number(rest)]);
}

function delimited(field: number, value: Uint8Array): Uint8Array {
  return join([varint(field * 8 + 2), varint(value.length), value]);
}

function optional(field: number, value: Uint8Array): Uint8Array {
  return value.length === 0 ? value : delimited(field, value);
}

function text(field: number, value: string): Uint8Array {
  return optional(field, new TextEncoder().encode(value));
}

function number(field: number, value: bigint): Uint8Array {
  return value === 0n ? new Uint8Array(0) : join([varint(field * 8), varint(value)]);
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The fields of a message in their order; `undefined` if the bytes are none. */
export function parse(bytes: Uint8Array): Field[] | undefined {
  const fields: Field[] = [];
  let at = 0;
  const read = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n && at < bytes.length; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new RangeError("a varint is cut off or too long");
  };
  try {
    while (at < bytes.length) {
      const tag = read();
      const [number, wire] = [Number(tag >> 3n), Number(tag & 7n)];
      if (number === 0) return undefined;
      if (wire === 0) {
        fields.push({ number, wire, value: read() });
        continue;
      }
      const length = wire === 2 ? Number(read()) : wire === 1 ? 8 : wire === 5 ? 4 : NaN;
      if (!(length <= bytes.length - at)) return undefined;
      fields.push({ number, wire, value: bytes.subarray(at, at + length) });
      at += length;
    }
  } catch {
    return undefined;
  }
  return fields;
}

/**
 * A form in which equal messages have equal bytes: fields by their number. Encoders may write them
 * in any order, and Go's dynamic messages do. What does not look like a message is left as it is.
 */
export function canonical(bytes: Uint8Array): Uint8Array {
  const fields = bytes.length > 1 << 18 ? undefined : parse(bytes);
  if (!fields) return bytes;
  fields.sort((a, b) => a.number - b.number);
  return join(fields.map(({ number, wire, value }) => {
    if (typeof value === "bigint") return join([varint(number * 8), varint(value)]);
    if (wire === 2) return delimited(number, canonical(value));
    return join([varint(number * 8 + wire), value]);
  }));
}

export function sameMessage(a: Uint8Array, b: Uint8Array): boolean {
  return hex(a) === hex(b) || hex(canonical(a)) === hex(canonical(b));
}

/** The last varint of that number. */
export function numberField(fields: readonly Field[], number: number): bigint {
  const value = fields.findLast((field) => field.number === number && field.wire === 0)?.value;
  return typeof value === "bigint" ? BigInt.asIntN(64, value) : 0n;
}

/** All values of that number that have a length. */
export function bytesFields(fields: readonly Field[], number: number): Uint8Array[] {
  return fields.flatMap(({ number: n, wire, value }) =>
    n === number && wire === 2 && typeof value !== "bigint" ? [value] : []
  );
}

function last(fields: readonly Field[], number: number): Uint8Array {
  return bytesFields(fields, number).at(-1) ?? new Uint8Array(0);
}

function lastText(fields: readonly Field[], number: number): string {
  return new TextDecoder().decode(last(fields, number));
}

export interface Response {
  code: number;
  message: string;
  details: [url: string, value: Uint8Array][];
  payload: Uint8Array;
}

export function parseResponse(bytes: Uint8Array): Response | undefined {
  const fields = parse(bytes);
  const status = fields && parse(join(bytesFields(fields, 1)));
  if (!fields || !status) return undefined;
  return {
    code: Number(numberField(status, 1)),
    message: lastText(status, 2),
    details: bytesFields(status, 3).map((detail) => {
      const parts = parse(detail) ?? [];
      return [lastText(parts, 1), last(parts, 2)];
    }),
    payload: last(fields, 2),
  };
}

export interface Request {
  service: string;
  method: string;
  payload: Uint8Array;
  timeoutNano: bigint;
  metadata: [key: string, value: string][];
}

export function parseRequest(bytes: Uint8Array): Request | undefined {
  const fields = parse(bytes);
  if (!fields) return undefined;
  return {
    service: lastText(fields, 1),
    method: lastText(fields, 2),
    payload: last(fields, 3),
    timeoutNano: numberField(fields, 4),
    metadata: bytesFields(fields, 5).map((pair) => {
      const parts = parse(pair) ?? [];
      return [lastText(parts, 1), lastText(parts, 2)];
    }),
  };
}
