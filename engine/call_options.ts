/**
 * What a call is given beside its request, over what its client and its service set for all calls.
 *
 * @module
 */

import { Metadata, type MetadataInit } from "../metadata.ts";
import type { CallDefaults, CallOptions } from "../service.ts";
import { checkSignal } from "../async/signals.ts";
import { checkTime } from "../async/timer.ts";

/**
 * The options of one call, from the moment on that it is made: nothing that its caller changes
 * later changes them.
 */
export interface CallSettings {
  /** The metadata, in an object of the call's own. */
  readonly metadata: Metadata | undefined;
  /** What the caller has given, in milliseconds. */
  readonly timeoutMs: number | undefined;
  /** When that is over, in milliseconds of {@linkcode performance.now}. */
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
 * Takes the options of a call.
 *
 * @param options Those of the call. May be a handler's context.
 * @param defaults Those of the client and the service, as {@linkcode takeDefaults} returns them. A
 * key of metadata that the options have replaces the default's.
 * @returns Both.
 * @throws {RangeError} If `timeoutMs` is not a number.
 * @throws {TypeError} If `signal` is no signal, or the metadata is not made of text.
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
 * Takes the options for all calls of a client or a service.
 *
 * @param own What was given.
 * @param under What they go over, if anything.
 * @returns Both; `undefined` if there are none.
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
 * When a time from now on is over.
 *
 * @param timeoutMs The time in milliseconds.
 * @returns Milliseconds of {@linkcode performance.now}; `Infinity` for never.
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
