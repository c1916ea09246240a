/**
 * Limits on what a connection and a server may use, which keep a hostile or slow peer from taking
 * too much.
 *
 * @module
 */

/**
 * Limits of each connection, and of a server as a whole. Limits that are not set keep their
 * defaults.
 *
 * @category Limits and numbers
 */
export interface Limits {
  /**
   * The longest message in bytes, in either direction, measured as the data of one frame: the
   * message with its envelope. 4 MiB by default, as in all other implementations of ttrpc; up to
   * 16 MiB - 1 if both sides set it. A longer message fails its call with `RESOURCE_EXHAUSTED`.
   */
  messageBytes: number;
  /**
   * How much memory a message may take while it is decoded and after that, as a multiple of its
   * encoded bytes, plus 16 MiB: `decodeFactor * bytes + 16 MiB`. It is estimated before a message
   * is decoded; one of so many small parts that it would take more, or block the event loop for too
   * long, fails its call with `RESOURCE_EXHAUSTED`. See `cost()` of a codec. 16 by default.
   */
  decodeFactor: number;
  /**
   * The most handlers that run at the same time for one connection of a server. Further calls fail
   * with `RESOURCE_EXHAUSTED`. A handler that ignores its signal counts until it settles, even if
   * its call is over. 10,000 by default.
   */
  concurrentCalls: number;
  /** The same for all connections of a server together. 20,000 by default. */
  serverCalls: number;
  /** The most connections of a server. A further one is closed at once. 10,000 by default. */
  connections: number;
  /**
   * Bytes of memory that the calls of one connection of a server may hold before it waits with
   * further calls: requests that handlers work on, responses that wait to be sent, and responses
   * that are expected. At this limit, the connection begins no call, and does not read until memory
   * is released. 64 MiB by default.
   */
  heldBytes: number;
  /**
   * The same for all connections of a server together, including queued messages and long frames
   * that are being received. At this limit, connections that hold little may still begin small
   * calls. 512 MiB by default.
   */
  serverHeldBytes: number;
  /**
   * Bytes of received messages that may wait on one stream before it counts as stalled.
   * 1 MiB by default.
   */
  streamQueueBytes: number;
  /**
   * Bytes of received messages that may wait on all streams of a connection before it stops
   * reading from the socket. 8 MiB by default.
   */
  connectionQueueBytes: number;
  /**
   * How long, in milliseconds, a stalled stream may keep a connection from reading before that
   * stream fails with `RESOURCE_EXHAUSTED`. 5,000 by default; 0 means never.
   */
  stallTimeoutMs: number;
  /**
   * How long, in milliseconds, a peer may take to finish a frame that it has begun, before the
   * connection ends; and how long it may not read what it is sent while the server has reached
   * `serverHeldBytes`. 30,000 by default; 0 means no limit.
   */
  frameTimeoutMs: number;
  /**
   * How long, in milliseconds, a connection may have no call in flight before the server ends it. 0
   * by default, which means no limit: containerd's clients keep idle connections open.
   */
  idleTimeoutMs: number;
}

/** The longest data of a frame that the ttrpc protocol specifies, in bytes: 4 MiB. */
export const MESSAGE_BYTES = 4 << 20;

/** The longest data that a frame's header can announce, in bytes: its first byte is always zero. */
export const MESSAGE_BYTES_MAX = (1 << 24) - 1;

/** Bytes of memory that any message may take in addition to a multiple of its length: 16 MiB. */
export const DECODE_BYTES = 16 << 20;

const DEFAULTS: Readonly<Limits> = {
  messageBytes: MESSAGE_BYTES,
  decodeFactor: 16,
  concurrentCalls: 10_000,
  serverCalls: 20_000,
  connections: 10_000,
  heldBytes: 64 << 20,
  serverHeldBytes: 512 << 20,
  streamQueueBytes: 1 << 20,
  connectionQueueBytes: 8 << 20,
  stallTimeoutMs: 5_000,
  frameTimeoutMs: 30_000,
  idleTimeoutMs: 0,
};

const LARGEST: Readonly<Limits> = {
  messageBytes: MESSAGE_BYTES_MAX,
  decodeFactor: 2 ** 31,
  concurrentCalls: 2 ** 31,
  serverCalls: 2 ** 31,
  connections: 2 ** 31,
  heldBytes: Number.MAX_SAFE_INTEGER,
  serverHeldBytes: Number.MAX_SAFE_INTEGER,
  streamQueueBytes: Number.MAX_SAFE_INTEGER,
  connectionQueueBytes: Number.MAX_SAFE_INTEGER,
  stallTimeoutMs: 2 ** 31 - 1,
  frameTimeoutMs: 2 ** 31 - 1,
  idleTimeoutMs: 2 ** 31 - 1,
};

/**
 * Checks limits, and adds the defaults.
 *
 * @param limits The limits to set.
 * @returns All limits.
 * @throws {RangeError} If a value is not a whole number, or is outside the range of its limit.
 * @throws {TypeError} If there is no limit of a given name.
 */
export function resolveLimits(
  limits: { [Name in keyof Limits]?: Limits[Name] | undefined } = {},
): Readonly<Limits> {
  const resolved = { ...DEFAULTS };
  for (const [name, value] of Object.entries(limits) as [keyof Limits, number | undefined][]) {
    if (value === undefined) continue;
    if (!Object.hasOwn(DEFAULTS, name)) {
      throw new TypeError(`Cannot set limit "${name}": there is no limit of that name`);
    }
    const least = name.endsWith("Ms") ? 0 : 1;
    if (!Number.isInteger(value) || value < least || value > LARGEST[name]) {
      throw new RangeError(
        `Cannot set limit "${name}" to ${value}: ` +
          `it takes a whole number from ${least} to ${LARGEST[name]}`,
      );
    }
    resolved[name] = value;
  }
  return resolved;
}
