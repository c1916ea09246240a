/**
 * The framing layer of ttrpc: encodes frames, and decodes a stream of bytes into frames.
 *
 * A frame is a ten-byte header and its data:
 *
 * | bytes | field |
 * |---|---|
 * | 0 to 3 | length of the data, big endian; byte 0 is always zero |
 * | 4 to 7 | stream id, big endian |
 * | 8 | type |
 * | 9 | flags |
 *
 * Clients and servers do not need this module. It is for taps, proxies and tests, which inspect or
 * forward frames.
 *
 * @example Decode the frames of a stream of bytes
 * ```ts
 * import { type Frame, frameDecoderStream, frameEncoderStream, FrameType } from "@ttrpc/ttrpc/framing";
 * import { deepEqual } from "node:assert/strict";
 *
 * const sent: Frame = {
 *   streamId: 1,
 *   type: FrameType.Request,
 *   flags: 0,
 *   data: new TextEncoder().encode("hello"),
 * };
 * const bytes = ReadableStream.from([sent]).pipeThrough(frameEncoderStream());
 * const frames = await Array.fromAsync(bytes.pipeThrough(frameDecoderStream()));
 * deepEqual(frames, [sent]);
 * ```
 *
 * @module
 */

import { concat } from "@std/bytes/concat";
import { toTransformStream } from "@std/streams/to-transform-stream";
import { MESSAGE_BYTES, MESSAGE_BYTES_MAX } from "./limits.ts";
import { Code, RpcError } from "./status.ts";
import { Writer } from "./wire/writer.ts";

/** The length of a frame's header in bytes. */
export const HEADER_LENGTH = 10;

/**
 * The types of frames. Frames of other types are ignored. The last three are an extension to ttrpc,
 * which `docs/extension.md` describes; peers without it ignore them.
 */
export const FrameType = {
  /** A `ttrpc.Request`, from client to server: opens a stream. */
  Request: 1,
  /** A `ttrpc.Response`, from server to client: ends a stream. */
  Response: 2,
  /** One message of a stream, in either direction, without an envelope. */
  Data: 3,
  /** Asks the peer for a pong, on stream 0. Up to eight bytes of data. */
  Ping: 4,
  /** Answers a ping, on stream 0, with the same data. */
  Pong: 5,
  /** From client to server: cancels the call of this stream. */
  Cancel: 0xc0,
} as const;

/** The bits of a frame's flags. */
export const FrameFlag = {
  /** The sender sends nothing more on this stream: it half-closes. */
  RemoteClosed: 1,
  /** The sender will send more on this stream. */
  RemoteOpen: 2,
  /** The frame carries no message. Without this flag, a frame without data is an empty message. */
  NoData: 4,
} as const;

/** One frame. */
export interface Frame {
  /** The id of its stream: odd, chosen by the client. */
  streamId: number;
  /** One of {@linkcode FrameType}. */
  type: number;
  /** Bits of {@linkcode FrameFlag}. */
  flags: number;
  /** The bytes after the header. */
  data: Uint8Array;
}

/** Receives what a {@linkcode FrameDecoder} decodes, in the order of the bytes. */
export interface FrameSink {
  /**
   * Receives a complete frame.
   *
   * @param streamId The id of its stream.
   * @param type One of {@linkcode FrameType}, or an unknown type.
   * @param flags Bits of {@linkcode FrameFlag}.
   * @param data The bytes after the header. They are never overwritten, so they can be kept.
   */
  frame(streamId: number, type: number, flags: number, data: Uint8Array): void;
  /**
   * Receives a header that announces data longer than the limit. The data is skipped, not stored.
   *
   * @param streamId The id of its stream.
   * @param type One of {@linkcode FrameType}, or an unknown type.
   * @param flags Bits of {@linkcode FrameFlag}.
   * @param length The announced length of the data in bytes.
   */
  oversized(streamId: number, type: number, flags: number, length: number): void;
}

const FIRST_READ = 1 << 10; // the buffer of an idle connection
const SMALLEST_READ = 1 << 12;
const LARGEST_READ = 1 << 15;
const LARGE_DATA = 1 << 13;
const FIRST_LARGE = 1 << 16;

/**
 * Decodes a stream of bytes into frames, in whatever pieces the bytes arrive.
 *
 * It owns the memory into which the bytes are read, so that no byte is copied on its way from the
 * socket to a message: read into {@linkcode FrameDecoder.space}, then call {@linkcode
 * FrameDecoder.push} with the number of bytes read. Data of frames that were passed to the sink is
 * never overwritten.
 *
 * Memory is allocated for bytes received, not for lengths announced: reads start small and grow
 * with the traffic; long data gets a separate buffer, which doubles as its bytes arrive. It is
 * allocated in full only if the peer has sent data of that length before.
 */
export class FrameDecoder {
  readonly #limit: number;
  #buffer = new Uint8Array(0);
  #start = 0; // of the bytes that are not decoded yet
  #end = 0; // of the bytes read
  #readSize = FIRST_READ;
  #skip = 0; // bytes left of an oversized frame
  #large: Uint8Array | undefined; // the data of a large frame, with its header before it
  #largeEnd = 0;
  #largeLength = 0;
  #longest = FIRST_LARGE; // the longest large frame that was received completely
  #frames = 0;
  #stopped = false;

  /**
   * Creates a decoder.
   *
   * @param maxLength The longest data of a frame, in bytes. 4 MiB by default.
   * @throws {RangeError} If that is more than 16 MiB - 1, or not a whole number above zero.
   */
  constructor(maxLength: number = MESSAGE_BYTES) {
    if (!Number.isInteger(maxLength) || maxLength < 1 || maxLength > MESSAGE_BYTES_MAX) {
      throw new RangeError(
        `Cannot decode frames of up to ${maxLength} bytes: ` +
          `the limit is a whole number from 1 to ${MESSAGE_BYTES_MAX}`,
      );
    }
    this.#limit = maxLength;
  }

  /** Whether the bytes received so far end inside a frame. */
  get partial(): boolean {
    return this.#skip > 0 || this.#large !== undefined || this.#end > this.#start;
  }

  /** The number of frames decoded so far, which tells an incomplete frame from the next one. */
  get frames(): number {
    return this.#frames;
  }

  /** The length of a long frame under way, with its header, in bytes; zero if there is none. */
  get longFrame(): number {
    return this.#large ? this.#largeLength : 0;
  }

  /** Passes on no more frames until {@linkcode FrameDecoder.resume}. A sink may call it. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * Passes on frames again.
   *
   * @param sink Receives the frames that are complete already.
   * @throws {RpcError} As {@linkcode FrameDecoder.push} does.
   */
  resume(sink: FrameSink): void {
    this.#stopped = false;
    this.#cut(sink);
  }

  /** Where it stands: bytes of a frame that are still to come, or those of no whole frame yet. */
  position(): { missing: number; rest: Uint8Array } {
    const missing = this.#large ? this.#largeLength - this.#largeEnd : this.#skip;
    return { missing, rest: this.#buffer.subarray(this.#start, this.#end) };
  }

  /**
   * Makes space for the next bytes.
   *
   * @returns The buffer to read into, valid until the next {@linkcode FrameDecoder.push}.
   */
  space(): Uint8Array<ArrayBuffer> {
    if (this.#large) return this.#large.subarray(this.#largeEnd) as Uint8Array<ArrayBuffer>;
    const rest = this.#end - this.#start;
    // Frames that were passed on refer to the buffer, so it is replaced, never reused.
    if (this.#buffer.length - this.#end < Math.max(HEADER_LENGTH, this.#readSize >> 2)) {
      if (this.#end > 0) this.#readSize = Math.max(this.#readSize, SMALLEST_READ);
      const buffer = new Uint8Array(Math.max(this.#readSize, 2 * rest));
      buffer.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = buffer;
      this.#start = 0;
      this.#end = rest;
    }
    return this.#buffer.subarray(this.#end);
  }

  /**
   * Decodes the bytes that were read.
   *
   * @param length The number of bytes of {@linkcode FrameDecoder.space} that were filled.
   * @param sink Receives the frames that are now complete.
   * @throws {RpcError} With `INTERNAL` if a header's first byte is not zero: the bytes are not
   * ttrpc, and nothing more can be decoded.
   */
  push(length: number, sink: FrameSink): void {
    if (this.#large) {
      this.#pushLarge(length, sink);
      return;
    }
    const free = this.#buffer.length - this.#end;
    // The next read is larger if this one filled its space, smaller if it left most of it free.
    if (length === free) this.#readSize = Math.min(2 * this.#readSize, LARGEST_READ);
    else if (length < this.#readSize >> 3 && this.#readSize > SMALLEST_READ) this.#readSize >>= 1;
    this.#end += length;
    this.#cut(sink);
  }

  /** Passes on every complete frame in the buffer. */
  #cut(sink: FrameSink): void {
    const buffer = this.#buffer;
    while (!this.#stopped) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, this.#end - this.#start);
        this.#skip -= skipped;
        this.#start += skipped;
        if (this.#skip > 0) return;
      }
      const start = this.#start;
      const have = this.#end - start;
      if (have > 0 && buffer[start] !== 0) {
        throw new RpcError(
          Code.INTERNAL,
          `protocol error: a frame starts with byte ${buffer[start]}, not with zero; ` +
            `the peer does not speak ttrpc`,
        );
      }
      if (have < HEADER_LENGTH) return;
      const length = readUint32(buffer, start);
      const whole = HEADER_LENGTH + length;
      if (length > this.#limit) {
        this.#start += HEADER_LENGTH;
        this.#skip = length;
        this.#frames++;
        sink.oversized(
          readUint32(buffer, start + 4),
          buffer[start + 8]!,
          buffer[start + 9]!,
          length,
        );
      } else if (have >= whole) {
        this.#start += whole;
        this.#frames++;
        emit(buffer, start, whole, sink);
      } else {
        if (length > LARGE_DATA) this.#startLarge(whole);
        return;
      }
    }
  }

  #startLarge(whole: number): void {
    const have = this.#end - this.#start;
    const large = new Uint8Array(Math.min(whole, Math.max(this.#longest, 2 * have)));
    large.set(this.#buffer.subarray(this.#start, this.#end));
    this.#start = this.#end;
    this.#large = large;
    this.#largeEnd = have;
    this.#largeLength = whole;
  }

  #pushLarge(length: number, sink: FrameSink): void {
    const large = this.#large!;
    this.#largeEnd += length;
    if (this.#largeEnd === this.#largeLength) {
      this.#large = undefined;
      this.#frames++;
      this.#longest = Math.max(this.#longest, this.#largeLength);
      emit(large, 0, this.#largeLength, sink);
    } else if (this.#largeEnd === large.length) {
      const grown = new Uint8Array(Math.min(2 * large.length, this.#largeLength));
      grown.set(large);
      this.#large = grown;
    }
  }
}

function emit(buffer: Uint8Array, start: number, whole: number, sink: FrameSink): void {
  sink.frame(
    readUint32(buffer, start + 4),
    buffer[start + 8]!,
    buffer[start + 9]!,
    buffer.subarray(start + HEADER_LENGTH, start + whole),
  );
}

function readUint32(buffer: Uint8Array, at: number): number {
  return ((buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) |
    buffer[at + 3]!) >>> 0;
}

/**
 * Writes the header of a frame.
 *
 * @internal
 *
 * @param writer The writer to write to.
 * @param streamId The id of the stream.
 * @param type One of {@linkcode FrameType}.
 * @param flags Bits of {@linkcode FrameFlag}.
 * @param length The length of the data that follows, in bytes.
 */
export function writeHeader(
  writer: Writer,
  streamId: number,
  type: number,
  flags: number,
  length: number,
): void {
  writer.reserve(HEADER_LENGTH);
  writer.uint32(length);
  writer.uint32(streamId);
  writer.byte(type);
  writer.byte(flags);
}

/**
 * Encodes one frame.
 *
 * @param frame The frame.
 * @returns Its header and data, in a new array.
 * @throws {RangeError} If the data is longer than a header can announce.
 */
export function encodeFrame(frame: Frame): Uint8Array {
  const { streamId, type, flags, data } = frame;
  if (data.length > MESSAGE_BYTES_MAX) {
    throw new RangeError(
      `Cannot encode a frame of ${data.length} bytes: the maximum is ${MESSAGE_BYTES_MAX}`,
    );
  }
  const writer = new Writer();
  writeHeader(writer, streamId, type, flags, data.length);
  return concat([...writer.take(), data]);
}

/** Options of {@linkcode frameDecoderStream}. */
export interface FrameDecoderStreamOptions {
  /** The longest data of a frame, in bytes. 4 MiB by default. */
  maxLength?: number;
}

/**
 * Creates a transform stream that decodes bytes into frames.
 *
 * @param options The limit.
 * @returns The transform stream. It errors with an {@linkcode RpcError}: `INTERNAL` if the bytes
 * are not ttrpc, `RESOURCE_EXHAUSTED` if a frame is longer than the limit, and `UNAVAILABLE` if
 * they end inside a frame.
 * @throws {RangeError} If `maxLength` is not a whole number from 1 to 16 MiB - 1.
 */
export function frameDecoderStream(
  options: FrameDecoderStreamOptions = {},
): TransformStream<Uint8Array, Frame> {
  const maxLength = options.maxLength ?? MESSAGE_BYTES;
  const decoder = new FrameDecoder(maxLength);
  return toTransformStream(async function* (source: ReadableStream<Uint8Array>) {
    let frames: Frame[] = [];
    const sink: FrameSink = {
      frame: (streamId, type, flags, data) => void frames.push({ streamId, type, flags, data }),
      oversized: (_streamId, _type, _flags, length) => {
        throw oversizedError(length, maxLength);
      },
    };
    for await (let chunk of source) {
      while (chunk.length > 0) {
        const space = decoder.space();
        const part = chunk.subarray(0, space.length);
        space.set(part);
        decoder.push(part.length, sink);
        chunk = chunk.subarray(part.length);
      }
      yield* frames;
      frames = [];
    }
    if (decoder.partial) {
      throw new RpcError(Code.UNAVAILABLE, "the stream of bytes ended inside a frame");
    }
  });
}

/**
 * Creates a transform stream that encodes frames into bytes.
 *
 * @returns The transform stream. It errors with a `RangeError` if a frame's data is longer than
 * 16 MiB - 1.
 */
export function frameEncoderStream(): TransformStream<Frame, Uint8Array> {
  return toTransformStream(async function* (source: ReadableStream<Frame>) {
    for await (const frame of source) yield encodeFrame(frame);
  });
}

/**
 * Checks the length of a frame's data before it is sent.
 *
 * @internal
 * @param length The length in bytes.
 * @param limit The limit in bytes.
 * @throws {RpcError} With `RESOURCE_EXHAUSTED` if it is longer.
 */
export function checkLength(length: number, limit: number): void {
  if (length > limit) throw oversizedError(length, limit);
}

/**
 * The error for a frame that is longer than the limit, with the text that all ttrpc servers use.
 *
 * @internal
 * @param length The length of the frame's data in bytes.
 * @param limit The limit in bytes.
 * @returns An error with `RESOURCE_EXHAUSTED`.
 */
export function oversizedError(length: number, limit: number): RpcError {
  return new RpcError(
    Code.RESOURCE_EXHAUSTED,
    `message length ${length} exceed maximum message size of ${limit}`,
  );
}
