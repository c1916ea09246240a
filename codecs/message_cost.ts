/**
 * Computes the memory that a protobuf-es message will take, from its bytes, before it is decoded.
 *
 * A field of two bytes can become an object of hundreds, so the length of a message says little.
 * The bytes are read exactly as protobuf-es reads them, but no objects are made.
 *
 * @module
 */

import type { DescMessage } from "@bufbuild/protobuf";
import { isKept } from "./kept_bytes.ts";
import {
  ASCII_LONGEST,
  type FieldPlan,
  FIRST,
  type MessagePlan,
  NUMBERED_NS,
  planOf,
  Read,
  SKIPPED_NS,
  STRANGE,
  TEXT_NS,
  UNKNOWN,
} from "./message_plan.ts";

/** protobuf-es does not decode messages that are nested deeper. */
const DEEPEST = 100;
/** The longest that decoding may hold the event loop, in nanoseconds. */
const MOST_NS = 60e6;
/** With a higher limit of memory than this, in bytes, decoding may take longer in proportion. */
const MOST_NS_BYTES = 80 << 20;
/** A message of up to this length takes little time, whatever text it contains. */
const SHORT = 1 << 16;
/** The field number of the key in a map entry. */
const KEY = 1;
/** The number of digits of the largest array index. */
const INDEX_LONGEST = 10;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const START_GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;

/** The time for fields that are merged when they come again, in nanoseconds. */
type Merged = Map<FieldPlan, number>;

/**
 * Computes the cost of messages of one type.
 *
 * Invalid bytes are left to the decoder to report: counting ends where decoding will end. Each
 * method that reads returns the position after what it read, or the end of all bytes if there is
 * nothing more to count.
 */
export class MessageCost {
  readonly #schema: DescMessage;
  #plan: MessagePlan | undefined;
  #data: Uint8Array = new Uint8Array(0);
  #at = 0;
  #bytes = 0;
  #ns = 0;
  #most = 0;
  #mostNs = 0;
  #views = false;
  #short = false;

  /** @param schema The message type. */
  constructor(schema: DescMessage) {
    this.#schema = schema;
  }

  /** Whether the last message has values that are views of its bytes. */
  get views(): boolean {
    return this.#views;
  }

  /**
   * Computes the cost of one message.
   *
   * @param bytes The encoded message. It need not be valid.
   * @param most The limit in bytes, at which counting may end.
   * @returns The memory that the message will take, including its encoded bytes, in bytes; a number
   * above `most` if it takes more, or if decoding it would take too long.
   */
  count(bytes: Uint8Array, most: number): number {
    this.#data = bytes;
    const plan = this.#plan ??= planOf(this.#schema);
    this.#bytes = bytes.length + plan.bytes;
    this.#ns = plan.ns;
    this.#most = most;
    this.#mostNs = most <= MOST_NS_BYTES ? MOST_NS : most * (MOST_NS / MOST_NS_BYTES);
    this.#views = false;
    this.#short = bytes.length <= SHORT;
    this.#message(plan, 0, bytes.length, 1, false, 0);
    this.#data = NONE;
    return this.#ns > this.#mostNs ? Infinity : this.#bytes;
  }

  /**
   * Counts the fields of a message.
   *
   * Its strings and numbers are added up in local variables, which is several times as fast.
   */
  #message(
    plan: MessagePlan,
    at: number,
    end: number,
    depth: number,
    group: boolean,
    earlier: number,
  ): number {
    const data = this.#data;
    if (depth > DEEPEST) return data.length;
    const { near } = plan;
    const most = this.#most;
    const mostNs = this.#mostNs;
    let bytes = 0;
    let ns = 0;
    let list = 0;
    let merged: Merged | undefined;
    while (at < end) {
      let tag = data[at++]!;
      if (tag > 0x7f) {
        tag = this.#tag(at, tag);
        at = this.#at;
      }
      const number = tag >>> 3;
      const field = number < near.length ? near[number] : plan.far.get(number);
      const type = tag & 7;
      if (group && type === END_GROUP) break;
      if (field === undefined || type > FIXED32) {
        at = this.#unknown(at, number, type, DEEPEST - depth);
        if (this.#bytes > most || this.#ns > mostNs) at = data.length;
        continue;
      }
      if (field.list && list !== number) {
        list = number;
        bytes += FIRST.bytes;
        ns += FIRST.ns;
      }
      const { read } = field;
      let length: number;
      if (read === Read.string && this.#short && (length = data[at]!) <= 0x7f) {
        bytes += field.bytes + length;
        ns += field.ns;
        at += 1 + length;
      } else if (read === Read.varint && type === VARINT) {
        bytes += field.bytes;
        ns += field.ns;
        while (data[at++]! > 0x7f);
      } else if (
        read === Read.message && !field.merges && (length = data[at]!) < data.length - at &&
        length <= 0x7f
      ) {
        bytes += field.bytes;
        ns += field.ns;
        at++;
        if (length > 0) {
          at = this.#message(field.message!, at, at + length, depth + 1, false, 0);
          if (this.#bytes > most || this.#ns > mostNs) at = data.length;
        }
      } else {
        if (field.packable && type === LENGTH_DELIMITED) at = this.#packed(field, at);
        else if (field.merges) at = this.#merge(field, at, depth, earlier, merged ??= new Map());
        else at = this.#value(field, at, depth, 0);
        if (this.#bytes > most || this.#ns > mostNs) at = data.length;
      }
      if (bytes > most || ns > mostNs) at = data.length;
    }
    this.#bytes += bytes;
    this.#ns += ns;
    return at;
  }

  #unknown(at: number, number: number, type: number, depth: number): number {
    const start = at;
    at = this.#skip(at, number, type, depth);
    this.#bytes += UNKNOWN.bytes + this.#copied(Math.min(at, this.#data.length) - start);
    this.#ns += UNKNOWN.ns;
    this.#views = true;
    return at;
  }

  /** Counts one value of a field, or one entry of a map. */
  #value(field: FieldPlan, at: number, depth: number, earlier: number): number {
    this.#bytes += field.bytes;
    this.#ns += field.ns;
    const data = this.#data;
    switch (field.read) {
      case Read.varint:
        while (data[at++]! > 0x7f);
        return at;
      case Read.fixed64:
        return at + 8;
      case Read.fixed32:
        return at + 4;
      case Read.string:
        return this.#text(at);
      case Read.bytes: {
        const length = this.#length(at);
        this.#bytes += this.#copied(length);
        this.#ns += length >> 1;
        this.#views = true;
        return this.#at + length;
      }
      case Read.closedEnum:
        if (!field.known!.has(this.#uint32(at) | 0)) {
          this.#bytes += STRANGE.bytes;
          this.#ns += STRANGE.ns;
          this.#views = true;
        }
        return this.#at;
      case Read.group:
        return this.#message(field.message!, at, data.length, depth + 1, true, earlier);
      default: {
        let length = data[at]!;
        if (length <= 0x7f) length = Math.min(length, data.length - ++at);
        else {
          length = this.#length(at);
          at = this.#at;
        }
        return field.read === Read.entry
          ? this.#entry(field.message!, at, at + length, depth)
          : this.#message(field.message!, at, at + length, depth + 1, false, earlier);
      }
    }
  }

  /** How many bytes of a value are copied: long values stay in the buffer, which was counted. */
  #copied(length: number): number {
    return isKept(length, this.#data.buffer.byteLength) ? 0 : length;
  }

  #text(at: number): number {
    const length = this.#length(at);
    at = this.#at;
    const end = at + length;
    this.#bytes += length;
    if (length > ASCII_LONGEST) this.#ns += TEXT_NS + length;
    else if (!this.#short) {
      const data = this.#data;
      while (at < end && data[at]! <= 0x7f) at++;
      if (at < end) this.#ns += TEXT_NS;
    }
    return end;
  }

  #packed({ read, bytes, ns }: FieldPlan, at: number): number {
    const length = this.#length(at);
    at = this.#at;
    const end = at + length;
    let items = 0;
    if (read === Read.varint) {
      const data = this.#data;
      for (; at < end; at++) if (data[at]! <= 0x7f) items++;
      if (length > 0 && data[end - 1]! > 0x7f) {
        items++;
        while (data[at++]! > 0x7f);
      }
    } else {
      const size = read === Read.fixed64 ? 8 : 4;
      items = Math.ceil(length / size);
      at += items * size;
    }
    this.#bytes += items * bytes;
    this.#ns += items * (ns >> 1) + 40; // packed items have no tags
    return at;
  }

  #entry({ near }: MessagePlan, at: number, end: number, depth: number): number {
    let merged: Merged | undefined;
    while (at < end) {
      let tag = this.#data[at++]!;
      if (tag > 0x7f) {
        tag = this.#tag(at, tag);
        at = this.#at;
      }
      const number = tag >>> 3;
      const field = near[number];
      if (field === undefined) at = this.#skip(at, number, tag & 7, DEEPEST - depth);
      else if (number === KEY && field.read === Read.string) at = this.#key(field, at, depth);
      else if (field.merges) at = this.#merge(field, at, depth, 0, merged ??= new Map());
      else at = this.#value(field, at, depth, 0);
      if (this.#bytes > this.#most || this.#ns > this.#mostNs) return this.#data.length;
    }
    return at;
  }

  /** Counts a map key that is a string. If it is all digits, V8 takes it for an array index. */
  #key(field: FieldPlan, at: number, depth: number): number {
    const behind = this.#value(field, at, depth, 0);
    const length = this.#length(at);
    if (length === 0 || length > INDEX_LONGEST) return behind;
    at = this.#at;
    const end = at + length;
    while (at < end && (this.#data[at]! ^ 0x30) < 10) at++;
    if (at === end) this.#ns += NUMBERED_NS;
    return behind;
  }

  /**
   * Counts a message that is decoded to JSON, or contains JSON. If it came before, protobuf-es
   * converts that JSON back to a message, merges the two, and converts them to JSON.
   */
  #merge(field: FieldPlan, at: number, depth: number, earlier: number, merged: Merged): number {
    const { list, json } = field;
    const before = merged.get(field) ?? 0;
    const again = list ? 0 : earlier + before;
    const bytes = this.#bytes;
    const ns = this.#ns;
    at = this.#value(field, at, depth, json ? 0 : again);
    const took = this.#ns - ns;
    if (json) {
      this.#bytes += (this.#bytes - bytes) >> 2;
      this.#ns += 0.75 * took + 2 * again;
    }
    merged.set(field, before + took);
    return at;
  }

  /** Skips an unknown field. */
  #skip(at: number, number: number, type: number, depth: number): number {
    const data = this.#data;
    if (number === 0) return data.length;
    this.#ns += SKIPPED_NS;
    switch (type) {
      case VARINT:
        while (data[at++]! > 0x7f);
        return at;
      case FIXED64:
        return at + 8;
      case LENGTH_DELIMITED: {
        const length = this.#length(at);
        return this.#at + length;
      }
      case FIXED32:
        return at + 4;
      case START_GROUP:
        return this.#skipGroup(at, depth);
      default:
        return data.length;
    }
  }

  #skipGroup(at: number, depth: number): number {
    const data = this.#data;
    while (depth > 0 && at < data.length) {
      const tag = this.#tag(at + 1, data[at]!);
      if ((tag & 7) === END_GROUP) return this.#at;
      at = this.#skip(this.#at, tag >>> 3, tag & 7, depth - 1);
      if (this.#ns > this.#mostNs) break;
    }
    return data.length;
  }

  /** Reads the rest of a tag with this first byte. Sets `#at` to the position after it. */
  #tag(at: number, first: number): number {
    if (first <= 0x7f) {
      this.#at = at;
      return first;
    }
    const data = this.#data;
    let tag = first & 0x7f;
    for (let shift = 7; shift <= 28; shift += 7) {
      const byte = data[at++];
      if (byte === undefined || shift === 28 && byte > 0x0f) break;
      tag |= (byte & 0x7f) << shift;
      if (byte <= 0x7f) {
        this.#at = at;
        return tag >>> 0;
      }
    }
    this.#at = data.length;
    return 0;
  }

  /** Reads a varint of 32 bits. Sets `#at` to the position after it. */
  #uint32(at: number): number {
    const data = this.#data;
    let byte = data[at++]!;
    if (byte <= 0x7f) {
      this.#at = at;
      return byte;
    }
    let value = byte & 0x7f;
    for (let shift = 7; shift < 70; shift += 7) {
      if (at >= data.length) break;
      byte = data[at++]!;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte <= 0x7f) {
        this.#at = at;
        return value >>> 0;
      }
    }
    this.#at = data.length;
    return 0;
  }

  /** Reads a length, limited to the bytes that are left. Sets `#at` to the position after it. */
  #length(at: number): number {
    const length = this.#uint32(at);
    return Math.min(length, Math.max(0, this.#data.length - this.#at));
  }
}

const NONE = new Uint8Array(0);
