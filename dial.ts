/**
 * Opens connections.
 *
 * @module
 */

import { type ByteConnection, formatAddress, type ParsedAddress } from "./address.ts";
import { checkSignal } from "./signal.ts";
import { abortError, Code, describe, RpcError } from "./status.ts";
import { checkTime, pause, startTimer } from "./timer.ts";

/** How to wait while connecting. */
export interface DialOptions {
  /** Gives up when it is aborted. */
  signal?: AbortSignal | undefined;
  /** Gives up after so many milliseconds. */
  timeoutMs?: number | undefined;
  /** Keeps trying while the socket is missing or refuses. */
  waitForReady?: boolean | undefined;
}

const FIRST_RETRY_MS = 5;
const LONGEST_RETRY_MS = 250;

/**
 * Opens a connection.
 *
 * @param address Where to.
 * @param options How long to try.
 * @returns The connection.
 * @throws {RpcError} With `UNAVAILABLE` if there is nobody, `PERMISSION_DENIED` if the system
 * does not allow it, `DEADLINE_EXCEEDED` or `CANCELLED` if it was given up.
 * @throws {Deno.errors.NotCapable} If Deno does not allow it.
 */
export async function dial(address: ParsedAddress, options: DialOptions): Promise<ByteConnection> {
  const { waitForReady = false } = options;
  const timeoutMs = checkTime("timeoutMs", options.timeoutMs);
  checkSignal(options.signal);
  const name = formatAddress(address);
  const timeout = new AbortController();
  const expire = () => timeout.abort(new DOMException("out of time", "TimeoutError"));
  const timer = startTimer(timeoutMs, expire);
  if (timeoutMs <= 0) expire();
  const signal = options.signal
    ? AbortSignal.any([options.signal, timeout.signal])
    : timeout.signal;
  let last: unknown;
  try {
    for (let delay = FIRST_RETRY_MS;; delay = Math.min(2 * delay, LONGEST_RETRY_MS)) {
      signal.throwIfAborted();
      try {
        return await open(address, signal);
      } catch (error) {
        const again = waitForReady ? isTransient(error) : isBusy(error) && delay < LONGEST_RETRY_MS;
        if (signal.aborted || !again) throw error;
        last = error;
      }
      await pause(delay, signal);
    }
  } catch (cause) {
    if (cause instanceof Deno.errors.NotCapable) throw cause;
    if (!signal.aborted) throw dialError(name, cause);
    const { code, rawMessage } = abortError(signal);
    const lastly = last === undefined ? "" : `; the last try: ${reasonOf(last)}`;
    throw new RpcError(code, `cannot connect to ${name}: ${rawMessage}${lastly}`, {
      cause: last ?? signal.reason,
    });
  } finally {
    clearTimeout(timer);
  }
}

async function open(address: ParsedAddress, signal: AbortSignal): Promise<ByteConnection> {
  // These two have no signal. Without its flag, Deno ends the process at a use of vsock.
  if (address.transport === "unix") return await untilAborted(Deno.connect(address), signal);
  if (address.transport === "vsock") return await untilAborted(Deno.connect(address), signal);
  const conn = await Deno.connect({ ...address, signal });
  conn.setNoDelay(true); // a small call must not wait for the acknowledgement of another
  return conn;
}

/** Leaves a connection attempt that takes no signal, and closes what comes of it. */
async function untilAborted<T extends Deno.Conn>(
  attempt: Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([attempt, aborted]);
  } catch (error) {
    if (signal.aborted) attempt.then((conn) => conn.close(), () => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function isTransient(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.ConnectionRefused ||
    error instanceof Deno.errors.ConnectionReset || isBusy(error);
}

/** More clients wait to be accepted than the system lets wait: the server is there. */
function isBusy(error: unknown): boolean {
  return error instanceof Deno.errors.WouldBlock;
}

function reasonOf(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such socket";
  if (error instanceof Deno.errors.ConnectionRefused) return "nobody listens there";
  return describe(error);
}

function dialError(name: string, cause: unknown): RpcError {
  const code = cause instanceof Deno.errors.PermissionDenied
    ? Code.PERMISSION_DENIED
    : Code.UNAVAILABLE;
  return new RpcError(code, `cannot connect to ${name}: ${reasonOf(cause)}`, { cause });
}
