/**
 * Opens client connections, with a timeout, and with retries until the server listens.
 *
 * @module
 */

import type { ParsedAddress } from "../address.ts";
import { type ByteConnection, isByteConnection } from "../transport.ts";
import { abort, checkSignal } from "../async/signals.ts";
import { abortStatus, Code, describe, RpcError } from "../status.ts";
import { checkTime, type Timers } from "../async/timer.ts";

/** How to wait while connecting. */
export interface DialOptions {
  /** Aborts the attempt. */
  readonly signal?: AbortSignal | undefined;
  /** How long to try, in milliseconds. There is no limit by default. */
  readonly connectTimeoutMs?: number | undefined;
  /** Tries again while the socket does not exist or refuses connections. `false` by default. */
  readonly waitForReady?: boolean | undefined;
}

/**
 * A custom way to connect: through a proxy, a handshake, TLS or an inherited file descriptor.
 *
 * @category Client
 * @example Connect through something else
 * ```ts
 * import { connect } from "@ttrpc/ttrpc";
 *
 * function connectTo(path: string) {
 *   return connect({
 *     name: `the machine behind ${path}`,
 *     dial: async () => {
 *       const conn = await Deno.connect({ transport: "unix", path });
 *       await conn.write(new TextEncoder().encode("CONNECT 1024\n"));
 *       return conn;
 *     },
 *   }, { reconnect: true, waitForReady: true });
 * }
 * ```
 */
export interface Dialer {
  /**
   * Opens a connection. Called again when another one is needed, but never while an earlier
   * `dial()` is still pending.
   *
   * A rejection fails the calls that wait for the connection: with its own code if it is an
   * `RpcError`, otherwise with `UNAVAILABLE`. With `waitForReady`, an `RpcError` with `UNAVAILABLE`
   * and Deno's `NotFound`, `ConnectionRefused`, `ConnectionReset` and `WouldBlock` are retried.
   *
   * @param signal Aborted when the connection is no longer needed. If `dial()` opens one anyway,
   * the client closes it.
   * @returns The connection. The client owns it from then on.
   */
  dial(signal: AbortSignal): Promise<ByteConnection>;
  /** The server's name in errors, and the client's `address`. `"a dialer"` by default. */
  readonly name?: string | undefined;
}

/**
 * Whether a value is a dialer, and not an address.
 *
 * @param value A dialer or an address.
 * @returns `true` if it has a function `dial`.
 */
export function isDialer(value: unknown): value is Dialer {
  return typeof value === "object" && value !== null && "dial" in value &&
    typeof value.dial === "function";
}

const FIRST_RETRY_MS = 5;
const LONGEST_RETRY_MS = 250;

/**
 * Opens a connection, and tries again as the options say.
 *
 * @param dialer How to connect.
 * @param options How long to try.
 * @param timers The timers of the client.
 * @returns The connection.
 * @throws {RpcError} With `UNAVAILABLE` if no server listens, `PERMISSION_DENIED` if the operating
 * system denies access, `DEADLINE_EXCEEDED` after the timeout, and `CANCELLED` if the signal is
 * aborted.
 * @throws {Deno.errors.NotCapable} If Deno was not given the permission.
 * @throws {RangeError} If the timeout is not a number.
 * @throws {TypeError} If the dialer returns something other than a connection.
 */
export async function dial(
  dialer: Dialer,
  options: DialOptions,
  timers: Timers,
): Promise<ByteConnection> {
  const { waitForReady = false } = options;
  const timeoutMs = checkTime("connectTimeoutMs", options.connectTimeoutMs);
  checkSignal(options.signal);
  const name = dialer.name ?? "the server";
  const timeout = new AbortController();
  const expire = () => {
    const message = `the connectTimeoutMs of ${timeoutMs} ms has passed`;
    abort(timeout, new DOMException(message, "TimeoutError"));
  };
  const timer = timers.start(timeoutMs, expire);
  if (timeoutMs <= 0) expire();
  const signal = options.signal
    ? AbortSignal.any([options.signal, timeout.signal])
    : timeout.signal;
  let last: unknown;
  let conn: unknown;
  try {
    for (let delay = FIRST_RETRY_MS;; delay = Math.min(2 * delay, LONGEST_RETRY_MS)) {
      signal.throwIfAborted();
      try {
        conn = await untilAborted(dialer, signal);
        break;
      } catch (error) {
        const again = waitForReady ? isTransient(error) : isBusy(error) && delay < LONGEST_RETRY_MS;
        if (signal.aborted || !again) throw error;
        last = error;
      }
      await timers.pause(delay, signal);
    }
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    if (!signal.aborted) throw dialError(name, cause);
    const { code, message } = abortStatus(signal);
    const lastly = last === undefined ? "" : `; the last attempt: ${reasonOf(last)}`;
    throw new RpcError(code, `cannot connect to ${name}: ${message}${lastly}`, {
      cause: last ?? signal.reason,
    });
  } finally {
    timer.stop();
  }
  if (isByteConnection(conn)) return conn;
  throw new TypeError(`Cannot connect to ${name}: dial() has not returned a connection`);
}

/**
 * Opens a connection to an address, once.
 *
 * @param address The server's address.
 * @param signal Aborts the attempt. It has an effect on TCP only.
 * @returns The connection.
 */
export async function open(address: ParsedAddress, signal: AbortSignal): Promise<ByteConnection> {
  // Deno takes no signal for these two. Without `--unstable-vsock`, it exits when vsock is used.
  if (address.transport === "unix") return await Deno.connect(address);
  if (address.transport === "vsock") return await Deno.connect(address);
  const conn = await Deno.connect({ ...address, signal });
  conn.setNoDelay(true); // a small call must not wait for the acknowledgement of another
  return conn;
}

/** Makes one attempt. If it is aborted, a connection that still comes is closed. */
async function untilAborted(dialer: Dialer, signal: AbortSignal): Promise<unknown> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const leave = () => reject(signal.reason);
  signal.addEventListener("abort", leave);
  const attempt = Promise.try(() => dialer.dial(signal));
  try {
    return await Promise.race([attempt, aborted]);
  } catch (error) {
    if (signal.aborted) attempt.then((conn) => conn.close()).catch(() => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

function isTransient(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused ||
    error instanceof Deno.errors.ConnectionReset || isBusy(error) ||
    error instanceof RpcError && error.code === Code.UNAVAILABLE;
}

/** The server's backlog is full: it listens, but more clients wait than the system allows. */
function isBusy(error: unknown): boolean {
  return error instanceof Deno.errors.WouldBlock;
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such socket";
  if (error instanceof Deno.errors.ConnectionRefused) return "no server listens there";
  return describe(error);
}

function dialError(name: string, cause: unknown): RpcError {
  const code = cause instanceof RpcError
    ? cause.code
    : cause instanceof Deno.errors.PermissionDenied
    ? Code.PERMISSION_DENIED
    : Code.UNAVAILABLE;
  return new RpcError(code, `cannot connect to ${name}: ${reasonOf(cause)}`, { cause });
}
