/**
 * The messages of a call: encodes and decodes them, receives and sends streams of them.
 *
 * @module
 */

import type { Codec } from "../codec.ts";
import { DECODE_BYTES } from "../limits.ts";
import { enter } from "./running.ts";
import type { Messages, MessageStream } from "../service.ts";
import { Code, describe, RpcError, statusError } from "../status.ts";
import type { Stream } from "./stream.ts";
import { isPromiseLike } from "../async/tell.ts";
import { spend } from "../async/timer.ts";
import { freeWhenSent } from "../wire/writer.ts";

/** The part that all streams of messages have in common: everything except `next()`. */
export abstract class MessageIterator<T> implements MessageStream<T> {
  abstract next(): Promise<IteratorResult<T>>;

  /** Stops the stream. May be called more than once. */
  protected abstract stop(): void;

  return(): Promise<IteratorResult<T>> {
    this.stop();
    return Promise.resolve(DONE);
  }

  throw(error?: unknown): Promise<IteratorResult<T>> {
    this.stop();
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): MessageStream<T> {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    return Promise.resolve();
  }
}

/** What an iterator returns at its end. */
export const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** The received messages of a stream, each decoded when it is requested. */
export class ReceivedMessages<T> extends MessageIterator<T> {
  readonly #stream: Stream;
  readonly #codec: Codec<T>;
  #done = false;

  /**
   * @param stream The stream that receives the messages.
   * @param codec The codec of the messages.
   */
  constructor(stream: Stream, codec: Codec<T>) {
    super();
    this.#stream = stream;
    this.#codec = codec;
  }

  async next(): Promise<IteratorResult<T>> {
    if (this.#done) return DONE;
    const stream = this.#stream;
    const bytes = stream.ready ? stream.take() : await stream.receive();
    if (bytes !== undefined && !this.#done) return { done: false, value: this.#decode(bytes) };
    if (this.#done) return DONE;
    this.#done = true;
    const { status, complete } = stream;
    // A consumer that has received all messages does not get an error that came after them.
    if (status && status.code !== Code.OK && !complete) {
      throw statusError(status, stream.method.path);
    }
    return DONE;
  }

  protected stop(): void {
    if (this.#done) return;
    this.#done = true;
    this.#stream.release();
  }

  #decode(bytes: Uint8Array): T {
    try {
      return decodeMessage(this.#stream, this.#codec, bytes);
    } catch (error) {
      this.stop();
      throw error;
    }
  }
}

/**
 * Decodes a message, unless it would take too much memory. The estimate is stored in the stream.
 *
 * @param stream The call of the message.
 * @param codec The codec of the message.
 * @param bytes The encoded message.
 * @returns The message.
 * @throws {RpcError} With `INTERNAL` if the bytes cannot be decoded, with `RESOURCE_EXHAUSTED` if
 * the message would take too much memory.
 */
export function decodeMessage<T>(stream: Stream, codec: Codec<T>, bytes: Uint8Array): T {
  const { length } = bytes;
  if (stream.sizes) stream.sizes.received += length;
  const { decodeFactor } = stream.limits;
  const most = decodeFactor * length + DECODE_BYTES;
  let cost;
  try {
    cost = codec.cost ? codec.cost(bytes, most) : length;
    if (cost <= most) {
      stream.decodedBytes = cost;
      return codec.decode(bytes);
    }
  } catch (cause) {
    throw payloadError("unmarshalling", cause, stream.method.path);
  }
  throw new RpcError(
    Code.RESOURCE_EXHAUSTED,
    `message of ${length} bytes has too many small parts: decoded, it would take over ${most} ` +
      `bytes of memory, or too long (limits.decodeFactor is ${decodeFactor})`,
    { method: stream.method.path },
  );
}

/**
 * Encodes a message.
 *
 * @param codec The codec of the message.
 * @param message The message, or what it is created from.
 * @param method The method's path, for errors.
 * @returns The encoded message.
 * @throws {RpcError} With `INTERNAL` if the message cannot be encoded.
 */
export function encodeMessage<T>(codec: Codec<T>, message: T, method: string): Uint8Array {
  try {
    if (message === undefined || message === null) throw new TypeError(`the message is ${message}`);
    const bytes = codec.encode(message);
    if (!(bytes instanceof Uint8Array)) throw new TypeError("encode() did not return a Uint8Array");
    return codec.transfers ? freeWhenSent(bytes) : bytes;
  } catch (cause) {
    throw payloadError("marshalling", cause, method);
  }
}

function payloadError(doing: string, cause: unknown, method: string): RpcError {
  return new RpcError(Code.INTERNAL, `ttrpc: error ${doing} payload: ${describe(cause)}`, {
    method,
    cause,
  });
}

/** The time to send a message, in microseconds, and the bytes of it that add a microsecond. */
const MESSAGE_US = 1;
const BYTES_A_US = 1 << 12;

/**
 * Sends messages until there are no more, or the call is over. Waits for the socket, which slows
 * down a fast producer.
 *
 * @throws Whatever the iterator of the messages throws.
 * @throws {TypeError} If the messages are not iterable.
 * @throws {RpcError} If a message cannot be encoded or is too long.
 */
export async function sendMessages<T>(
  stream: Stream,
  codec: Codec<T>,
  messages: Messages<T>,
): Promise<void> {
  const iterator = iterate(messages);
  const { path } = stream.method;
  stream.source = iterator;
  if (stream.status) stream.stopSource();
  while (!stream.status) {
    let result;
    try {
      result = await enter(stream, () => iterator.next());
    } catch (error) {
      stream.source = undefined;
      throw error;
    }
    const { done, value } = result;
    if (done) {
      stream.source = undefined;
      return;
    }
    const message = isPromiseLike(value) ? await value : value; // as `for await` does
    if (stream.status) return;
    const bytes = encodeMessage(codec, message as T, path);
    if (stream.congested) await stream.room(bytes.length);
    if (stream.status) return;
    if (stream.sizes) stream.sizes.sent += bytes.length;
    stream.send(bytes);
    // A producer that never waits would block the event loop until the socket is full.
    const others = spend(MESSAGE_US + bytes.length / BYTES_A_US);
    if (others) await others;
  }
}

/**
 * Gets the iterator of messages.
 *
 * @param messages The messages.
 * @returns Their iterator.
 * @throws {TypeError} If they are not iterable.
 */
export function iterate<T>(messages: Messages<T>): AsyncIterator<T> | Iterator<T> {
  if (typeof messages === "object" && messages !== null) {
    if (Symbol.asyncIterator in messages) return messages[Symbol.asyncIterator]();
    if (Symbol.iterator in messages) return messages[Symbol.iterator]();
  }
  throw new TypeError(`Cannot send ${messages} as a stream of messages: it is not iterable`);
}
