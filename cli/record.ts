/**
 * Writes and reads recordings: a line of JSON for each frame, in the order of arrival.
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
  /** The time since the start, in milliseconds. */
  readonly ms: number;
  /** The number of the connection. */
  readonly connection: number;
  /** The sender of the frame. */
  readonly from?: Side;
  /** The frame; `undefined` for the end of the connection. */
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
   * Messages and metadata may hold secrets, so the file has mode 0600 from the start. A file that
   * exists is removed and made again, since other processes may have it open.
   *
   * @param path The path of the file; or of a pipe or a device, which is opened as it is.
   * @returns The recording.
   * @throws {Failure} If it cannot be written.
   */
  static async create(path: string): Promise<Recording> {
    try {
      return new Recording(await openAnew(path));
    } catch (error) {
      throw new Failure(`Cannot record to ${path}: ${fileReason(error)}; name another file`);
    }
  }

  /** Adds a frame; `at` is the `performance.now()` of its arrival. */
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

  /** Waits while much is left to write. Rejects if it cannot be written. */
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
  // If the path is a symbolic link, the file that it leads to is replaced.
  const file = existing ? await Deno.realPath(path) : path;
  if (existing) await Deno.remove(file);
  return await Deno.open(file, { write: true, createNew: true, mode: 0o600 });
}

/**
 * Reads a recording.
 *
 * @param path The file.
 * @returns Its lines.
 * @throws {Failure} If it cannot be read, or is not a valid recording.
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
    throw usage(
      `Cannot replay ${path}: it is not a recording; make one with ttrpc tap --record FILE`,
    );
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
  if (!found) throw new TypeError("the frame is incomplete");
  return found;
}
