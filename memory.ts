/**
 * Pairs of connections within one process, for tests.
 *
 * @module
 */

import type { ByteConnection } from "./transport.ts";
import { spend } from "./async/timer.ts";
import { NO_BYTES } from "./wire/writer.ts";

/** Bytes that may wait between the two ends, as in a socket. */
const CAPACITY = 1 << 16;

/**
 * Creates two connections that are connected to each other: bytes that are written to one are read
 * from the other, as with a pair of unix sockets. They also half-close like these, and lose unread
 * bytes like these; timers run while they are busy.
 *
 * @category Tests
 * @returns Both connections.
 *
 * @example Test a service without a socket
 * ```ts
 * import { connect, createConnectionPair, serve } from "@ttrpc/ttrpc";
 * import { Greeter } from "./gen/greeter/v1/greeter_ttrpc.ts";
 * import { equal } from "node:assert/strict";
 *
 * const [near, far] = createConnectionPair();
 * await using server = serve({ connection: far }, (router) =>
 *   router.service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) }));
 * await using client = await connect(near);
 * equal((await client.service(Greeter).sayHello({ name: "you" })).message, "Hello you");
 * ```
 */
export function createConnectionPair(): [ByteConnection, ByteConnection] {
  const one = new Pipe();
  const other = new Pipe();
  return [new End(one, other), new End(other, one)];
}

class End implements ByteConnection {
  // The addresses of an unnamed unix socket, since a pair behaves like a pair of these.
  readonly remoteAddr: Deno.UnixAddr = { transport: "unix", path: "" };
  readonly localAddr: Deno.UnixAddr = { transport: "unix", path: "" };
  readonly #incoming: Pipe;
  readonly #outgoing: Pipe;
  #closed = false;

  constructor(incoming: Pipe, outgoing: Pipe) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  read(buffer: Uint8Array): Promise<number | null> {
    return this.#closed ? refused() : this.#incoming.read(buffer);
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#closed ? refused() : this.#outgoing.write(bytes);
  }

  async closeWrite(): Promise<void> {
    if (this.#closed) await refused();
    await this.#outgoing.write(END);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // As with a unix socket: to close with unread bytes resets the connection.
    const reset = this.#incoming.length > 0;
    this.#incoming.closeReader();
    this.#outgoing.closeWriter(reset);
  }
}

function refused(): Promise<never> {
  return Promise.reject(new Deno.errors.BadResource("the connection is closed"));
}

/** Written to a pipe to mark its end. */
const END = new Uint8Array(0);

/** A pending read or write. */
interface Waiting<Result> {
  readonly bytes: Uint8Array;
  resolve(result: Result): void;
  reject(error: Error): void;
}

/**
 * One direction of a pair. Written bytes go to the pending read, or into a ring buffer until there
 * is one.
 */
class Pipe {
  readonly #reads: Waiting<number | null>[] = [];
  readonly #writes: Waiting<number>[] = [];
  #ring = NO_BYTES; // allocated when it is needed
  #start = 0;
  #length = 0;
  #ended = false; // the writer has closed
  #reset = false; // the writer has closed with unread bytes, which fails one read
  #unread = false; // the reader has closed

  /** The number of bytes that wait to be read. */
  get length(): number {
    return this.#length;
  }

  read(bytes: Uint8Array): Promise<number | null> {
    return new Promise((resolve, reject) => {
      this.#reads.push({ bytes, resolve, reject });
      this.#move();
    });
  }

  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#writes.push({ bytes, resolve, reject });
      this.#move();
    });
  }

  /**
   * The writer has closed.
   *
   * @param reset Whether it has closed with unread bytes: a read then fails with `ConnectionReset`.
   */
  closeWriter(reset: boolean): void {
    interrupt(this.#writes);
    this.#ended = true;
    this.#reset = reset;
    this.#move();
  }

  /** The reader has closed. */
  closeReader(): void {
    interrupt(this.#reads);
    this.#unread = true;
    this.#move();
  }

  /** Settles the reads and writes that can settle, in order. */
  #move(): void {
    while (this.#moveRead() || this.#moveWrite());
  }

  /** Settles the first read if it need not wait for bytes, and tells whether it did. */
  #moveRead(): boolean {
    const read = this.#reads[0];
    if (read === undefined) return false;
    if (this.#length > 0 || read.bytes.length === 0) resolveInTurn(read, this.#take(read.bytes));
    else if (this.#reset) {
      this.#reset = false;
      read.reject(new Deno.errors.ConnectionReset("the peer has closed with unread bytes"));
    } else if (this.#ended) read.resolve(null);
    else return false;
    this.#reads.shift();
    return true;
  }

  /** Settles the first write if it need not wait for space, and tells whether it did. */
  #moveWrite(): boolean {
    const write = this.#writes[0];
    if (write === undefined) return false;
    const { bytes } = write;
    if (bytes === END) {
      this.#ended = true;
      write.resolve(0);
    } else if (this.#ended) {
      write.reject(new Deno.errors.BrokenPipe("the connection is closed for writing"));
    } else if (this.#unread) write.reject(new Deno.errors.BrokenPipe("the peer has closed"));
    else if (bytes.length === 0 || this.#length < CAPACITY) write.resolve(this.#give(bytes));
    else return false;
    this.#writes.shift();
    return true;
  }

  /** Takes bytes of a write, and returns how many. A read is pending only if the ring is empty. */
  #give(bytes: Uint8Array): number {
    if (bytes.length === 0) return 0;
    const read = this.#reads.shift();
    if (read === undefined) return this.#keep(bytes);
    const room = read.bytes.length;
    if (bytes.length <= room) {
      read.bytes.set(bytes);
      resolveInTurn(read, bytes.length);
      return bytes.length;
    }
    read.bytes.set(bytes.subarray(0, room));
    resolveInTurn(read, room);
    return room + this.#keep(bytes.subarray(room));
  }

  #keep(bytes: Uint8Array): number {
    const part = bytes.subarray(0, CAPACITY - this.#length);
    if (this.#ring.length === 0) this.#ring = new Uint8Array(CAPACITY);
    const at = (this.#start + this.#length) % CAPACITY;
    const first = part.subarray(0, CAPACITY - at);
    this.#ring.set(first, at);
    this.#ring.set(part.subarray(first.length), 0);
    this.#length += part.length;
    return part.length;
  }

  #take(buffer: Uint8Array): number {
    const count = Math.min(buffer.length, this.#length);
    const first = this.#ring.subarray(this.#start, this.#start + count);
    buffer.set(first);
    buffer.set(this.#ring.subarray(0, count - first.length), first.length);
    this.#start = (this.#start + count) % CAPACITY;
    this.#length -= count;
    return count;
  }
}

function interrupt(waiting: Waiting<never>[]): void {
  for (const { reject } of waiting.splice(0)) {
    reject(new Deno.errors.Interrupted("the connection was closed during this operation"));
  }
}

/** The time that a read and what follows from it take, in microseconds. */
const READ_US = 20;

/** Lets timers run now and then: two ends that answer each other would hold them up for ever. */
function resolveInTurn(read: Waiting<number | null>, count: number): void {
  const others = spend(READ_US);
  if (others) void others.then(() => read.resolve(count));
  else read.resolve(count);
}
