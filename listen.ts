/**
 * Where a server listens.
 *
 * @module
 */

import { type ByteConnection, formatAddress, type ParsedAddress } from "./address.ts";
import { Timers } from "./timer.ts";

/** What a server needs of a listener. A `Deno.Listener` is one. */
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

/** How long to wait when the system has no more files to open, or the like. */
const ACCEPT_RETRY_MS = 100;

/**
 * The connections that come in, until there are no more or the server stops.
 *
 * @param listener Where from.
 * @param stopping Aborted when the server stops.
 * @param onError Hears of failures to accept a connection. They pass.
 * @returns The connections.
 */
export async function* accepted(
  listener: ByteListener,
  stopping: AbortSignal,
  onError: (error: unknown) => void,
): AsyncIterableIterator<ByteConnection> {
  if (!isAcceptor(listener)) {
    yield* untilAborted(listener, stopping);
    return;
  }
  while (!stopping.aborted) {
    let conn: Deno.Conn | undefined;
    try {
      conn = await listener.accept();
      if (conn.remoteAddr?.transport === "tcp") (conn as Deno.TcpConn).setNoDelay(true);
      yield conn;
    } catch (error) {
      conn?.close();
      if (stopping.aborted || isClosed(error)) return;
      onError(error);
      if (!isGone(error)) await new Timers().pause(ACCEPT_RETRY_MS, stopping);
    }
  }
}

function isAcceptor(listener: ByteListener): listener is Deno.Listener {
  return "accept" in listener && typeof listener.accept === "function";
}

function isClosed(error: unknown): boolean {
  return error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted;
}

/** Whether only this one client has gone away before it was accepted. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotConnected ||
    error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted;
}

/** An iterable that cannot be closed is left alone with what it waits for. */
async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal) {
  const stopped = new Promise<void>((resolve) =>
    signal.addEventListener("abort", () => resolve(), { once: true })
  ).then(() => undefined);
  const iterator = items[Symbol.asyncIterator]();
  while (!signal.aborted) {
    const next = await Promise.race([iterator.next(), stopped]);
    if (!next) {
      Promise.resolve(iterator.return?.()).catch(() => {});
      return;
    }
    if (next.done) return;
    yield next.value;
  }
}

/** The permission bits of a socket: a number, or whatever the process's umask leaves. */
export type SocketMode = number | "umask";

/**
 * Starts to listen.
 *
 * @param address Where.
 * @param mode The permission bits that a unix socket gets from its first moment on.
 * @returns The listener.
 * @throws {Deno.errors.AddrInUse} If something is there already; if that is a socket,
 * {@linkcode removeStale} tells whether it matters.
 * @throws {Deno.errors.NotCapable} If Deno does not allow it.
 */
export function listen(address: ParsedAddress, mode: SocketMode): Deno.Listener {
  try {
    if (address.transport === "unix") return listenUnix(address.path, mode);
    if (address.transport === "vsock") return Deno.listen(address);
    return Deno.listen(address);
  } catch (error) {
    throw listenError(address, error);
  }
}

function listenUnix(path: string, mode: SocketMode): Deno.Listener {
  if (isAbstract(path) || mode === "umask") return Deno.listen({ transport: "unix", path });
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o777) {
    throw new RangeError(`the mode is ${mode}, not a whole number from 0 to 0o777`);
  }
  // The umask belongs to the whole process. Nothing else of this thread runs in between, and
  // another one could at worst make a file that fewer may read.
  const umask = Deno.umask(0o777 & ~mode);
  try {
    return Deno.listen({ transport: "unix", path });
  } finally {
    Deno.umask(umask);
  }
}

/** How often a socket is looked at whose server is just going away. */
const MOST_LOOKS = 10;

/**
 * Removes a socket that nobody listens on: what a server leaves that was killed.
 *
 * @param path The path.
 * @throws {Deno.errors.AddrInUse} If somebody does, or if it is no socket.
 */
export async function removeStale(path: string): Promise<void> {
  for (let look = 0; look < MOST_LOOKS; look++) {
    const found = identify(path);
    if (found === undefined) return;
    try {
      (await Deno.connect({ transport: "unix", path })).close();
      break;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      if (error instanceof Deno.errors.WouldBlock) break; // it has more to accept than it can
      // It was closed with this connection in its queue, so what is there now may be another one.
      if (error instanceof Deno.errors.ConnectionReset) continue;
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      // Another server may have found the same stale socket, and be faster.
      if (identify(path) === found) Deno.removeSync(path);
      return;
    }
  }
  throw inUse(path, "another server listens there");
}

/** Tells one socket from another that takes its place. */
function identify(path: string): string | undefined {
  try {
    const { isSocket, dev, ino, ctime } = Deno.lstatSync(path);
    // A new socket may get the inode of the one that was just removed.
    if (isSocket) return `${dev}:${ino}:${ctime?.getTime()}`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  throw inUse(path, "there is a file in the way that is no socket");
}

function inUse(path: string, why: string): Error {
  const address = formatAddress({ transport: "unix", path });
  return new Deno.errors.AddrInUse(`Cannot listen on ${address}: ${why}`);
}

/**
 * Whether a path is in Linux's abstract namespace, where there are no files and no permissions.
 *
 * @param path The path of a unix socket.
 * @returns `true` if it starts with a NUL character.
 */
export function isAbstract(path: string): boolean {
  return path.startsWith("\0");
}

function listenError(address: ParsedAddress, cause: unknown): unknown {
  if (!(cause instanceof Error)) return cause;
  const name = formatAddress(address);
  if (address.transport === "unix" && cause instanceof Deno.errors.AddrInUse) {
    if (isAbstract(address.path)) return inUse(address.path, "another server listens there");
    identify(address.path); // throws if it is no socket
  }
  const umask = cause instanceof Deno.errors.NotCapable && cause.message.includes('"umask"');
  const because = cause instanceof Deno.errors.NotFound
    ? "its folder does not exist"
    : umask
    ? `to give the socket its mode takes --allow-sys; or say { mode: "umask" }`
    : cause.message;
  const constructor = cause.constructor as new (message: string, options: ErrorOptions) => Error;
  return new constructor(`Cannot listen on ${name}: ${because}`, { cause });
}
