/** The other end of the peer under test: a socket on which frames go out and come in. */

import { join, requestBytes, responseBytes, toBytes } from "./proto.ts";
import type { Bytes, RequestFields, ResponseFields, SentFrame } from "./vector.ts";

export const REQUEST = 1;
export const RESPONSE = 2;
export const DATA = 3;

const HEADER = 10;

/** A frame as it came. */
export interface Frame {
  stream: number;
  type: number;
  flags: number;
  data: Uint8Array;
}

/** The bytes of the frames that a step sends. */
export function frameBytes(frames: readonly SentFrame[], streamOf = (alias: number) => alias) {
  return join(frames.flatMap((frame) =>
    Array.from({ length: frame.times ?? 1 }, (_, i) => {
      const step = frame.request === undefined ? 0 : 2 * i;
      return encode(frame, streamOf((frame.stream ?? 1) + step), i);
    })
  ));
}

function encode(frame: SentFrame, stream: number, index: number): Uint8Array {
  const { type, data } = content(frame, index);
  const header = new DataView(new ArrayBuffer(HEADER));
  header.setUint32(0, frame.length ?? data.length);
  header.setUint32(4, stream);
  header.setUint8(8, type);
  header.setUint8(9, frame.flags ?? 0);
  return join([new Uint8Array(header.buffer), data]);
}

function content(frame: SentFrame, index: number): { type: number; data: Uint8Array } {
  const { request, response, data, type, bytes = "" } = frame;
  if (request !== undefined) {
    return {
      type: REQUEST,
      data: isBytes(request) ? toBytes(request, index) : requestBytes(request, index),
    };
  }
  if (response !== undefined) {
    return {
      type: RESPONSE,
      data: isBytes(response) ? toBytes(response, index) : responseBytes(response, index),
    };
  }
  return { type: type ?? DATA, data: toBytes(data ?? bytes, index) };
}

function isBytes(spec: RequestFields | ResponseFields | Bytes): spec is Bytes {
  return typeof spec === "string" || Array.isArray(spec);
}

/** What comes next: a frame, the end of the connection, or nothing in time. */
export type Event = Frame | "close" | "nothing";

/** A socket, read all the time, so that a peer that waits for us to read never waits. */
export class Wire implements AsyncDisposable {
  readonly #conn: Deno.Conn;
  readonly #frames: Frame[] = [];
  readonly #reading: Promise<void>;
  #ended = false;
  #wake = Promise.withResolvers<void>();
  #pending = new Uint8Array(1 << 16);
  #length = 0;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        if (this.#length === this.#pending.length) {
          const larger = new Uint8Array(2 * this.#pending.length);
          larger.set(this.#pending);
          this.#pending = larger;
        }
        const count = await this.#conn.read(this.#pending.subarray(this.#length));
        if (count === null) break;
        this.#length += count;
        this.#cut();
      }
    } catch {
      // A reset is an end like any other.
    }
    this.#ended = true;
    this.#wake.resolve();
  }

  #cut(): void {
    let start = 0;
    const view = new DataView(this.#pending.buffer);
    while (this.#length - start >= HEADER) {
      const end = start + HEADER + view.getUint32(start);
      if (end > this.#length) break;
      this.#frames.push({
        stream: view.getUint32(start + 4),
        type: view.getUint8(start + 8),
        flags: view.getUint8(start + 9),
        data: this.#pending.slice(start + HEADER, end),
      });
      start = end;
    }
    if (start === 0) return;
    this.#pending.copyWithin(0, start, this.#length);
    this.#length -= start;
    this.#wake.resolve();
  }

  /** The next frame, waiting for it until a moment of `performance.now()`. */
  async next(until: number): Promise<Event> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) return frame;
      if (this.#ended) return "close";
      this.#wake = Promise.withResolvers();
      const left = until - performance.now();
      if (left <= 0) return "nothing";
      const timer = setTimeout(this.#wake.resolve, left);
      await this.#wake.promise;
      clearTimeout(timer);
    }
  }

  /** Writes bytes in pieces. A peer that does not take them is cut off in time. */
  async send(bytes: Uint8Array, pieces: readonly number[], until: number): Promise<void> {
    const timer = setTimeout(() => this.close(), Math.max(0, until - performance.now()));
    try {
      for (const length of [...pieces, Infinity]) {
        let piece = bytes.subarray(0, length);
        bytes = bytes.subarray(piece.length);
        while (piece.length > 0) piece = piece.subarray(await this.#conn.write(piece));
        if (bytes.length === 0) return;
        // A turn of the event loop, so that a peer has the chance to read each piece by itself.
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    } catch {
      // The peer has closed; what is expected next will tell.
    } finally {
      clearTimeout(timer);
    }
  }

  async halfClose(): Promise<void> {
    await this.#conn.closeWrite().catch(() => {});
  }

  close(): void {
    try {
      this.#conn.close();
    } catch {
      // It is closed already.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#reading;
  }
}

/** Where a peer listens, or is to connect to: `unix:///path`, `unix:path`, a path or tcp://h:p. */
export function parseAddress(address: string): Deno.UnixConnectOptions | Deno.ConnectOptions {
  const tcp = /^tcp:\/\/(.+):(\d+)$/.exec(address);
  if (tcp) return { transport: "tcp", hostname: tcp[1]!, port: Number(tcp[2]) };
  const path = address.replace(/^unix:(\/\/)?/, "").replace(/^@/, "\0");
  if (path === "") throw new TypeError(`Cannot use address ${address}: the path is empty`);
  return { transport: "unix", path };
}

/** Connects. A server that does not accept, because it is stuck, is given up in time. */
export async function dial(address: string, until: number): Promise<Deno.Conn> {
  const options = parseAddress(address);
  const connecting: Promise<Deno.Conn> = "path" in options
    ? Deno.connect({ transport: "unix", path: options.path })
    : Deno.connect(options);
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), Math.max(1, until - performance.now()));
  const conn = await Promise.race([connecting, late.promise]);
  clearTimeout(timer);
  if (conn) return conn;
  connecting.then((conn) => conn.close(), () => {});
  throw new Error("the server does not accept connections");
}
