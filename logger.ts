/**
 * An interceptor that tells of every call, in a form for programs.
 *
 * @module
 */

import type { Interceptor } from "./interceptor.ts";
import type { MethodKind } from "./engine/method.ts";
import type { Messages } from "./service.ts";
import { abortStatus, Code, RpcError } from "./status.ts";

/** What there is to tell of a call that has ended. */
export interface LogEntry {
  /** The method, as `pkg.Service/Method`. */
  method: string;
  /** The kind of the method. */
  kind: MethodKind;
  /** How the call ended. A stream that its consumer left early has ended with `CANCELLED`. */
  code: Code;
  /** What it took, to the end of the last message, in milliseconds. */
  durationMs: number;
  /** How many messages were sent to the server. */
  requests: number;
  /** How many messages were received by the caller. */
  responses: number;
  /** What the call ended with, if not well. Anything but an `RpcError` is its `cause`. */
  error?: RpcError;
}

/**
 * Tells of every call when it has ended.
 *
 * Names of methods and messages of errors are what the peer has sent. `JSON.stringify()` escapes
 * the ends of lines and the escape sequences in them, but not DEL, C1 and what turns the direction
 * of text: where a terminal shows the entries, escape those as well.
 *
 * @param log Gets one entry for each call. What it throws fails the call, as it would in any
 * interceptor.
 * @returns The interceptor, for a client or a server.
 *
 * @example Print calls that fail
 * ```ts
 * import { serve } from "@ttrpc/ttrpc";
 * import { logger } from "@ttrpc/ttrpc/logger";
 *
 * const path = `${await Deno.makeTempDir()}/x.sock`;
 * await using server = serve({
 *   path,
 *   interceptors: [logger((entry) => entry.error && console.error(JSON.stringify(entry)))],
 * }, () => {});
 * ```
 */
export function logger(log: (entry: LogEntry) => void): Interceptor {
  return (next) => async (request) => {
    const start = performance.now();
    const entry = { method: request.method.path, kind: request.kind, requests: 0, responses: 0 };
    let told = false;
    const end = (code: Code, error?: RpcError) => {
      if (told) return;
      told = true;
      const durationMs = performance.now() - start;
      log({ ...entry, code, durationMs, ...(error === undefined ? {} : { error }) });
    };
    const failed = (reason: unknown) => {
      const error = RpcError.from(reason);
      end(error.code, error);
    };
    // A stream that is stopped was left by its consumer, or its call has ended by itself.
    const stopped = () => {
      const { signal } = request;
      const reason = signal?.aborted ? abortStatus(signal) : undefined;
      if (reason?.cause instanceof RpcError) failed(reason.cause);
      else end(reason?.code ?? Code.CANCELLED);
    };
    try {
      const response = await next(
        request.kind === "unary" || request.kind === "server_streaming"
          ? (entry.requests = 1, request)
          : { ...request, message: counted(request.message, () => entry.requests++) },
      );
      if (response.kind === "unary" || response.kind === "client_streaming") {
        entry.responses = 1;
        end(Code.OK);
        return response;
      }
      const done = () => end(Code.OK);
      const received = counted(response.message, () => entry.responses++, done, stopped, failed);
      return { ...response, message: received };
    } catch (error) {
      failed(error);
      throw error;
    }
  };
}

/**
 * Passes messages on, and tells of each and of their end. Not a generator: one that is left before
 * its first message would tell nothing.
 */
function counted<T>(
  messages: Messages<T>,
  onMessage: () => void,
  onEnd?: () => void,
  onStop?: () => void,
  onError?: (error: unknown) => void,
): AsyncIterableIterator<T> {
  const iterator = Symbol.asyncIterator in messages
    ? messages[Symbol.asyncIterator]()
    : messages[Symbol.iterator]();
  return {
    async next() {
      try {
        const result = await iterator.next();
        if (result.done) onEnd?.();
        else onMessage();
        return result;
      } catch (error) {
        onError?.(error);
        throw error;
      }
    },
    async return() {
      onStop?.();
      await iterator.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
