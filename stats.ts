/**
 * What a client or a server has done so far, in numbers.
 *
 * @module
 */

import { Code } from "./status.ts";

/**
 * Numbers of a client or a server.
 *
 * @category Limits and numbers
 */
export interface Stats {
  /** Connections that are open. */
  connections: number;
  /** Calls that were ever started; on a server also those that it refused. */
  callsStarted: number;
  /** Calls that have not ended. */
  callsInFlight: number;
  /** Calls that have ended badly, by the name of their code; `OTHER` for codes that gRPC has not. */
  callsFailed: Record<string, number>;
  /** Bytes ever received. */
  bytesReceived: number;
  /** Bytes ever sent, or waiting for the socket. */
  bytesSent: number;
  /** Streams in the tables of the open connections. */
  openStreams: number;
  /** What received messages that nobody has taken yet are reckoned to use, in bytes. */
  queuedBytes: number;
  /**
   * What calls hold, in bytes of memory: requests that handlers work on, what waits to be sent or
   * taken, and long frames under way. Bounded by `limits`.
   */
  heldBytes: number;
}

/** What is counted on a connection. */
export interface Counted {
  /** Bytes ever received. */
  readonly bytesIn: number;
  /** Bytes ever sent. */
  readonly bytesOut: number;
  /** Calls in flight. */
  readonly calls: number;
  /** Bytes that wait to be taken. */
  readonly queuedBytes: number;
}

/** Counts calls, and remembers the connections that have ended. */
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
    // A peer can make up codes, but not fill this side's memory with them.
    const name = Code[code] ?? "OTHER";
    this.#failed[name] = (this.#failed[name] ?? 0) + 1;
  }

  /** A connection has ended, whose bytes still count. */
  disconnect(connection: Counted): void {
    this.#bytesIn += connection.bytesIn;
    this.#bytesOut += connection.bytesOut;
  }

  /** The numbers, with those of the open connections, and what calls hold. */
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
