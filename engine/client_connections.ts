/**
 * The connections of a client: the one that takes calls, the one that follows it when it is lost or
 * used up, and those that only finish what they have begun.
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
  /** The server's address, if there is one. */
  readonly name: string | undefined;
  /** The bounds of each connection. */
  readonly limits: Readonly<Limits>;
  /** The client's timers. */
  readonly timers: Timers;
  /** The client's calls. */
  readonly keeper: ClientKeeper;
  /** How to use the extension; `undefined` if it is not to be used. */
  readonly extension: ExtensionSettings | undefined;
  /** Makes another connection, if that is possible. */
  readonly again?: Reconnect | undefined;
  /** Whether a lost connection is followed by another one. One that is used up always is. */
  readonly reconnects?: boolean | undefined;
  /** Called when a connection has ended. */
  readonly onClose?: ((error?: RpcError) => void) | undefined;
  /** The first stream id of each connection: odd, 1 by default. */
  readonly firstId?: number | undefined;
}

/** The connections of one client. */
export class ClientConnections {
  /** Settles when the last connection has ended and nothing of it is left. */
  readonly ended: Promise<void>;
  /** What they all hold. */
  readonly held: HeldBytes = new HeldBytes(Infinity);
  readonly #options: ClientConnectionsOptions;
  readonly #open = new Set<ClientConnection>();
  readonly #end = Promise.withResolvers<void>();
  #running = 0; // connections of which something is left
  #current: ClientConnection;
  #connecting = false;
  #closing: Status | undefined;
  #unref = false;

  /**
   * @param conn The first one.
   * @param options The rest.
   */
  constructor(conn: ByteConnection, options: ClientConnectionsOptions) {
    this.#options = options;
    this.ended = this.#end.promise;
    this.#current = this.#attach(conn);
  }

  /** The server's address, if there is one. */
  get name(): string | undefined {
    return this.#options.name;
  }

  /** How calls end now that the client is closed; `undefined` while it is not. */
  get closing(): Status | undefined {
    return this.#closing;
  }

  /** The connections that are open. */
  get open(): Connection[] {
    return [...this.#open].map(({ connection }) => connection);
  }

  /** Starts a call, as soon as there is a connection. What goes wrong is the call's status. */
  start(call: ClientCall): void {
    const current = this.#current;
    if (this.#closing) call.end(this.#closing);
    else if (current.usable || !this.#mayConnect) current.open(call);
    else this.#wait(call);
  }

  /** Lets the connections keep the process alive, as they do at first. */
  ref(): void {
    this.#unref = false;
    this.#options.timers.ref();
    for (const { connection } of this.#open) connection.ref();
  }

  /** Lets the process end while they are open, or one is being made. */
  unref(): void {
    this.#unref = true;
    this.#options.timers.unref();
    for (const { connection } of this.#open) connection.unref();
  }

  /** Closes all, and ends their calls. */
  close(): void {
    const { name, again, keeper } = this.#options;
    const status = this.#closing ??= closedStatus(name);
    again?.close();
    for (const connection of [...this.#open]) connection.close();
    for (const call of keeper.waiting) call.end(status);
    this.#settle();
  }

  /** Whether there can be another connection than the present one. */
  get #mayConnect(): boolean {
    const { again, reconnects } = this.#options;
    return again !== undefined && (reconnects === true || this.#current.exhausted);
  }

  /** Keeps a call until there is a connection. */
  #wait(call: ClientCall): void {
    this.#options.keeper.waiting.add(call);
    if (!this.#connecting) void this.#connect(this.#options.again!);
  }

  /** Makes another connection for the calls that wait. If that fails, so do they. Never rejects. */
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

  /** Finds out whether this was the end. */
  #settle(): void {
    if (this.#running > 0 || this.#connecting) return;
    if (this.#mayConnect && !this.#closing) return;
    this.#options.keeper.deadlines.close();
    this.#end.resolve();
  }
}
