/**
 * One call as the client sees it.
 *
 * @module
 */

import type { Deadlines } from "./deadline.ts";
import { type SendHost, sendMessages } from "./messages.ts";
import { Metadata, type MetadataInit } from "./metadata.ts";
import type { CallDefaults, CallOptions, Messages, Method } from "./service.ts";
import type { Tally } from "./stats.ts";
import { abortError, Code } from "./status.ts";
import { type Outcome, outcomeOf, Stream } from "./stream.ts";

/** What a call needs of its client. */
export interface CallKeeper {
  /** Watches deadlines. */
  readonly deadlines: Deadlines;
  /** Counts. */
  readonly tally: Tally;
}

/** A call, from the client's options to its outcome. */
export class Call extends Stream implements EventListenerObject {
  /** The method. */
  readonly method: Method;
  readonly #timeoutMs: number | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #client: CallKeeper;
  #connection: SendHost | undefined;

  /**
   * Starts to watch the deadline and the signal. If one of them is over, so is the call.
   *
   * @param method What to call.
   * @param options How.
   * @param client Watches the deadline, and counts the call.
   * @throws {RangeError} If `timeoutMs` is not a number.
   */
  constructor(method: Method, options: CallOptions, client: CallKeeper) {
    const { timeoutMs, signal } = options;
    if (timeoutMs !== undefined && (typeof timeoutMs !== "number" || Number.isNaN(timeoutMs))) {
      throw new RangeError(`Cannot call ${method.path} with a timeout of ${timeoutMs} ms`);
    }
    const deadline = timeoutMs === undefined ? Infinity : performance.now() + timeoutMs;
    super(method.serverStreaming, method.clientStreaming, deadline);
    this.method = method;
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
    this.#client = client;
    client.tally.start();
    if (signal?.aborted) this.handleEvent();
    else if (timeoutMs !== undefined && timeoutMs <= 0) this.expire();
    else {
      signal?.addEventListener("abort", this);
      if (deadline !== Infinity) client.deadlines.add(this);
    }
  }

  /** Gives the call up: nothing more is sent or received, and the caller gets the outcome. */
  cancel(outcome: Outcome): void {
    if (this.outcome) {
      this.ignoreRemote();
      return;
    }
    this.abandon(outcome);
    // The wire has no way to cancel; to half-close is as near as it gets.
    if (this.id !== 0 && this.streamsOut && !this.localClosed) this.#connection?.sendClose(this);
  }

  /** Nobody has taken the messages for too long, whether or not the call has ended meanwhile. */
  overrun(outcome: Outcome): void {
    if (this.outcome) this.lose(outcome);
    else this.cancel(outcome);
  }

  get path(): string {
    return this.method.path;
  }

  release(): void {
    this.cancel(GIVEN_UP);
  }

  /** The signal was aborted. */
  handleEvent(): void {
    this.cancel(outcomeOf(abortError(this.#signal!)));
  }

  expire(): void {
    const message = `the deadline of ${this.#timeoutMs} ms has passed`;
    this.cancel({ code: Code.DEADLINE_EXCEEDED, message, details: [] });
  }

  protected ended({ code }: Outcome): void {
    this.#client.tally.end(code);
    this.#signal?.removeEventListener("abort", this);
    if (this.deadline !== Infinity) this.#client.deadlines.delete(this);
  }

  /**
   * Sends the requests of a client-streaming call, then half-closes. Never rejects: what goes
   * wrong is the call's outcome.
   */
  async sendAll(connection: SendHost, requests: Messages<unknown>): Promise<void> {
    this.#connection = connection;
    try {
      await sendMessages(this, connection, this.method.input, requests);
      if (!this.outcome) connection.sendClose(this);
    } catch (error) {
      this.cancel(outcomeOf(error));
    }
  }
}

const GIVEN_UP: Outcome = { code: Code.CANCELLED, message: "the caller gave up", details: [] };

/**
 * Options over defaults. A key of metadata that the options have replaces the default's.
 *
 * @param options Those of the call. May be a handler's context, whose fields are not its own.
 * @param defaults Those of the client or the service.
 * @returns Both.
 */
export function withDefaults(
  options: CallOptions | undefined,
  defaults: CallDefaults | undefined,
): CallOptions {
  if (!defaults) return options ?? NO_OPTIONS;
  if (!options) return defaults;
  return {
    signal: options.signal,
    timeoutMs: options.timeoutMs ?? defaults.timeoutMs,
    metadata: mergeMetadata(options.metadata, defaults.metadata),
  };
}

const NO_OPTIONS: CallOptions = {};

function mergeMetadata(
  own: MetadataInit | undefined,
  defaults: MetadataInit | undefined,
): MetadataInit | undefined {
  if (!own || !defaults) return own ?? defaults;
  const merged = new Metadata(defaults);
  const given = new Metadata(own);
  for (const [key] of given) merged.delete(key);
  for (const [key, value] of given) merged.append(key, value);
  return merged;
}
