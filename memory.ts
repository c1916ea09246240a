/**
 * Connections within one process, for tests.
 *
 * @module
 */

import type { ByteConnection } from "./address.ts";
import { spend } from "./timer.ts";

/** Bytes that may wait between the two ends, as in a socket. */
const CAPACITY = 1 << 16;

/**
 * Makes two connected ends: what is written to one is read from the other, as with a pair of unix
 * sockets.
 *
 * @returns Both ends.
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
  // As those of a unix socket without a name, which is what this is like.
  readonly remoteAddr: Deno.UnixAddr = { transport: "unix", path: "" };
  readonly localAddr: Deno.UnixAddr = { transport: "unix", path: "" };
  readonly #incoming: Pipe;
  readonly #outgoing: Pipe;

  constructor(incoming: Pipe, outgoing: Pipe) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  read(buffer: Uint8Array): Promise<number | null> {
    return this.#incoming.read(buffer);
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#outgoing.write(bytes);
  }

  closeWrite(): Promise<void> {
    this.#outgoing.end();
    return Promise.resolve();
  }

  close(): void {
    // As the system does: whoever closes without having read all resets the connection.
    if (this.#incoming.length > 0) this.#outgoing.reset();
    else this.#outgoing.end();
    this.#incoming.abandon();
  }
}

/** What a read takes with all that follows from it, in microseconds. */
const READ_US = 20;

/** One direction. */
class Pipe {
  #waiting: Uint8Array[] = [];
  #length = 0;
  #ended = false; // nobody writes any more
  #reset = false; // and did not read all, either
  #abandoned = false; // nobody reads any more
  #changed = Promise.withResolvers<void>();

  /** How many bytes wait. */
  get length(): number {
    return this.#length;
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    // Two ends that answer each other would keep timers, and so deadlines, waiting.
    const others = spend(READ_US);
    if (others) await others;
    while (this.#length === 0 && !this.#ended && !this.#abandoned) await this.#changed.promise;
    if (this.#abandoned) throw new Deno.errors.BadResource("the connection is closed");
    const first = this.#waiting[0];
    if (first === undefined) {
      if (!this.#reset) return null;
      this.#reset = false;
      throw new Deno.errors.ConnectionReset("the peer has closed without reading all");
    }
    const part = first.subarray(0, buffer.length);
    buffer.set(part);
    if (part.length === first.length) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(part.length);
    this.#length -= part.length;
    this.#change();
    return part.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    while (bytes.length > 0 && this.#length >= CAPACITY && !this.#ended && !this.#abandoned) {
      await this.#changed.promise;
    }
    if (this.#ended) throw new Deno.errors.BrokenPipe("the connection is closed for writing");
    if (this.#abandoned) throw new Deno.errors.BrokenPipe("the peer has closed");
    if (bytes.length === 0) return 0;
    const part = bytes.slice(0, CAPACITY - this.#length);
    this.#waiting.push(part);
    this.#length += part.length;
    this.#change();
    return part.length;
  }

  /** There is nobody to write any more. */
  end(): void {
    this.#ended = true;
    this.#change();
  }

  /** The same, and what was written the other way is lost. */
  reset(): void {
    this.#reset = true;
    this.end();
  }

  /** There is nobody to read any more. */
  abandon(): void {
    this.#abandoned = true;
    this.#waiting = [];
    this.#length = 0;
    this.#change();
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
