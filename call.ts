/**
 * One call as the client sees it.
 *
 * @module
 */

import type { Deadlines, Expirable } from "./deadline.ts";
import { type SendHost, sendMessages } from "./messages.ts";
import { Metadata, type MetadataInit } from "./metadata.ts";
import type { CallDefaults, CallOptions, Messages, Method } from "./service.ts";
import { type Abortable, checkSignal, unwatchSignal, watchSignal } from "./signal.ts";
import { abortError, Code } from "./status.ts";
import { type CallKeeper, type Outcome, outcomeOf, Stream } from "./stream.ts";
import { checkTime } from "./timer.ts";

/** A call, from the client's options to its outcome. */
export class Call extends Stream implements Abortable {
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
   * @throws {TypeError} If `signal` is no signal.
   */
  constructor(method: Method, options: CallOptions, client: CallKeeper) {
    const { timeoutMs, signal } = options;
    const deadline = performance.now() + checkTime("timeoutMs", timeoutMs);
    checkSignal(signal);
    super(method.serverStreaming, method.clientStreaming, deadline);
    this.method = method;
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
    this.#client = client;
    client.tally.start();
    if (signal?.aborted) this.aborted();
    else if (timeoutMs !== undefined && timeoutMs <= 0) this.expire();
    else {
      if (signal) watchSignal(signal, this);
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

  aborted(): void {
    this.cancel(outcomeOf(abortError(this.#signal!)));
  }

  expire(): void {
    this.cancel(deadlineOutcome(this.#timeoutMs));
  }

  protected ended({ code }: Outcome): void {
    this.#client.tally.end(code);
    if (this.#signal) unwatchSignal(this.#signal, this);
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

/**
 * What ends an intercepted call, whatever its interceptors do: its deadline, its signal, or the
 * client. The call itself has all of these, too, but interceptors may keep it from being made.
 */
export class Guard implements Abortable, Expirable {
  readonly deadline: number;
  /** Settles with the outcome when the call is over. */
  readonly over: Promise<Outcome>;
  readonly #options: CallOptions;
  readonly #deadlines: Deadlines;
  readonly #end: (outcome: Outcome) => void;

  /**
   * Starts to watch.
   *
   * @param options The deadline and the signal.
   * @param deadlines Watches the deadline.
   * @throws {RangeError | TypeError} As a {@linkcode Call} does.
   */
  constructor(options: CallOptions, deadlines: Deadlines) {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const { timeoutMs, signal } = options;
    this.deadline = performance.now() + checkTime("timeoutMs", timeoutMs);
    checkSignal(signal);
    this.over = promise;
    this.#end = resolve;
    this.#options = options;
    this.#deadlines = deadlines;
    if (this.deadline !== Infinity) deadlines.add(this);
    if (signal?.aborted) this.aborted();
    else if (signal) watchSignal(signal, this);
  }

  /** Ends the call. */
  end(outcome: Outcome): void {
    this.#end(outcome);
  }

  aborted(): void {
    this.end(outcomeOf(abortError(this.#options.signal!)));
  }

  expire(): void {
    this.end(deadlineOutcome(this.#options.timeoutMs));
  }

  /** Stops watching. */
  release(): void {
    this.#deadlines.delete(this);
    if (this.#options.signal) unwatchSignal(this.#options.signal, this);
  }
}

function deadlineOutcome(timeoutMs: number | undefined): Outcome {
  const message = `the deadline of ${timeoutMs} ms has passed`;
  return { code: Code.DEADLINE_EXCEEDED, message, details: [] };
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
