/**
 * A client's connections: the current one, its replacement once it is lost or has used up its
 * stream ids, and old ones that only finish their calls.
 *
 * @module
 */

import type { ByteConnection } from "../transport.ts";
import type { ClientCall, ClientKeeper } from "./client_call.ts";
import { ClientConnection, closedStatus } from "./client_connection.ts";
import type { Connection } from "./connection.ts";
import { HeldBytes } from "./held_bytes.ts";
import type { ExtensionSettings } from "./keepalive.ts";
import type { Limits } from "../limits.ts";
import type { Reconnect } from "../net/reconnect.ts";
import { type RpcError, type Status, statusError, statusOf } from "../status.ts";
import { tell } from "../async/tell.ts";
import type { Timers } from "../async/timer.ts";

/** What the connections of a client have in common. */
export interface ClientConnectionsOptions {
  /** The server's address, if known. */
  readonly name: string | undefined;
  /** The limits of each connection. */
  readonly limits: Readonly<Limits>;
  /** The client's timers. */
  readonly timers: Timers;
  /** The client's calls. */
  readonly keeper: ClientKeeper;
  /** The settings of the extension; `undefined` if it is off. */
  readonly extension: ExtensionSettings | undefined;
  /** Opens another connection, if that is possible. */
  readonly again?: Reconnect | undefined;
  /** Whether a lost connection is replaced. One without stream ids left is in any case. */
  readonly reconnects?: boolean | undefined;
  /** Called when a connection has ended. */
  readonly onClose?: ((error?: RpcError) => void) | undefined;
  /** The first stream id of each connection: odd, 1 by default. */
  readonly firstId?: number | undefined;
}

/** The connections of one client. */
export class ClientConnections {
  /** Resolves when the last connection has ended and its resources are released. */
  readonly ended: Promise<void>;
  /** The memory that the calls of all connections hold. */
  readonly held: HeldBytes = new HeldBytes(Infinity);
  readonly #options: ClientConnectionsOptions;
  readonly #open = new Set<ClientConnection>();
  readonly #end = Promise.withResolvers<void>();
  #running = 0; // connections whose resources are not released yet
  #current: ClientConnection;
  #connecting = false;
  #closing: Status | undefined;
  #unref = false;

  /**
   * @param conn The first connection.
   * @param options What all connections have in common.
   */
  constructor(conn: ByteConnection, options: ClientConnectionsOptions) {
    this.#options = options;
    this.ended = this.#end.promise;
    this.#current = this.#attach(conn);
  }

  /** The server's address, if known. */
  get name(): string | undefined {
    return this.#options.name;
  }

  /** The status of calls once the client is closed; `undefined` before that. */
  get closing(): Status | undefined {
    return this.#closing;
  }

  /** The connections that are open. */
  get open(): Connection[] {
    return [...this.#open].map(({ connection }) => connection);
  }

  /** Starts a call, as soon as there is a connection. An error becomes the call's status. */
  start(call: ClientCall): void {
    const current = this.#current;
    if (this.#closing) call.end(this.#closing);
    else if (current.usable || !this.#mayConnect) current.open(call);
    else this.#wait(call);
  }

  /** Makes the connections keep the process alive, as they do by default. */
  ref(): void {
    this.#unref = false;
    this.#options.timers.ref();
    for (const { connection } of this.#open) connection.ref();
  }

  /** Lets the process exit while connections are open, or one is being opened. */
  unref(): void {
    this.#unref = true;
    this.#options.timers.unref();
    for (const { connection } of this.#open) connection.unref();
  }

  /** Closes all connections, and ends their calls. */
  close(): void {
    const { name, again, keeper } = this.#options;
    const status = this.#closing ??= closedStatus(name);
    again?.close();
    for (const connection of [...this.#open]) connection.close();
    for (const call of keeper.waiting) call.end(status);
    this.#settle();
  }

  /** Whether the current connection can be replaced. */
  get #mayConnect(): boolean {
    const { again, reconnects } = this.#options;
    return again !== undefined && (reconnects === true || this.#current.exhausted);
  }

  /** Keeps a call until there is a connection. */
  #wait(call: ClientCall): void {
    this.#options.keeper.waiting.add(call);
    if (!this.#connecting) void this.#connect(this.#options.again!);
  }

  /** Opens another connection for the calls that wait, which fail if it fails. Never rejects. */
  async #connect(again: Reconnect): Promise<void> {
    const { waiting } = this.#options.keeper;
    this.#connecting = true;
    let failure: Status | undefined;
    try {
      const conn = await again.attempt();
      const old = this.#current;
      this.#current = this.#attach(conn);
      if (this.#closing) this.#current.close();
      else void old.retire();
    } catch (error) {
      failure = statusOf(error);
    }
    this.#connecting = false;
    const calls = [...waiting];
    waiting.clear();
    for (const call of calls) failure ? call.end(failure) : this.start(call);
    this.#settle();
  }

  #attach(conn: ByteConnection): ClientConnection {
    const { name, limits, timers, firstId, keeper, again, onClose, extension } = this.#options;
    const connection = new ClientConnection({
      conn,
      name,
      limits,
      timers,
      held: this.held,
      deadlines: keeper.deadlines,
      extension,
      firstId,
      onExhausted: (call) => {
        if (this.#mayConnect && !this.#closing) this.#wait(call);
        else call.end(this.#closing ?? connection.exhaustedStatus);
      },
      onEnd: (failure) => {
        this.#open.delete(connection);
        keeper.tally.disconnect(connection.connection);
        tell(onClose, failure && statusError(failure));
      },
    });
    this.#open.add(connection);
    this.#running++;
    again?.connected();
    if (this.#unref) connection.connection.unref();
    void connection.connection.run().then(() => {
      this.#running--;
      this.#settle();
    });
    return connection;
  }

  /** Checks whether the last connection has ended. */
  #settle(): void {
    if (this.#running > 0 || this.#connecting) return;
    if (this.#mayConnect && !this.#closing) return;
    this.#options.keeper.deadlines.close();
    this.#end.resolve();
  }
}
