/**
 * A call in the client's role: watches its deadline and signal, sends its messages, and ends it.
 *
 * @module
 */

import type { CallSettings } from "./call_options.ts";
import { encodeResponse } from "../wire/envelope.ts";
import type { Metadata } from "../metadata.ts";
import { sendMessages } from "./messages.ts";
import type { Method } from "./method.ts";
import type { Messages } from "../service.ts";
import { type Abortable, unwatchSignal, watchSignal } from "../async/signals.ts";
import { abortStatus, Code, type Status, statusOf } from "../status.ts";
import { type CallKeeper, Stream } from "./stream.ts";
import { NO_BYTES } from "../wire/writer.ts";

/** What a call needs of its client. */
export interface ClientKeeper extends CallKeeper {
  /** The calls that wait for a connection. */
  readonly waiting: Set<ClientCall>;
}

/** What a call sends: the contents of its Request, and the messages after it. */
export interface CallRequest {
  /** The encoded message of a method that takes one. */
  readonly payload: Uint8Array;
  /** The metadata. */
  readonly metadata: Metadata | undefined;
  /** The messages of a method that takes a stream of them. */
  readonly messages: Messages<unknown> | undefined;
}

/** What is told that a call has ended. */
export interface CallGuard {
  /** The call has ended. */
  attemptEnded(call: ClientCall): void;
}

/** A call, from the client's options to its status. */
export class ClientCall extends Stream implements Abortable {
  /** What is to be sent, until it is sent or the call is over. */
  request: CallRequest | undefined;
  /** Is told when the call has ended. */
  guard: CallGuard | undefined;
  readonly #timeoutMs: number | undefined;
  #signal: AbortSignal | undefined;
  readonly #client: ClientKeeper;

  /**
   * Starts to watch the deadline and the signal. If the deadline has passed or the signal is
   * aborted, the call is over.
   *
   * @param method The method.
   * @param settings The options of the call.
   * @param request What to send.
   * @param client Watches the deadline, and counts the call.
   */
  constructor(
    method: Method,
    settings: CallSettings,
    request: CallRequest,
    client: ClientKeeper,
  ) {
    const { deadline, timeoutMs, signal } = settings;
    super("client", method, deadline);
    this.request = request;
    this.#timeoutMs = timeoutMs;
    this.#signal = signal;
    this.#client = client;
    client.tally.start();
    if (signal?.aborted) this.aborted();
    else if (timeoutMs !== undefined && timeoutMs <= 0) this.expire();
    else {
      if (signal) watchSignal(signal, this);
      client.deadlines.add(this);
    }
  }

  /** Cancels the call: nothing more is sent or received, and the caller gets the status. */
  cancel(status: Status): void {
    if (this.status) return this.ignore();
    if (this.id !== 0) {
      this.sendCancel(status.code === Code.DEADLINE_EXCEEDED ? TOO_LATE : NO_BYTES);
      this.halfClose(); // the most that can be told to a server which does not support Cancel
    }
    this.abandon(status);
  }

  overrun(): void {
    if (this.status) this.lose(OVERRUN);
    else this.cancel(OVERRUN);
  }

  release(): void {
    this.cancel(GIVEN_UP);
  }

  aborted(): void {
    this.cancel(abortStatus(this.#signal!));
  }

  expire(): void {
    this.cancel(deadlineStatus(this.#timeoutMs));
  }

  protected ended({ code }: Status): void {
    this.request = undefined;
    this.#client.tally.end(code);
    if (this.id === 0) this.#client.waiting.delete(this);
    if (this.#signal) unwatchSignal(this.#signal, this);
    this.#signal = undefined; // messages that wait keep the call in memory, but not its signal
    if (this.deadline !== Infinity) this.#client.deadlines.delete(this);
    this.guard?.attemptEnded(this);
    this.guard = undefined;
  }

  /**
   * Sends the messages of a client-streaming call, then half-closes. Never rejects: an error
   * becomes the call's status.
   */
  async sendAll(messages: Messages<unknown>): Promise<void> {
    try {
      await sendMessages(this, this.method.input, messages);
      if (!this.status) this.halfClose();
    } catch (error) {
      // An error of messages that are no longer needed is ignored.
      if (!this.status) this.cancel(statusOf(error));
    }
  }
}

/**
 * The status of a call whose deadline has passed.
 *
 * @param timeoutMs The call's timeout, in milliseconds.
 * @returns The status.
 */
export function deadlineStatus(timeoutMs: number | undefined): Status {
  return {
    code: Code.DEADLINE_EXCEEDED,
    message: `the deadline of ${timeoutMs} ms has passed`,
  };
}

/** The data of a Cancel frame for a call whose deadline has passed. */
const TOO_LATE = encodeResponse({
  status: { code: Code.DEADLINE_EXCEEDED, message: "" },
  payload: NO_BYTES,
});

const GIVEN_UP: Status = { code: Code.CANCELLED, message: "the caller gave up" };

const OVERRUN: Status = {
  code: Code.RESOURCE_EXHAUSTED,
  message: "its messages are not taken, which holds up other calls on the connection: " +
    "take them faster, make the other calls on another connection, or raise " +
    "limits.connectionQueueBytes",
};
