/**
 * An interceptor that logs every call as an object.
 *
 * @module
 */

import type { Interceptor } from "./interceptor.ts";
import type { MethodKind } from "./engine/method.ts";
import type { Messages } from "./service.ts";
import { abortStatus, Code, RpcError } from "./status.ts";

/** A call that has ended. */
export interface LogEntry {
  /** The method, as `pkg.Service/Method`. */
  method: string;
  /** The kind of the method. */
  kind: MethodKind;
  /** The status code. A stream that its consumer left early has `CANCELLED`. */
  code: Code;
  /** How long the call took, to the end of its last message, in milliseconds. */
  durationMs: number;
  /** The number of request messages that passed through the interceptor. */
  requests: number;
  /** The number of response messages that passed through the interceptor. */
  responses: number;
  /** Why the call failed. An error that is not an `RpcError` is its `cause`. */
  error?: RpcError;
}

/**
 * Logs every call when it has ended.
 *
 * Method names and error messages can come from the peer. `JSON.stringify()` escapes line breaks
 * and escape sequences in them, but not DEL, C1 control characters and characters that change the
 * direction of text: escape those as well where a terminal shows the entries.
 *
 * @param log Called with one entry for each call. An error that it throws fails the call, as in any
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
    // A stream is stopped because its consumer has left it, or because its call has ended.
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
 * Passes messages on, and reports each of them and their end. Not a generator: `return()` before
 * the first message would not run any of its code.
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
