/**
 * An interceptor that calls again what may be called again.
 *
 * @module
 */

import { backoff, checkBackoff } from "./async/backoff.ts";
import type { Interceptor } from "./interceptor.ts";
import { abortStatus, Code, RpcError, statusError } from "./status.ts";
import { Timers } from "./async/timer.ts";

/** When and how often to call again. */
export interface RetryOptions {
  /** How often to call at most, the first time included. 3 by default. */
  attempts?: number | undefined;
  /** What to wait before the second attempt, in milliseconds. 20 by default. */
  initialDelayMs?: number | undefined;
  /**
   * What to wait at most, in milliseconds. 1,000 by default. The delay doubles from attempt to
   * attempt; of each, between half and all is waited, at random.
   */
  maxDelayMs?: number | undefined;
  /** The codes after which to call again. `UNAVAILABLE` by default. */
  codes?: readonly Code[] | undefined;
}

/**
 * Calls unary methods again that have failed, if their proto file marks them with
 * `idempotency_level`. All other methods are called once. The deadline covers all attempts.
 *
 * @param options When and how often.
 * @returns The interceptor, for a client. With `reconnect`, it outlasts the restart of a server.
 * @throws {RangeError} If `attempts` is no whole number above zero, or a delay is negative.
 *
 * @example Outlast the restart of a server
 * ```ts
 * import { connect } from "@ttrpc/ttrpc";
 * import { retry } from "@ttrpc/ttrpc/retry";
 *
 * function patient(path: string) {
 *   return connect({ path }, { reconnect: true, interceptors: [retry({ attempts: 5 })] });
 * }
 * ```
 */
export function retry(options: RetryOptions = {}): Interceptor {
  const { attempts = 3, initialDelayMs = 20, maxDelayMs = 1_000 } = options;
  const codes = new Set(options.codes ?? [Code.UNAVAILABLE]);
  const timers = new Timers();
  if (!Number.isInteger(attempts) || attempts < 1) {
    throw new RangeError(`Cannot retry with ${attempts} attempts`);
  }
  const delays = checkBackoff("retry", { initialDelayMs, maxDelayMs });
  return (next) => async (request) => {
    if (request.kind !== "unary" || !request.method.idempotent) return await next(request);
    const { timeoutMs = Infinity, signal } = request;
    const deadline = performance.now() + timeoutMs;
    for (let attempt = 1;; attempt++) {
      const left = deadline - performance.now();
      try {
        return await next(left === Infinity ? request : { ...request, timeoutMs: left });
      } catch (error) {
        const again = error instanceof RpcError && codes.has(error.code);
        const delay = backoff(attempt, delays);
        // A pause that would outlast the deadline would only hide the error.
        if (!again || attempt === attempts || performance.now() + delay >= deadline) throw error;
        await timers.pause(delay, signal);
        if (signal?.aborted) throw statusError(abortStatus(signal), request.method.path);
      }
    }
  };
}
