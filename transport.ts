/**
 * What carries the bytes: open connections, and where they come from. Sockets of Deno are, and so is
 * anything else that reads, writes and closes.
 *
 * @module
 */

/**
 * An open connection, as this module needs it. A `Deno.Conn` is one; so is anything else that
 * carries bytes both ways.
 *
 * @category Addresses and connections
 */
export interface ByteConnection {
  /**
   * Reads some bytes.
   *
   * A rejection ends the connection, and so does the end of input inside a frame. Calls in flight
   * then fail with `UNAVAILABLE`, after all that was read before has been delivered.
   *
   * @param buffer Where to.
   * @returns How many, at least one; `null` when the peer sends no more.
   */
  read(buffer: Uint8Array): Promise<number | null>;
  /**
   * Writes some of the bytes.
   *
   * After a rejection nothing more is written, and new calls fail with `UNAVAILABLE`. Reading goes
   * on to its end, so that answers which are there already reach their callers; calls without one
   * fail then, with the rejection as the cause.
   *
   * @param bytes They are not changed until the promise settles. None at all are only ever written
   * to a unix socket, where this tells whether the peer is still there.
   * @returns How many, at least one.
   */
  write(bytes: Uint8Array): Promise<number>;
  /**
   * Half-closes: tells the peer that no more bytes come, while reading goes on. Without it, a
   * connection that ends is closed at once, and the peer may lose what it has not read yet.
   */
  closeWrite?(): Promise<void>;
  /** Closes both directions. Reads and writes under way settle, in whatever way. */
  close(): void;
  /** Lets the connection keep the process alive, as it does at first. */
  ref?(): void;
  /** Lets the process end while the connection is open. */
  unref?(): void;
  /** The address of the peer, if known. */
  readonly remoteAddr?: Deno.Addr;
  /** The address of this end. */
  readonly localAddr?: Deno.Addr;
}

/**
 * Whether this is an open connection, and not an address.
 *
 * @param value Either.
 * @returns `true` if it can be read, written and closed.
 */
export function isByteConnection(value: unknown): value is ByteConnection {
  const conn = value as Partial<ByteConnection> | null;
  return typeof conn === "object" && conn !== null && typeof conn.read === "function" &&
    typeof conn.write === "function" && typeof conn.close === "function";
}

/**
 * What a server needs of a listener. A `Deno.Listener` is one.
 *
 * @category Addresses and connections
 */
export interface ByteListener extends AsyncIterable<ByteConnection> {
  /** Stops listening. */
  close?(): void;
  /** Lets the listener keep the process alive. */
  ref?(): void;
  /** Lets the process end. */
  unref?(): void;
  /** Where it listens. */
  readonly addr?: Deno.Addr;
}
