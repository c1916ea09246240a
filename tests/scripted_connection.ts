/** A connection whose other end is played by the test, one step at a time. */

import type { ByteConnection } from "../transport.ts";
import { encodeFrame, type Frame, FrameType } from "../framing.ts";
import { framesOf, Sink } from "./stand_ins.ts";

/** The bytes of a frame. */
export function frameBytes(frame: Partial<Frame>): Uint8Array {
  return encodeFrame({
    streamId: 1,
    type: FrameType.Data,
    flags: 0,
    data: new Uint8Array(0),
    ...frame,
  });
}

type Step = (buffer: Uint8Array) => number | null;

/** What is read is what the test feeds, what is written is kept. */
export class ScriptedConnection implements ByteConnection {
  readonly sink = new Sink();
  remoteAddr?: Deno.Addr = { transport: "unix", path: "/run/peer.sock" };
  /** How large the buffers were that were to be filled. */
  readonly reads: number[] = [];
  /** Why writes fail, if they do. */
  writeError: unknown;
  /** Why the half-close fails, if it does. */
  halfCloseError: unknown;
  /** What was called, besides reads and writes. */
  readonly called: string[] = [];
  /** Whether a read that is under way ends when the connection is closed, as with a socket. */
  endsReads = true;
  readonly #steps: Step[] = [];
  #read: (() => void) | undefined;

  /** Lets so many bytes come with one read; or with more, if there is no room for them. */
  feed(...parts: Uint8Array[]): void {
    for (const part of parts) this.#step(this.#filling(part));
  }

  #filling(part: Uint8Array): Step {
    return (buffer) => {
      const length = Math.min(part.length, buffer.length);
      buffer.set(part.subarray(0, length));
      if (length < part.length) this.#steps.unshift(this.#filling(part.subarray(length)));
      return length;
    };
  }

  /** Lets a read return this. */
  return(count: number | null): void {
    this.#step(() => count);
  }

  /** The peer sends no more. */
  end(): void {
    this.return(null);
  }

  /** Lets a read fail. */
  fail(error: unknown): void {
    this.#step(() => {
      throw error;
    });
  }

  #step(step: Step): void {
    this.#steps.push(step);
    this.#read?.();
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    this.reads.push(buffer.length);
    if (this.#steps.length === 0) {
      await new Promise<void>((resolve) => this.#read = resolve);
      this.#read = undefined;
    }
    return this.#steps.shift()!(buffer);
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (this.writeError !== undefined) throw this.writeError;
    return await this.sink.write(bytes);
  }

  closeWrite(): Promise<void> {
    this.called.push("closeWrite");
    return this.halfCloseError === undefined
      ? Promise.resolve()
      : Promise.reject(this.halfCloseError);
  }

  close(): void {
    this.called.push("close");
    if (this.endsReads) this.fail(new Deno.errors.BadResource("closed"));
  }

  ref(): void {
    this.called.push("ref");
  }

  unref(): void {
    this.called.push("unref");
  }

  /** The frames that were written so far. */
  frames(): Frame[] {
    return framesOf(this.sink.writes);
  }
}
