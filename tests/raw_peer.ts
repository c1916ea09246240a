/** A peer that speaks in frames, for the cases that no well-behaved one brings about. */

import { equal, ok } from "node:assert/strict";
import type { ByteConnection } from "../transport.ts";
import {
  decodeResponse,
  encodeRequest,
  encodeResponse,
  type Request,
  type Response,
} from "../wire/envelope.ts";
import { encodeFrame, type Frame, FrameDecoder, FrameFlag, FrameType } from "../framing.ts";

/** The other end of a connection, frame by frame. */
export class RawPeer<Conn extends ByteConnection = Deno.Conn> implements Disposable {
  readonly conn: Conn;
  readonly #decoder = new FrameDecoder();
  readonly #frames: Frame[] = [];

  constructor(conn: Conn) {
    this.conn = conn;
  }

  static async connect(path: string): Promise<RawPeer> {
    return new RawPeer(await Deno.connect({ transport: "unix", path }));
  }

  async sendBytes(bytes: Uint8Array): Promise<void> {
    while (bytes.length > 0) bytes = bytes.subarray(await this.conn.write(bytes));
  }

  async send(frame: Partial<Frame>): Promise<void> {
    await this.sendBytes(encodeFrame({
      streamId: 1,
      type: FrameType.Request,
      flags: 0,
      data: new Uint8Array(0),
      ...frame,
    }));
  }

  async request(streamId: number, request: Partial<Request>): Promise<void> {
    await this.send({ streamId, data: requestData(request) });
  }

  async respond(streamId: number, response: Partial<Response> = {}): Promise<void> {
    const data = encodeResponse({ status: undefined, payload: new Uint8Array(0), ...response });
    await this.send({ streamId, type: FrameType.Response, data });
  }

  /** The next frame; `undefined` at the end of the connection. */
  async receive(): Promise<Frame | undefined> {
    while (this.#frames.length === 0) {
      let length: number | null;
      try {
        length = await this.conn.read(this.#decoder.space());
      } catch (error) {
        if (error instanceof Deno.errors.ConnectionReset) return undefined;
        throw error;
      }
      if (length === null) return undefined;
      this.#decoder.push(length, {
        frame: (streamId, type, flags, data) =>
          void this.#frames.push({ streamId, type, flags, data }),
        oversized: () => {
          throw new Error("an oversized frame came");
        },
      });
    }
    return this.#frames.shift();
  }

  [Symbol.dispose](): void {
    try {
      this.conn.close();
    } catch {
      // A test has closed it.
    }
  }
}

export function requestData(request: Partial<Request>): Uint8Array {
  return encodeRequest({
    service: "ttrpc.test.v1.TestService",
    method: "Nothing",
    payload: new Uint8Array(0),
    timeoutNano: 0n,
    metadata: undefined,
    ...request,
  });
}

/** The flags of a Data frame that half-closes a stream, and is no message. */
export const HALF_CLOSE = FrameFlag.RemoteClosed | FrameFlag.NoData;

/** A Data frame. */
export function dataFrame(streamId: number, flags: number, bytes: ArrayLike<number> = []): Frame {
  return { streamId, type: FrameType.Data, flags, data: Uint8Array.from(bytes) };
}

/** How a call ended: the next frame, which is a Response. A code of 0 is a success. */
export async function answer(
  peer: RawPeer<ByteConnection>,
): Promise<[streamId: number, code: number, message: string]> {
  const { streamId, status } = await responseOf(peer);
  return [streamId, status?.code ?? 0, status?.message ?? ""];
}

/** The next frame, which is a Response. */
export async function responseOf(
  peer: RawPeer<ByteConnection>,
): Promise<{ streamId: number } & Response> {
  const frame = await peer.receive();
  ok(frame, "the connection has ended");
  equal(frame.type, FrameType.Response);
  equal(frame.flags, 0);
  return { streamId: frame.streamId, ...decodeResponse(frame.data) };
}

/** Listens on a path as a server that is played by the test. */
export class RawServer implements Disposable {
  readonly #listener: Deno.UnixListener;

  constructor(path: string) {
    this.#listener = Deno.listen({ transport: "unix", path });
  }

  async accept(): Promise<RawPeer> {
    return new RawPeer(await this.#listener.accept());
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}
