/**
 * Reads protobuf's wire format, field by field.
 *
 * @module
 */

import { Code, RpcError } from "./status.ts";

const LENGTH_DELIMITED = 2;

// Without `fatal`, text that is not UTF-8 would come out changed. A byte order mark is text.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads the fields of one message. */
export class Reader {
  readonly #data: Uint8Array;
  #at: number;
  readonly #end: number;

  constructor(data: Uint8Array, start = 0, end: number = data.length) {
    this.#data = data;
    this.#at = start;
    this.#end = end;
  }

  more(): boolean {
    return this.#at < this.#end;
  }

  tag(): number {
    const tag = this.#varint32();
    if (tag >>> 3 === 0) throw malformed("a field has number zero");
    return tag;
  }

  int32(): number {
    return this.#varint32() | 0;
  }

  int64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    throw malformed("a varint is longer than ten bytes");
  }

  bytes(): Uint8Array {
    const end = this.#lengthDelimited();
    const start = this.#at;
    this.#at = end;
    return this.#data.subarray(start, end);
  }

  string(): string {
    const end = this.#lengthDelimited();
    const start = this.#at;
    this.#at = end;
    return decodeUtf8(this.#data, start, end);
  }

  nested(): Reader {
    const end = this.#lengthDelimited();
    const start = this.#at;
    this.#at = end;
    return new Reader(this.#data, start, end);
  }

  /** Passes over a field that is not known. */
  skip(tag: number): void {
    // Groups nest; how deeply is the sender's choice, so they are counted, not recursed into.
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

  /** The low 32 bits of a varint. */
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

function decodeUtf8(data: Uint8Array, start: number, end: number): string {
  let text = "";
  // Names are short and ASCII; calling the decoder costs more than they do.
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

function malformed(what: string): RpcError {
  return new RpcError(Code.INVALID_ARGUMENT, what);
}
