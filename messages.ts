/**
 * The messages of a stream, one by one: what a client receives, and what a handler is asked.
 *
 * @module
 */

import type { Codec } from "./codec.ts";
import type { Messages, MessageStream } from "./service.ts";
import { Code, describe, RpcError } from "./status.ts";
import { outcomeError, type Stream } from "./stream.ts";
import { freeWhenSent } from "./writer.ts";

/** Decodes the messages of a stream as they are asked for. */
export class ReceivedMessages<T> implements MessageStream<T> {
  readonly #stream: Stream;
  readonly #codec: Codec<T>;
  #done = false;

  /**
   * @param stream Where the messages come from.
   * @param codec What decodes them.
   */
  constructor(stream: Stream, codec: Codec<T>) {
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
    const { outcome } = stream;
    if (outcome && outcome.code !== Code.OK) throw outcomeError(outcome, this.#stream.path);
    return DONE;
  }

  return(): Promise<IteratorResult<T>> {
    this.#stop();
    return Promise.resolve(DONE);
  }

  throw(error?: unknown): Promise<IteratorResult<T>> {
    this.#stop();
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): MessageStream<T> {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    return Promise.resolve();
  }

  #stop(): void {
    if (this.#done) return;
    this.#done = true;
    this.#stream.release();
  }

  #decode(bytes: Uint8Array): T {
    try {
      return decodeMessage(this.#codec, bytes, this.#stream.path);
    } catch (error) {
      this.#stop();
      throw error;
    }
  }
}

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** The messages of a call that interceptors have not started yet. */
export class DeferredMessages<T> implements MessageStream<T> {
  readonly #iterator: Promise<AsyncIterator<T> | Iterator<T>>;
  readonly #over: Promise<never>;
  readonly #release: () => void;
  readonly #stopped = Promise.withResolvers<IteratorResult<T>>();
  #done = false;

  /**
   * @param messages Where the messages will come from.
   * @param over Rejects when the call is over, whatever interceptors do.
   * @param release Called when no more messages are wanted, or there are none.
   */
  constructor(messages: Promise<Messages<T>>, over: Promise<never>, release: () => void) {
    this.#over = over;
    this.#release = release;
    this.#iterator = messages.then(iterate);
    // Whoever asks for a message hears of these.
    this.#iterator.catch(release);
    over.catch(() => {});
  }

  async next(): Promise<IteratorResult<T>> {
    if (this.#done) return DONE;
    const next = this.#iterator.then((iterator) => iterator.next());
    // An interceptor may wait for ever, or be asked to stop while it waits.
    try {
      const result = await Promise.race([next, this.#over, this.#stopped.promise]);
      if (result.done) this.#finish();
      return this.#done ? DONE : result;
    } catch (error) {
      this.#finish();
      throw error;
    }
  }

  return(): Promise<IteratorResult<T>> {
    this.#stop();
    return Promise.resolve(DONE);
  }

  throw(error?: unknown): Promise<IteratorResult<T>> {
    this.#stop();
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): MessageStream<T> {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    return Promise.resolve();
  }

  #stop(): void {
    if (this.#done) return;
    this.#stopped.resolve(DONE);
    this.#finish();
    // What interceptors do then concerns nobody any more.
    this.#iterator.then((iterator) => iterator.return?.()).catch(() => {});
  }

  #finish(): void {
    this.#done = true;
    this.#release();
  }
}

/**
 * Decodes a message.
 *
 * @param codec Its codec.
 * @param bytes The message, encoded.
 * @param method The method's path, for errors.
 * @returns The message.
 * @throws {RpcError} With `INTERNAL` if the bytes are no such message.
 */
export function decodeMessage<T>(codec: Codec<T>, bytes: Uint8Array, method: string): T {
  try {
    return codec.decode(bytes);
  } catch (cause) {
    throw payloadError("unmarshalling", cause, method);
  }
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

/** What sends messages: a connection. */
export interface SendHost {
  /** Whether {@linkcode Stream.writable} is to be waited for before more is sent. */
  readonly congested: boolean;
  /** Sends one message. */
  sendData(stream: Stream, message: Uint8Array): void;
  /** Tells the peer that no more messages come. */
  sendClose(stream: Stream): void;
}

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
  host: SendHost,
  codec: Codec<T>,
  messages: Messages<T>,
): Promise<void> {
  const iterator = iterate(messages);
  stream.source = iterator;
  if (stream.outcome) stream.stopSource();
  while (!stream.outcome) {
    const { done, value } = await iterator.next();
    if (done) {
      stream.source = undefined;
      return;
    }
    const message = isPromiseLike(value) ? await value : value; // as `for await` does
    if (stream.outcome) return;
    const bytes = encodeMessage(codec, message as T, stream.path);
    if (host.congested) await stream.writable();
    if (stream.outcome) return;
    host.sendData(stream, bytes);
  }
}

/**
 * Whether a value is to be awaited.
 *
 * @param value Anything.
 * @returns `true` for a promise, of whatever make.
 */
export function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}

function iterate<T>(messages: Messages<T>): AsyncIterator<T> | Iterator<T> {
  if (typeof messages === "object" && messages !== null) {
    if (Symbol.asyncIterator in messages) return messages[Symbol.asyncIterator]();
    if (Symbol.iterator in messages) return messages[Symbol.iterator]();
  }
  throw new TypeError(`Cannot send ${messages} as a stream of messages: it is not iterable`);
}
