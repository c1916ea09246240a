/**
 * An interceptor that retries failed calls of idempotent methods.
 *
 * @module
 */

import { backoff, checkBackoff } from "./async/backoff.ts";
import type { Interceptor } from "./interceptor.ts";
import { abortStatus, Code, RpcError, statusError } from "./status.ts";
import { Timers } from "./async/timer.ts";

/** Options of {@linkcode retry}. */
export interface RetryOptions {
  /** The most attempts for one call, including the first. 3 by default. */
  attempts?: number | undefined;
  /** The delay before the second attempt, in milliseconds. 20 by default. */
  initialDelayMs?: number | undefined;
  /**
   * The longest delay, in milliseconds. 1,000 by default. The delay doubles with each attempt; the
   * pause is a random time between half of the delay and all of it.
   */
  maxDelayMs?: number | undefined;
  /** The status codes after which a call is retried. `[Code.UNAVAILABLE]` by default. */
  codes?: readonly Code[] | undefined;
}

/**
 * Retries failed calls of unary methods that their proto file marks with `idempotency_level`. Calls
 * of other methods are made once. The deadline covers all attempts.
 *
 * @param options When and how often to retry.
 * @returns The interceptor, for a client. With `reconnect`, calls survive the restart of a server.
 * @throws {RangeError} If `attempts` is not a whole number above zero, or a delay is negative.
 *
 * @example Survive the restart of a server
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
    throw new RangeError(
      `Cannot retry with ${attempts} attempts: it takes a whole number from 1`,
    );
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
