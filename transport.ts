/**
 * The interfaces of connections and listeners. Deno's sockets implement them, and so can any object
 * that reads, writes and closes.
 *
 * @module
 */

/**
 * An open connection, which carries bytes in both directions. A `Deno.Conn` is one, and so is any
 * other object with these methods.
 *
 * @category Addresses and connections
 */
export interface ByteConnection {
  /**
   * Reads some bytes.
   *
   * A rejection ends the connection, and so does the end of input inside a frame. Calls in flight
   * then fail with `UNAVAILABLE`, after everything that was read before has been delivered.
   *
   * @param buffer The buffer to read into.
   * @returns The number of bytes read, at least one; `null` at the end of input.
   */
  read(buffer: Uint8Array): Promise<number | null>;
  /**
   * Writes some of the bytes.
   *
   * After a rejection nothing more is written, and new calls fail with `UNAVAILABLE`. Reading goes
   * on to the end of input, so that responses which the peer has sent still reach their callers;
   * calls without a response then fail, with the rejection as the cause.
   *
   * @param bytes The bytes to write, which do not change until the promise settles. An empty array
   * is written to unix sockets only, to find out whether the peer is still connected.
   * @returns The number of bytes written, at least one unless `bytes` is empty.
   */
  write(bytes: Uint8Array): Promise<number>;
  /**
   * Half-closes: tells the peer that no more bytes come, while reading goes on. Without this
   * method, a connection that ends is closed at once, and the peer may lose bytes that it has not
   * read yet.
   *
   * @returns Resolves when the peer has been told.
   */
  closeWrite?(): Promise<void>;
  /** Closes both directions. Pending reads and writes resolve or reject. */
  close(): void;
  /** Makes the open connection keep the process alive, as it does by default. */
  ref?(): void;
  /** Lets the process exit while the connection is open. */
  unref?(): void;
  /** The address of the peer, if known. */
  readonly remoteAddr?: Deno.Addr;
  /** The local address, if known. */
  readonly localAddr?: Deno.Addr;
}

/**
 * Whether a value is an open connection rather than an address.
 *
 * @param value The value to test.
 * @returns `true` if it has the functions `read`, `write` and `close`.
 */
export function isByteConnection(value: unknown): value is ByteConnection {
  const conn = value as Partial<ByteConnection> | null;
  return typeof conn === "object" && conn !== null && typeof conn.read === "function" &&
    typeof conn.write === "function" && typeof conn.close === "function";
}

/**
 * A source of connections for a server. A `Deno.Listener` is one.
 *
 * @category Addresses and connections
 */
export interface ByteListener extends AsyncIterable<ByteConnection> {
  /** Stops listening. */
  close?(): void;
  /** Makes the listener keep the process alive, as it does by default. */
  ref?(): void;
  /** Lets the process exit while the listener is open. */
  unref?(): void;
  /** The address on which it listens, if known. */
  readonly addr?: Deno.Addr;
}
