/**
 * Reads protobuf's wire format, field by field.
 *
 * @module
 */

import { Code, RpcError } from "../status.ts";

const LENGTH_DELIMITED = 2;

// Without `fatal`, invalid UTF-8 would be replaced silently. A byte order mark is part of the text.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reading a field takes time, even if it is skipped, and 4 MiB have room for 40 times as many. */
const MOST_FIELDS = 50_000;

/**
 * Reads the fields of one message, in order. Each method that reads a value throws an `RpcError`
 * with `INVALID_ARGUMENT` if its bytes are not valid.
 */
export class Reader {
  readonly #data: Uint8Array;
  #at: number;
  readonly #end: number;
  readonly #outermost: Reader;
  #fields = 0;

  constructor(data: Uint8Array, start = 0, end: number = data.length, outermost?: Reader) {
    this.#data = data;
    this.#at = start;
    this.#end = end;
    this.#outermost = outermost ?? this;
  }

  /** Whether there are more fields. */
  more(): boolean {
    return this.#at < this.#end;
  }

  /**
   * Reads the tag of the next field.
   *
   * @throws {RpcError} With `INVALID_ARGUMENT` if it is not valid, and with `RESOURCE_EXHAUSTED` if
   * the outermost message has too many fields, including those of nested messages.
   */
  tag(): number {
    if (++this.#outermost.#fields > MOST_FIELDS) throw tooMany(MOST_FIELDS, "fields");
    const tag = this.#varint32();
    if (tag >>> 3 === 0) throw malformed("a field has number zero");
    return tag;
  }

  /** Reads an `int32`. */
  int32(): number {
    return this.#varint32() | 0;
  }

  /** Reads an `int64`. */
  int64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    throw malformed("a varint is longer than ten bytes");
  }

  /** Reads bytes, as a view of the message. */
  bytes(): Uint8Array {
    const end = this.#lengthDelimited();
    const start = this.#at;
    this.#at = end;
    return this.#data.subarray(start, end);
  }

  /** Reads a string. */
  string(): string {
    const end = this.#lengthDelimited();
    const start = this.#at;
    this.#at = end;
    return decodeUtf8(this.#data, start, end);
  }

  /** Reads a string that is likely to come again, such as the name of a method. */
  name(): string {
    const end = this.#lengthDelimited();
    const start = this.#at;
    this.#at = end;
    return recall(this.#data, start, end);
  }

  /** Reads a message: returns a reader of its fields. */
  nested(): Reader {
    const end = this.#lengthDelimited();
    const start = this.#at;
    this.#at = end;
    return new Reader(this.#data, start, end, this.#outermost);
  }

  /** Skips an unknown field. */
  skip(tag: number): void {
    // The sender chooses how deeply groups nest, so they are kept on a stack of their own.
    const groups: number[] = [];
    for (;;) {
      const field = tag >>> 3;
      const type = tag & 7;
      if (type === 0) this.int64();
      else if (type === 1) this.#forward(8);
      else if (type === LENGTH_DELIMITED) this.#at = this.#lengthDelimited();
      else if (type === 3) groups.push(field);
      else if (type === 4) {
        if (groups.pop() !== field) throw malformed("a group ends that did not start");
      } else if (type === 5) this.#forward(4);
      else throw malformed(`there is no wire type ${type}`);
      if (groups.length === 0) return;
      tag = this.tag();
    }
  }

  #lengthDelimited(): number {
    const length = this.#varint32();
    if (length > this.#end - this.#at) throw malformed("a field is longer than its message");
    return this.#at + length;
  }

  #forward(length: number): void {
    if (length > this.#end - this.#at) throw malformed("a field is cut off");
    this.#at += length;
  }

  #byte(): number {
    if (this.#at >= this.#end) throw malformed("a field is cut off");
    return this.#data[this.#at++]!;
  }

  /** Reads the low 32 bits of a varint. */
  #varint32(): number {
    let byte = this.#byte();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let shift = 7; shift < 70; shift += 7) {
      byte = this.#byte();
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
    throw malformed("a varint is longer than ten bytes");
  }
}

/** A string that was decoded before, with its bytes. */
interface Recalled {
  readonly bytes: Uint8Array;
  readonly text: string;
}

const LONGEST_NAME = 128;
const recalled: (Recalled | undefined)[] = new Array(256).fill(undefined);

/**
 * Decodes a name, from a cache if it is there. Names of services and methods come with every call,
 * and decoding one costs several times as much as finding it by its bytes: 14 % of a busy server's
 * time.
 */
function recall(data: Uint8Array, start: number, end: number): string {
  if (end - start > LONGEST_NAME) return decodeUtf8(data, start, end);
  let hash = end - start;
  for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + data[at]!) | 0;
  const slot = (hash ^ (hash >>> 8)) & 255;
  const known = recalled[slot];
  if (known !== undefined && isAt(known.bytes, data, start, end)) return known.text;
  const text = decodeUtf8(data, start, end);
  recalled[slot] = { bytes: data.slice(start, end), text };
  return text;
}

function isAt(bytes: Uint8Array, data: Uint8Array, start: number, end: number): boolean {
  if (bytes.length !== end - start) return false;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== data[start + i]) return false;
  return true;
}

function decodeUtf8(data: Uint8Array, start: number, end: number): string {
  let text = "";
  // Most names are short and ASCII; for them, this loop is faster than a call of the decoder.
  if (end - start <= 64) {
    let at = start;
    for (; at < end; at++) {
      const byte = data[at]!;
      if (byte > 0x7f) break;
      text += String.fromCharCode(byte);
    }
    if (at === end) return text;
  }
  try {
    return utf8.decode(data.subarray(start, end));
  } catch {
    throw malformed("a string is not valid UTF-8");
  }
}

/**
 * The error for bytes that are not a valid message.
 *
 * @param what What is wrong with them.
 * @returns An error with `INVALID_ARGUMENT`.
 */
export function malformed(what: string): RpcError {
  return new RpcError(Code.INVALID_ARGUMENT, what);
}

/**
 * The error for a message with too many parts.
 *
 * @param most How many are allowed. No option changes this.
 * @param what The parts, in the plural.
 * @returns An error with `RESOURCE_EXHAUSTED`.
 */
export function tooMany(most: number, what: string): RpcError {
  return new RpcError(Code.RESOURCE_EXHAUSTED, `over ${most} ${what}`);
}
