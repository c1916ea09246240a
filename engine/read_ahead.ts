/**
 * The reads of one connection. While nothing can be taken, a little more is read ahead of time: a
 * call may be given up by a frame that comes later, which makes room.
 *
 * @module
 */

import { type FrameDecoder, FrameType, HEADER_LENGTH } from "../framing.ts";
import type { ByteConnection } from "../transport.ts";
import type { HeldBytes } from "./held_bytes.ts";
import { checkCount } from "./write_queue.ts";

/** The most bytes that are read ahead, and the most while the whole server has no room. */
const MOST_BYTES = 1 << 16;
const FEWER_BYTES = 1 << 14;
/** The most bytes that are read ahead at once. */
const READ_BYTES = 1 << 12;
/** The longest data of a frame that is looked at ahead of time. */
const LOOK_BYTES = 1 << 10;

/** What is told of bytes that are read ahead. */
export interface ReadAheadHost {
  /** Some have come. */
  heard(): void;
  /** They have a frame that cancels a call. */
  cancelled(streamId: number, data: Uint8Array): void;
}

/** Finds the frames that cancel calls, in bytes as they come. */
class Scanner {
  readonly #found: (streamId: number, data: Uint8Array) => void;
  readonly #frame = new Uint8Array(HEADER_LENGTH + LOOK_BYTES);
  readonly #view = new DataView(this.#frame.buffer);
  #have = 0; // bytes of the frame under way
  #want = HEADER_LENGTH;
  #skip: number; // bytes of a frame that is not looked at

  constructor(missing: number, found: (streamId: number, data: Uint8Array) => void) {
    this.#skip = missing;
    this.#found = found;
  }

  scan(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0;) {
      const skipped = Math.min(this.#skip, rest.length);
      this.#skip -= skipped;
      const part = rest.subarray(skipped, skipped + this.#want - this.#have);
      rest = rest.subarray(skipped + part.length);
      this.#frame.set(part, this.#have);
      this.#have += part.length;
      if (this.#have === this.#want) this.#cut();
    }
  }

  #cut(): void {
    const length = this.#view.getUint32(0);
    const look = this.#frame[8] === FrameType.Cancel && length <= LOOK_BYTES;
    if (look && this.#have < HEADER_LENGTH + length) {
      this.#want = HEADER_LENGTH + length;
      return;
    }
    if (look) {
      this.#found(this.#view.getUint32(4), this.#frame.slice(HEADER_LENGTH, this.#have));
    } else this.#skip = length;
    this.#have = 0;
    this.#want = HEADER_LENGTH;
  }
}

/** Reads from a connection. */
export class ReadAhead {
  readonly #conn: ByteConnection;
  readonly #decoder: FrameDecoder;
  readonly #held: HeldBytes;
  readonly #host: ReadAheadHost;
  #chunks: Uint8Array[] = [];
  #bytes = 0; // in these
  #reading: Promise<void> | undefined;
  #end: { readonly error?: unknown } | undefined;
  #scanner: Scanner | undefined; // has seen all that was read so far

  /**
   * @param conn The connection.
   * @param decoder Takes its bytes, when it is their turn.
   * @param held What bytes count into that are read ahead.
   * @param host What is told of them.
   */
  constructor(
    conn: ByteConnection,
    decoder: FrameDecoder,
    held: HeldBytes,
    host: ReadAheadHost,
  ) {
    this.#conn = conn;
    this.#decoder = decoder;
    this.#held = held;
    this.#host = host;
  }

  /** Whether something was read ahead; else the connection may be read itself. */
  get ahead(): boolean {
    return this.#scanner !== undefined || this.#end !== undefined;
  }

  /** Whether it reads ahead at this moment. */
  get reading(): boolean {
    return this.#reading !== undefined;
  }

  /**
   * Reads bytes, those first that were read ahead.
   *
   * @param space Where to.
   * @returns How many; `null` at the end.
   * @throws What the connection throws, when all that came before was read.
   */
  read(space: Uint8Array): Promise<number | null> {
    if (this.#bytes > 0 || this.#reading || this.#end) return this.#next(space);
    this.#scanner = undefined;
    return this.#conn.read(space);
  }

  /**
   * Reads ahead until something has settled, or enough was read.
   *
   * @param wait What is waited for. It does not reject.
   */
  async during(wait: Promise<void>): Promise<void> {
    let over = false;
    const settled = wait.then(() => void (over = true));
    while (!over && !this.#end && this.#bytes < this.#most) {
      this.#reading ??= this.#readFurther();
      await Promise.race([settled, this.#reading]);
    }
    await settled;
  }

  /** Lets go of what was read ahead. */
  drop(): void {
    this.#count(-this.#bytes);
    this.#chunks = [];
  }

  get #most(): number {
    return this.#held.whole?.full ? FEWER_BYTES : MOST_BYTES;
  }

  async #next(space: Uint8Array): Promise<number | null> {
    if (this.#bytes === 0) await this.#reading;
    const [first] = this.#chunks;
    if (first) {
      const part = first.subarray(0, space.length);
      space.set(part);
      if (part.length === first.length) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(part.length);
      this.#count(-part.length);
      return part.length;
    }
    const end = this.#end;
    if (end && "error" in end) throw end.error;
    return null;
  }

  /** Never rejects: an error has its turn when all that came before it was taken. */
  async #readFurther(): Promise<void> {
    if (!this.#scanner) {
      const { missing, rest } = this.#decoder.position();
      this.#scanner = new Scanner(missing, (id, data) => this.#host.cancelled(id, data));
      this.#scanner.scan(rest);
    }
    try {
      const space = new Uint8Array(READ_BYTES);
      const length = await this.#conn.read(space);
      if (length === null) this.#end = {};
      else {
        checkCount("read", length, space.length);
        const chunk = space.subarray(0, length);
        this.#chunks.push(chunk);
        this.#count(length);
        this.#host.heard();
        this.#scanner.scan(chunk);
      }
    } catch (error) {
      this.#end = { error };
    }
    this.#reading = undefined;
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#held.changeWhole(bytes);
  }
}
