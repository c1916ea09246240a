/**
 * One call as the client sees it.
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

/** What goes into a call's Request, and what comes after it. */
export interface CallRequest {
  /** The message of a method that takes one, encoded. */
  readonly payload: Uint8Array;
  /** The metadata. */
  readonly metadata: Metadata | undefined;
  /** The messages of a method that takes many. */
  readonly messages: Messages<unknown> | undefined;
}

/** What wants to know when a call has ended. */
export interface CallGuard {
  /** The call has ended. */
  attemptEnded(call: ClientCall): void;
}

/** A call, from the client's options to its status. */
export class ClientCall extends Stream implements Abortable {
  /** What is to be sent: kept until it is sent, or the call is over. */
  request: CallRequest | undefined;
  /** What is told when the call has ended. */
  guard: CallGuard | undefined;
  readonly #timeoutMs: number | undefined;
  #signal: AbortSignal | undefined;
  readonly #client: ClientKeeper;

  /**
   * Starts to watch the deadline and the signal. If one of them is over, so is the call.
   *
   * @param method What to call.
   * @param settings How.
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

  /** Gives the call up: nothing more is sent or received, and the caller gets the status. */
  cancel(status: Status): void {
    if (this.status) return this.ignore();
    if (this.id !== 0) {
      this.sendCancel(status.code === Code.DEADLINE_EXCEEDED ? TOO_LATE : NO_BYTES);
      this.halfClose(); // is all that a server hears which does not know how to cancel
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
    this.#signal = undefined; // messages that nobody takes keep the call, but no more
    if (this.deadline !== Infinity) this.#client.deadlines.delete(this);
    this.guard?.attemptEnded(this);
    this.guard = undefined;
  }

  /**
   * Sends the messages of a client-streaming call, then half-closes. Never rejects: what goes
   * wrong is the call's status.
   */
  async sendAll(messages: Messages<unknown>): Promise<void> {
    try {
      await sendMessages(this, this.method.input, messages);
      if (!this.status) this.halfClose();
    } catch (error) {
      // What is wrong with messages that nobody wants any more is no matter.
      if (!this.status) this.cancel(statusOf(error));
    }
  }
}

/**
 * The status of a call whose deadline has passed.
 *
 * @param timeoutMs What its caller has given, in milliseconds.
 * @returns The status.
 */
export function deadlineStatus(timeoutMs: number | undefined): Status {
  return {
    code: Code.DEADLINE_EXCEEDED,
    message: `the deadline of ${timeoutMs} ms has passed`,
  };
}

/** What a server is told when a call is given up because of its deadline. */
const TOO_LATE = encodeResponse({
  status: { code: Code.DEADLINE_EXCEEDED, message: "" },
  payload: NO_BYTES,
});

const GIVEN_UP: Status = { code: Code.CANCELLED, message: "the caller gave up" };

const OVERRUN: Status = {
  code: Code.RESOURCE_EXHAUSTED,
  message: "nobody takes its messages, and it holds up other calls on the connection: " +
    "take them faster, make the other calls on a connection of their own, or raise " +
    "limits.connectionQueueBytes",
};
