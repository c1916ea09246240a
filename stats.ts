/**
 * Statistics of a client or a server: its connections, calls and bytes.
 *
 * @module
 */

import { Code } from "./status.ts";

/**
 * Statistics of a client or a server.
 *
 * @category Limits and numbers
 */
export interface Stats {
  /** Connections that are open. */
  connections: number;
  /** Calls started so far; on a server, including those that it refused. */
  callsStarted: number;
  /** Calls that have not ended. */
  callsInFlight: number;
  /** Failed calls by the name of their status code; `OTHER` for codes that gRPC does not define. */
  callsFailed: Record<string, number>;
  /** Bytes received so far. */
  bytesReceived: number;
  /** Bytes sent so far, including those that wait for the socket. */
  bytesSent: number;
  /** Calls that have a stream on an open connection. */
  openStreams: number;
  /** Estimated bytes of memory of received messages that wait to be taken. */
  queuedBytes: number;
  /**
   * Bytes of memory that running calls hold: requests that handlers work on, messages that wait to
   * be sent or taken, and long frames that are being received. See `limits.heldBytes` and
   * `limits.serverHeldBytes`.
   */
  heldBytes: number;
}

/** Statistics of one connection. */
export interface Counted {
  /** Bytes received so far. */
  readonly bytesIn: number;
  /** Bytes sent so far. */
  readonly bytesOut: number;
  /** Calls in flight. */
  readonly calls: number;
  /** Estimated bytes of memory of received messages that wait to be taken. */
  readonly queuedBytes: number;
}

/** Counts calls, and the bytes of connections that have ended. */
export class Tally {
  #started = 0;
  #ended = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  readonly #failed: Record<string, number> = {};

  /** A call was started. */
  start(): void {
    this.#started++;
  }

  /** A call has ended with this code. */
  end(code: number): void {
    this.#ended++;
    if (code === Code.OK) return;
    // One name for all undefined codes, so that a peer cannot fill memory with invented ones.
    const name = Code[code] ?? "OTHER";
    this.#failed[name] = (this.#failed[name] ?? 0) + 1;
  }

  /** A connection has ended: its bytes are added to the totals. */
  disconnect(connection: Counted): void {
    this.#bytesIn += connection.bytesIn;
    this.#bytesOut += connection.bytesOut;
  }

  /** The statistics, including those of the open connections and the bytes that calls hold. */
  stats(open: readonly Counted[], heldBytes = 0): Stats {
    const sum = (of: (connection: Counted) => number) =>
      open.reduce((total, connection) => total + of(connection), 0);
    return {
      connections: open.length,
      callsStarted: this.#started,
      callsInFlight: this.#started - this.#ended,
      callsFailed: { ...this.#failed },
      bytesReceived: this.#bytesIn + sum(({ bytesIn }) => bytesIn),
      bytesSent: this.#bytesOut + sum(({ bytesOut }) => bytesOut),
      openStreams: sum(({ calls }) => calls),
      queuedBytes: sum(({ queuedBytes }) => queuedBytes),
      heldBytes,
    };
  }
}
