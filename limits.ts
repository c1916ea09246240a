/**
 * What one connection may use: the bounds that keep a peer, hostile or merely slow, from taking
 * more than its share.
 *
 * @module
 */

/**
 * The bounds of each connection, and of a server as a whole. Every field may be set; what is left out
 * keeps its default.
 *
 * @category Limits and numbers
 */
export interface Limits {
  /**
   * The longest message in bytes, in either direction, counted as the data of one frame: the
   * message in its envelope. 4 MiB by default, as in every other ttrpc; up to 16 MiB - 1 where
   * both ends agree. A longer one fails its own call with `RESOURCE_EXHAUSTED`.
   */
  messageBytes: number;
  /**
   * How many times its bytes a message may take in memory while it is decoded and after that, beside
   * 16 MiB: `decodeFactor * bytes + 16 MiB`. It is counted before a message is decoded; one made of
   * so many small parts that it would take more, or hold the event loop for too long, fails its own
   * call with `RESOURCE_EXHAUSTED`. See `cost` of a codec. 16 by default.
   */
  decodeFactor: number;
  /**
   * Handlers that run for one connection of a server. A call more is answered `RESOURCE_EXHAUSTED`.
   * One that does not heed its signal runs, and counts, until it settles, although its call is over.
   * 10,000 by default.
   */
  concurrentCalls: number;
  /** Handlers that run for all connections of a server, likewise. 20,000 by default. */
  serverCalls: number;
  /** Connections of a server. One more is closed at once. 10,000 by default. */
  connections: number;
  /**
   * Bytes of memory that the calls of one connection of a server may hold when another one begins:
   * requests that handlers work on, replies that wait to be sent, and those that are expected.
   * Beyond it, the connection begins no call and does not read on until there is room. 64 MiB by
   * default.
   */
  heldBytes: number;
  /**
   * Bytes of memory that all connections of a server may hold in this way, with what is queued and
   * long frames under way. Beyond it, connections that hold little still may begin small calls.
   * 512 MiB by default.
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
   * connection ends; and how long one may read nothing of what it is sent while the server has no
   * room for others. 30,000 by default; 0 means for ever.
   */
  frameTimeoutMs: number;
  /**
   * After how many milliseconds without a call a server ends a connection. 0 by default, which
   * means never: containerd's clients keep theirs.
   */
  idleTimeoutMs: number;
}

/** The longest frame data the ttrpc protocol speaks of, in bytes: 4 MiB. */
export const MESSAGE_BYTES = 4 << 20;

/** The longest frame data a header can announce while its first byte stays zero. */
export const MESSAGE_BYTES_MAX = (1 << 24) - 1;

/** What any message may take in memory beside a multiple of its bytes: 16 MiB. */
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
 * The given limits over the defaults.
 *
 * @param limits The ones to set.
 * @returns A complete set.
 * @throws {RangeError} If a value is not a whole number, or outside what the field allows.
 * @throws {TypeError} If there is no such limit.
 */
export function resolveLimits(
  limits: { [Name in keyof Limits]?: Limits[Name] | undefined } = {},
): Readonly<Limits> {
  const resolved = { ...DEFAULTS };
  for (const [name, value] of Object.entries(limits) as [keyof Limits, number | undefined][]) {
    if (value === undefined) continue;
    if (!Object.hasOwn(DEFAULTS, name)) {
      throw new TypeError(`Cannot set limit "${name}": there is none of that name`);
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
