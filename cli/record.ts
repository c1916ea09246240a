/**
 * Recorded frames: a line of JSON for each, in the order in which they were seen.
 *
 *     {"ttrpc":1}
 *     {"ms":0.2,"connection":1,"from":"client","frame":"AAAAKgAAAAEBAA..."}
 *     {"ms":9.1,"connection":1,"closed":true}
 *
 * @module
 */

import { encodeFrame, type Frame, FrameDecoder } from "../framing.ts";
import { MESSAGE_BYTES_MAX } from "../limits.ts";
import type { Side } from "./calls.ts";
import { Failure, fileReason, usage } from "./failure.ts";
import { Output } from "./terminal.ts";

const VERSION = 1;

/** One line of a recording. */
export interface Recorded {
  /** When, in milliseconds since the start. */
  readonly ms: number;
  /** The number of the connection. */
  readonly connection: number;
  /** Who has sent the frame. */
  readonly from?: Side;
  /** The frame; without one, the connection has ended. */
  readonly frame?: Frame;
}

/** A file that frames are recorded to. */
export class Recording implements AsyncDisposable {
  readonly #file: Deno.FsFile;
  readonly #output: Output;
  readonly #start = performance.now();

  private constructor(file: Deno.FsFile) {
    this.#file = file;
    this.#output = new Output(file);
    this.#output.json({ ttrpc: VERSION });
  }

  /**
   * Starts a recording.
   *
   * Messages and metadata hold secrets: the file is the user's alone, from its first moment. One
   * that is there already is not written to, but removed, as others may have opened it.
   *
   * @param path The file, which is made anew; or a pipe or a device, which is taken as it is.
   * @throws {Failure} If it cannot be written.
   */
  static async create(path: string): Promise<Recording> {
    try {
      return new Recording(await openAnew(path));
    } catch (error) {
      throw new Failure(`Cannot record to ${path}: ${fileReason(error)}; name a file to be made`);
    }
  }

  /** Adds a frame, with the time of its arrival. */
  frame(connection: number, from: Side, frame: Frame, at: number): void {
    this.#line(at, { connection, from, frame: encodeFrame(frame).toBase64() });
  }

  /** Adds the end of a connection. */
  closed(connection: number, at: number): void {
    this.#line(at, { connection, closed: true });
  }

  /** Whether {@linkcode Recording.ready} has something to wait for. */
  get busy(): boolean {
    return this.#output.busy;
  }

  /** Waits if much waits to be written. Rejects if it cannot be. */
  ready(): Promise<void> {
    return this.#output.ready();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#output.flushed();
    } finally {
      this.#file.close();
    }
  }

  #line(at: number, fields: object): void {
    const ms = Math.round((at - this.#start) * 1e3) / 1e3;
    this.#output.json({ ms, ...fields });
  }
}

async function openAnew(path: string): Promise<Deno.FsFile> {
  const existing = await Deno.stat(path).catch(() => undefined);
  if (existing && !existing.isFile) return await Deno.open(path, { write: true });
  // Behind a link, it is the file itself that is replaced.
  const file = existing ? await Deno.realPath(path) : path;
  if (existing) await Deno.remove(file);
  return await Deno.open(file, { write: true, createNew: true, mode: 0o600 });
}

/**
 * Reads a recording.
 *
 * @param path The file.
 * @throws {Failure} If it is none.
 */
export async function readRecording(path: string): Promise<Recorded[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    throw usage(`Cannot read the recording ${path}: ${fileReason(error)}`);
  }
  const [head = "", ...lines] = text.split("\n").filter((line) => line !== "");
  if (!/^\{"ttrpc":1\}$/.test(head)) {
    throw usage(`Cannot replay ${path}: it is no recording; make one with ttrpc tap --record FILE`);
  }
  return lines.map((line, at) => {
    try {
      return readLine(line);
    } catch {
      throw usage(`Cannot replay ${path}: line ${at + 2} is damaged; record again`);
    }
  });
}

function readLine(line: string): Recorded {
  const { ms, connection, from, frame } = JSON.parse(line) as Record<string, unknown>;
  if (typeof ms !== "number" || typeof connection !== "number") throw new TypeError(line);
  if (frame === undefined) return { ms, connection };
  if (typeof frame !== "string" || from !== "client" && from !== "server") {
    throw new TypeError(line);
  }
  return { ms, connection, from, frame: decodeFrame(Uint8Array.fromBase64(frame)) };
}

function decodeFrame(bytes: Uint8Array): Frame {
  const decoder = new FrameDecoder(MESSAGE_BYTES_MAX);
  let found: Frame | undefined;
  while (bytes.length > 0) {
    const space = decoder.space();
    const part = bytes.subarray(0, space.length);
    space.set(part);
    decoder.push(part.length, {
      frame: (streamId, type, flags, data) => void (found = { streamId, type, flags, data }),
      oversized: () => {},
    });
    bytes = bytes.subarray(part.length);
  }
  if (!found) throw new TypeError("half a frame");
  return found;
}
