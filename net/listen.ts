/**
 * Opens the listener of a server, and accepts its connections.
 *
 * @module
 */

import { formatAddress, type ParsedAddress, type UnixAddress } from "../address.ts";
import type { ByteConnection, ByteListener } from "../transport.ts";
import { Timers } from "../async/timer.ts";
import {
  listenUnix,
  listenUnixLater,
  type SocketMode,
  type UnixListener,
} from "./unix_listener.ts";

/** The pause after a failed accept, such as one without file descriptors left, in milliseconds. */
const ACCEPT_RETRY_MS = 100;

/**
 * Accepts connections until the listener is closed or the server stops.
 *
 * @param listener The listener.
 * @param stopping Aborted when the server stops.
 * @param onError Called when a connection cannot be accepted. Accepting continues.
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

/** Whether one client went away before it was accepted. */
function isGone(error: unknown): boolean {
  return error instanceof Deno.errors.NotConnected ||
    error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted;
}

/** Ends at the abort, even if `next()` of the iterable never settles. */
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

/**
 * Starts to listen, synchronously if that is possible.
 *
 * @param address The address to listen on.
 * @param mode The permission bits of a unix socket.
 * @returns The listener; `undefined` if {@linkcode listenLater} has to find out whether another
 * server uses the path.
 * @throws {Deno.errors.AddrInUse} If the address is in use.
 * @throws {Deno.errors.NotCapable} If Deno was not given the permission.
 */
export function listen(
  address: ParsedAddress,
  mode: SocketMode,
): Deno.Listener | UnixListener | undefined {
  try {
    if (address.transport === "vsock") return Deno.listen(address);
    if (address.transport === "tcp") return Deno.listen(address);
    const { path } = address;
    return isAbstract(path) ? Deno.listen({ transport: "unix", path }) : listenUnix(path, mode);
  } catch (error) {
    throw listenError(address, error);
  }
}

/**
 * Listens on a path where a socket exists already, unless a server listens on that socket.
 *
 * @param address The path.
 * @param mode The permission bits.
 * @param signal Aborts the attempt.
 * @returns The listener.
 * @throws {Deno.errors.AddrInUse} If another server uses the path.
 */
export async function listenLater(
  address: Required<UnixAddress>,
  mode: SocketMode,
  signal?: AbortSignal,
): Promise<UnixListener> {
  try {
    return await listenUnixLater(address.path, mode, signal);
  } catch (error) {
    throw listenError(address, error);
  }
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
  if (!(cause instanceof Error) || cause.name === "AbortError") return cause;
  const because = cause instanceof Deno.errors.NotFound
    ? "its folder does not exist"
    : cause instanceof Deno.errors.AddrInUse && address.transport === "unix" &&
        isAbstract(address.path)
    ? "another server listens there"
    : cause.message;
  const constructor = cause.constructor as new (message: string, options: ErrorOptions) => Error;
  return new constructor(`Cannot listen on ${formatAddress(address)}: ${because}`, { cause });
}
