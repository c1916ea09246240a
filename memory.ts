/**
 * Connections within one process, for tests.
 *
 * @module
 */

import type { ByteConnection } from "./address.ts";

/** Bytes that may wait between the two ends, as in a socket. */
const CAPACITY = 1 << 16;

/**
 * Makes two connected ends: what is written to one is read from the other.
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

  close(): void {
    this.#outgoing.end();
    this.#incoming.abandon();
  }
}

/** One direction. */
class Pipe {
  #waiting: Uint8Array[] = [];
  #length = 0;
  #ended = false;
  #abandoned = false;
  #changed = Promise.withResolvers<void>();

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#length === 0 && !this.#ended && !this.#abandoned) await this.#changed.promise;
    if (this.#abandoned) throw new Deno.errors.BadResource("the connection is closed");
    const first = this.#waiting[0];
    if (first === undefined) return null;
    const part = first.subarray(0, buffer.length);
    buffer.set(part);
    if (part.length === first.length) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(part.length);
    this.#length -= part.length;
    this.#change();
    return part.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    while (this.#length >= CAPACITY && !this.#ended && !this.#abandoned) {
      await this.#changed.promise;
    }
    if (this.#ended || this.#abandoned) throw new Deno.errors.BrokenPipe("the peer has closed");
    const part = bytes.slice(0, CAPACITY - this.#length);
    if (part.length > 0) this.#waiting.push(part);
    this.#length += part.length;
    this.#change();
    return part.length;
  }

  /** There is nobody to write any more. */
  end(): void {
    this.#ended = true;
    this.#change();
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
