/**
 * Which call's code is running: that of its handler, or of its producer of messages. Known only
 * until that code first waits, which is enough to find a handler that shuts its own server down.
 *
 * @module
 */

import type { Stream } from "./stream.ts";

let running: Stream | undefined;

/**
 * Runs code of a call.
 *
 * @param stream The call.
 * @param code What to run.
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
 * @returns The call; `undefined` if this is not the code of one, or it has waited before.
 */
export function runningCall(): Stream | undefined {
  return running;
}
