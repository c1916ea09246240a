/** Connections that a test has in its hand: when reads return, and when writes fail. */

import type { ByteConnection } from "@ttrpc/ttrpc/core";
import { encodeResponse, type Response } from "../wire/envelope.ts";
import { encodeFrame, type Frame, FrameDecoder, FrameFlag, FrameType } from "../framing.ts";
import { requestData } from "./raw_peer.ts";
import { turn } from "./wait.ts";

const NOTHING = new Uint8Array(0);

export function responseFrame(streamId: number, response: Partial<Response> = {}): Uint8Array {
  const data = encodeResponse({ status: undefined, payload: NOTHING, ...response });
  return encodeFrame({ streamId, type: FrameType.Response, flags: 0, data });
}

export function dataFrame(streamId: number, data: Uint8Array, flags = 0): Uint8Array {
  return encodeFrame({ streamId, type: FrameType.Data, flags, data });
}

/** The last frame of a stream, without a message. */
export function closingFrame(streamId: number): Uint8Array {
  return dataFrame(streamId, NOTHING, FrameFlag.RemoteClosed | FrameFlag.NoData);
}

/** A Request to the service of bytes. */
export function requestFrame(
  streamId: number,
  method: "One" | "Down" | "Up" | "Both",
  payload: Uint8Array = NOTHING,
): Uint8Array {
  const many = method === "Up" || method === "Both";
  const flags = many
    ? FrameFlag.RemoteOpen | FrameFlag.NoData
    : method === "Down"
    ? FrameFlag.RemoteClosed
    : 0;
  const data = requestData({ service: "test.Bytes", method, payload });
  return encodeFrame({ streamId, type: FrameType.Request, flags, data });
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A connection whose peer is the test. What is written succeeds until the test says otherwise. */
export class Controlled implements ByteConnection {
  readonly remoteAddr: Deno.NetAddr = { transport: "tcp", hostname: "192.0.2.1", port: 1024 };
  /** The frames that were written. */
  readonly sent: Frame[] = [];
  /** How many bytes were read. */
  bytesRead = 0;
  halfClosed = false;
  closed = false;
  readonly #decoder = new FrameDecoder();
  readonly #incoming: (Uint8Array | null | Error)[] = [];
  readonly #failed = Promise.withResolvers<void>();
  #source: (() => Uint8Array) | undefined;
  #failure: Error | undefined;
  #stuck: PromiseWithResolvers<void> | undefined;
  #changed = Promise.withResolvers<void>();

  /** Settles when a write has failed. */
  get writeFailed(): Promise<void> {
    return this.#failed.promise;
  }

  /** Lets these bytes be read, in one read if the reader has room. */
  deliver(...frames: readonly Uint8Array[]): void {
    this.#incoming.push(joined(...frames));
    this.#change();
  }

  /** Lets bytes be read without end. */
  deliverAlways(source: () => Uint8Array): void {
    this.#source = source;
    this.#change();
  }

  /** The end of that: nothing follows. */
  stopDelivering(): void {
    this.#source = undefined;
    this.end();
  }

  /** Lets the next read be the last: the end, or an error. */
  end(error?: Error): void {
    this.#incoming.push(error ?? null);
    this.#change();
  }

  /** Lets writes wait from now on. */
  stickWrites(): void {
    this.#stuck = Promise.withResolvers();
  }

  /** Lets writes go on, also one that waits. */
  releaseWrites(): void {
    this.#stuck?.resolve();
    this.#stuck = undefined;
  }

  /** Lets writes fail from now on, also one that waits. */
  failWrites(error: Error): void {
    this.#failure = error;
    this.#stuck?.resolve();
  }

  /** Settles with the frame of this number that is written, counted from 0. */
  async frame(at: number): Promise<Frame> {
    while (this.sent.length <= at) await this.#changed.promise;
    return this.sent[at]!;
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#incoming.length === 0 && !this.#source && !this.closed) {
      await this.#changed.promise;
    }
    if (this.closed) throw new Deno.errors.BadResource("the connection is closed");
    if (this.#incoming.length === 0) {
      await turn(); // a source without end must not keep everything else from running
      this.#incoming.push(...this.#source ? [this.#source()] : []);
    }
    const next = this.#incoming.shift()!;
    if (next === null) return null;
    if (next instanceof Error) throw next;
    const part = next.subarray(0, buffer.length);
    buffer.set(part);
    if (part.length < next.length) this.#incoming.unshift(next.subarray(part.length));
    this.bytesRead += part.length;
    return part.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (!this.#failure) await this.#stuck?.promise;
    if (this.closed) throw new Deno.errors.BadResource("the connection is closed");
    if (this.halfClosed) throw new Deno.errors.BrokenPipe("the connection is half-closed");
    if (this.#failure) {
      this.#failed.resolve();
      throw this.#failure;
    }
    for (let rest = bytes; rest.length > 0;) {
      const space = this.#decoder.space();
      const part = rest.subarray(0, space.length);
      space.set(part);
      rest = rest.subarray(part.length);
      this.#decoder.push(part.length, {
        frame: (streamId, type, flags, data) =>
          void this.sent.push({ streamId, type, flags, data: data.slice() }),
        oversized: () => {
          throw new Error("an oversized frame was sent");
        },
      });
    }
    this.#change();
    return bytes.length;
  }

  closeWrite(): Promise<void> {
    this.halfClosed = true;
    this.#change();
    return Promise.resolve();
  }

  close(): void {
    this.closed = true;
    this.#stuck?.resolve();
    this.#change();
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** A real connection that is not read until the test says so. */
export class Held implements ByteConnection {
  readonly remoteAddr?: Deno.Addr;
  readonly #conn: ByteConnection;
  readonly #gate = Promise.withResolvers<void>();
  readonly #failed = Promise.withResolvers<unknown>();
  /** The error of the write that has failed. */
  writeError: unknown;
  /** How many bytes were written. */
  written = 0;

  constructor(conn: ByteConnection) {
    this.#conn = conn;
    if (conn.remoteAddr) this.remoteAddr = conn.remoteAddr;
  }

  /** Settles with the error of the first write that fails. */
  get writeFailed(): Promise<unknown> {
    return this.#failed.promise;
  }

  /** Lets it be read. */
  release(): void {
    this.#gate.resolve();
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    await this.#gate.promise;
    return await this.#conn.read(buffer);
  }

  async write(bytes: Uint8Array): Promise<number> {
    try {
      const length = await this.#conn.write(bytes);
      this.written += length;
      return length;
    } catch (error) {
      this.writeError ??= error;
      this.#failed.resolve(this.writeError);
      throw error;
    }
  }

  async closeWrite(): Promise<void> {
    await this.#conn.closeWrite?.();
  }

  close(): void {
    this.#gate.resolve();
    this.#conn.close();
  }
}
