/**
 * The options of a call, merged with the defaults of its service client and its client.
 *
 * @module
 */

import { Metadata, type MetadataInit } from "../metadata.ts";
import type { CallDefaults, CallOptions } from "../service.ts";
import { checkSignal } from "../async/signals.ts";
import { checkTime } from "../async/timer.ts";

/**
 * The options of one call, copied when the call is made: what its caller changes later has no
 * effect.
 */
export interface CallSettings {
  /** The metadata, a copy. */
  readonly metadata: Metadata | undefined;
  /** The timeout, in milliseconds. */
  readonly timeoutMs: number | undefined;
  /** When the timeout is over, in milliseconds of {@linkcode performance.now}. */
  readonly deadline: number;
  /** The caller's signal. */
  readonly signal: AbortSignal | undefined;
}

const NO_SETTINGS: CallSettings = {
  metadata: undefined,
  timeoutMs: undefined,
  deadline: Infinity,
  signal: undefined,
};

/**
 * Copies and merges the options of a call.
 *
 * @param options The options of the call. May be a handler's context.
 * @param defaults The defaults of the client and the service client, as {@linkcode takeDefaults}
 * returns them. A key of the options' metadata replaces the same key of the defaults.
 * @returns The merged options.
 * @throws {RangeError} If `timeoutMs` is not a number.
 * @throws {TypeError} If `signal` is not an `AbortSignal`, or metadata does not consist of strings.
 */
export function takeOptions(
  options: CallOptions | undefined,
  defaults: CallDefaults | undefined,
): CallSettings {
  if (!options && !defaults) return NO_SETTINGS;
  const signal = options?.signal;
  checkSignal(signal);
  const timeoutMs = options?.timeoutMs ?? defaults?.timeoutMs;
  return {
    metadata: merge(options?.metadata, defaults?.metadata),
    timeoutMs,
    deadline: deadlineAfter(timeoutMs),
    signal,
  };
}

/**
 * Copies and merges the defaults of a client or a service client.
 *
 * @param own The defaults.
 * @param under The defaults that they override, if there are any.
 * @returns The merged defaults; `undefined` if there are none.
 * @throws {RangeError | TypeError} As {@linkcode takeOptions} does.
 */
export function takeDefaults(
  own: CallDefaults | undefined,
  under?: CallDefaults,
): CallDefaults | undefined {
  if (!own) return under;
  const timeoutMs = own.timeoutMs ?? under?.timeoutMs;
  checkTime("timeoutMs", timeoutMs);
  return { timeoutMs, metadata: merge(own.metadata, under?.metadata) };
}

/**
 * Converts a timeout that starts now into a deadline.
 *
 * @param timeoutMs The timeout in milliseconds.
 * @returns The deadline in milliseconds of {@linkcode performance.now}; `Infinity` for none.
 * @throws {RangeError} If it is not a number.
 */
export function deadlineAfter(timeoutMs: number | undefined): number {
  if (timeoutMs === undefined) return Infinity;
  return performance.now() + checkTime("timeoutMs", timeoutMs);
}

function merge(
  own: MetadataInit | undefined,
  under: MetadataInit | undefined,
): Metadata | undefined {
  if (!own || !under) return own || under ? new Metadata(own ?? under) : undefined;
  const merged = new Metadata(under);
  const given = new Metadata(own);
  for (const [key] of given) merged.delete(key);
  for (const [key, value] of given) merged.append(key, value);
  return merged;
}
