/**
 * Tracks which call's code is running: its handler, or its producer of messages. It is known only
 * until that code first awaits something, which is enough to find a handler that shuts its own
 * server down.
 *
 * @module
 */

import type { Stream } from "./stream.ts";

let running: Stream | undefined;

/**
 * Runs code of a call.
 *
 * @param stream The call.
 * @param code The code.
 * @returns What it returns.
 */
export function enter<T>(stream: Stream, code: () => T): T {
  const outer = running;
  running = stream;
  try {
    return code();
  } finally {
    running = outer;
  }
}

/**
 * The call whose code is running now.
 *
 * @returns The call; `undefined` if no call's code is running, or it has awaited something before.
 */
export function runningCall(): Stream | undefined {
  return running;
}
