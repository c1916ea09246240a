/**
 * The messages of a call: encoded and decoded, received one by one, and sent one by one.
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

/** What every stream of messages does in the same way: everything but `next()`. */
export abstract class MessageIterator<T> implements MessageStream<T> {
  abstract next(): Promise<IteratorResult<T>>;

  /** No more messages are wanted. May be called more than once. */
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

/** Decodes the messages of a stream as they are asked for. */
export class ReceivedMessages<T> extends MessageIterator<T> {
  readonly #stream: Stream;
  readonly #codec: Codec<T>;
  #done = false;

  /**
   * @param stream Where the messages come from.
   * @param codec What decodes them.
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
    // Whoever has all messages need not hear what has become of the call since.
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
 * Decodes a message, if it does not take too much memory. What it takes is noted on the stream.
 *
 * @param stream The call it came for.
 * @param codec Its codec.
 * @param bytes The message, encoded.
 * @returns The message.
 * @throws {RpcError} With `INTERNAL` if the bytes are no such message, and with `RESOURCE_EXHAUSTED`
 * if it would take too much.
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
 * @param codec Its codec.
 * @param message The message, or what it is made of.
 * @param method The method's path, for errors.
 * @returns The message, encoded.
 * @throws {RpcError} With `INTERNAL` if that is not such a message.
 */
export function encodeMessage<T>(codec: Codec<T>, message: T, method: string): Uint8Array {
  try {
    if (message === undefined || message === null) throw new TypeError(`there is no message`);
    const bytes = codec.encode(message);
    if (!(bytes instanceof Uint8Array)) throw new TypeError("its encoding is not a Uint8Array");
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

/** What it takes to send a message, in microseconds, and how many of its bytes take another one. */
const MESSAGE_US = 1;
const BYTES_A_US = 1 << 12;

/**
 * Sends messages until there are no more, or the call is over. Waits for the socket, so that a
 * fast producer is slowed down.
 *
 * @throws Whatever the messages' iterator throws.
 * @throws {TypeError} If they have none.
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
    // A producer that never waits would hold the event loop until the socket is full.
    const others = spend(MESSAGE_US + bytes.length / BYTES_A_US);
    if (others) await others;
  }
}

/**
 * The iterator of messages.
 *
 * @param messages An iterable.
 * @returns Its iterator.
 * @throws {TypeError} If it is none.
 */
export function iterate<T>(messages: Messages<T>): AsyncIterator<T> | Iterator<T> {
  if (typeof messages === "object" && messages !== null) {
    if (Symbol.asyncIterator in messages) return messages[Symbol.asyncIterator]();
    if (Symbol.iterator in messages) return messages[Symbol.iterator]();
  }
  throw new TypeError(`Cannot send ${messages} as a stream of messages: it is not iterable`);
}
