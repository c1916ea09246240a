/**
 * A stream: the state of one call on its connection, in either role. Calls of all four kinds are
 * streams; a unary call has a single message each way.
 *
 *     client: client-streaming, bidi      client: unary, server-streaming
 *
 *       idle                                idle
 *        | open()                            | open()
 *       open                                half-closed (local)
 *        | halfClose()                       | end()
 *       half-closed (local)                 closed
 *        | end()
 *       closed
 *
 *     server: client-streaming, bidi      server: unary, server-streaming
 *
 *       idle                                idle
 *        | open()                            | open()
 *       open                                half-closed (remote)
 *        | data() with the last flag         | end()
 *       half-closed (remote)                closed
 *        | end()
 *       closed
 *
 * end() leads from every state to closed, which is the status that the call ended with. A client
 * ends a call when it has received the server's Response or last Data frame, a server when it has
 * sent one of these; so a call that both sides have half-closed is closed.
 *
 * @module
 */

import type { Backlog } from "./backlog.ts";
import type { Deadlines, Expirable } from "../async/deadlines.ts";
import { checkLength, FrameFlag, FrameType, HEADER_LENGTH, writeHeader } from "../framing.ts";
import type { Expectation } from "./expected_replies.ts";
import type { HeldBytes } from "./held_bytes.ts";
import { Inbox } from "./inbox.ts";
import type { Limits } from "../limits.ts";
import type { Method } from "./method.ts";
import type { Tally } from "../stats.ts";
import type { Status } from "../status.ts";
import { isPromiseLike, tell } from "../async/tell.ts";
import type { WriteQueue } from "./write_queue.ts";

/** What a call needs of the client or server that it belongs to. */
export interface CallKeeper {
  /** Watches the deadlines of calls. */
  readonly deadlines: Deadlines;
  /** Counts calls. */
  readonly tally: Tally;
}

/** What a stream needs of its connection. */
export interface StreamHost {
  /** The limits. */
  readonly limits: Readonly<Limits>;
  /** Whether a Cancel frame is sent for calls that are cancelled. */
  readonly cancels: boolean;
  /** The write queue. */
  readonly queue: WriteQueue;
  /** Counts received messages that wait to be taken. */
  readonly backlog: Backlog;
  /** Counts messages that wait to be sent. */
  readonly held: HeldBytes;
  /** Removes a stream that has ended. */
  forget(stream: Stream): void;
}

/**
 * The bytes of a call's encoded messages so far, without envelopes and frame headers.
 *
 * @category Interceptors
 */
export interface MessageSizes {
  /** Bytes sent by this side. */
  sent: number;
  /** Bytes received by this side. */
  received: number;
}

type State = "idle" | "open" | "half-closed (local)" | "half-closed (remote)" | Status;

/** One call. */
export abstract class Stream extends Inbox implements Expirable {
  /** The id on the wire; zero before the stream is open. */
  id = 0;
  /** The method. */
  readonly method: Method;
  /** When the call ends with `DEADLINE_EXCEEDED`, in milliseconds of `performance.now()`. */
  deadline: number;
  /** Counts the bytes of messages, if interceptors need that. */
  sizes: MessageSizes | undefined;
  /** Estimated bytes of memory of the last message that was decoded. */
  decodedBytes = 0;
  /** The iterator of the messages being sent. Its `return()` is called when the call ends. */
  source: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  /**
   * Settles when this side's code has finished, which can be after the end of the call: a generator
   * only stops once what it awaits has settled.
   */
  work: PromiseLike<unknown> | undefined;
  /** The expected length of the messages that this side sends, if that counts. */
  replies: Expectation | undefined;
  readonly #role: "client" | "server";
  #state: State = "idle";
  #host: StreamHost | undefined;
  #writable: (() => void) | undefined;

  /**
   * @param role The role of this side.
   * @param method The method.
   * @param deadline The deadline, in milliseconds of `performance.now()`; `Infinity` for none.
   */
  constructor(role: "client" | "server", method: Method, deadline: number) {
    super();
    this.#role = role;
    this.method = method;
    this.deadline = deadline;
  }

  /** How the call ended; `undefined` before that. */
  get status(): Status | undefined {
    return typeof this.#state === "object" ? this.#state : undefined;
  }

  /** Whether so many bytes wait for the socket that this call has to wait. */
  get congested(): boolean {
    return this.#host!.queue.congested;
  }

  /** The limits of its connection. */
  get limits(): Readonly<Limits> {
    return this.#host!.limits;
  }

  /** The deadline has passed. */
  abstract expire(): void;

  /** No more messages will be taken. */
  abstract release(): void;

  /** Its messages are not taken, which holds up other streams. It may have ended already. */
  abstract overrun(): void;

  /** The stream has ended. Called once. */
  protected abstract ended(status: Status): void;

  /** Gives the stream its connection, on which it will be opened. */
  attach(host: StreamHost): void {
    this.#host = host;
    this.backlog = host.backlog;
  }

  /** The Request was sent or received. */
  open(id: number): void {
    this.id = id;
    this.#state = this.method.clientStreaming
      ? "open"
      : this.#role === "client"
      ? "half-closed (local)"
      : "half-closed (remote)";
  }

  /**
   * A Data frame was received.
   *
   * @returns `false` if the peer may send no messages, or no more of them.
   */
  data(flags: number, message: Uint8Array): boolean {
    const { method } = this;
    const streamsIn = this.#role === "client" ? method.serverStreaming : method.clientStreaming;
    const state = this.#state;
    if (!streamsIn || state === "half-closed (remote)" || typeof state === "object") return false;
    if ((flags & FrameFlag.NoData) === 0) this.push(message);
    if ((flags & FrameFlag.RemoteClosed) !== 0) this.closeRemote();
    return true;
  }

  /** The peer sends no more messages. */
  closeRemote(): void {
    if (this.#state === "open") this.#state = "half-closed (remote)";
    this.complete = true;
    this.close();
  }

  /**
   * Sends a message.
   *
   * @throws {RpcError} With `RESOURCE_EXHAUSTED` if it is too long. Nothing is sent then.
   */
  send(message: Uint8Array): void {
    const { queue, limits } = this.#host!;
    this.replies?.learn(message.length);
    checkLength(message.length, limits.messageBytes);
    writeHeader(queue.writer, this.id, FrameType.Data, 0, message.length);
    queue.writer.bytes(message);
    queue.send(HEADER_LENGTH + message.length, true);
  }

  /** Tells the peer that no more messages come. A client that has sent its last does nothing. */
  halfClose(): void {
    if (this.#role === "client") {
      if (this.#state !== "open") return;
      this.#state = "half-closed (local)";
    }
    const { queue } = this.#host!;
    const flags = FrameFlag.RemoteClosed | FrameFlag.NoData;
    writeHeader(queue.writer, this.id, FrameType.Data, flags, 0);
    queue.send(HEADER_LENGTH);
  }

  /**
   * Sends a Cancel frame, if the extension is on. Servers that do not support it ignore it.
   *
   * @param data The reason, an encoded Response; or no bytes.
   */
  sendCancel(data: Uint8Array): void {
    const { queue, cancels } = this.#host!;
    if (!cancels) return;
    writeHeader(queue.writer, this.id, FrameType.Cancel, 0, data.length);
    queue.writer.bytes(data);
    queue.send(HEADER_LENGTH + data.length);
  }

  /**
   * Waits until the write queue has room, or the call has ended.
   *
   * @param bytes The length of the message that waits, which counts as held until then.
   */
  async room(bytes: number): Promise<void> {
    const { held } = this.#host!;
    held.change(bytes);
    while (this.congested && !this.status) await this.writable();
    held.change(-bytes);
  }

  /** Resolves when the write queue has room, writing has failed, or the call has ended. */
  writable(): Promise<void> {
    return new Promise((resolve) => {
      this.#writable = () => {
        this.#writable = undefined;
        resolve();
      };
      this.#host!.queue.whenWritable(this.#writable);
    });
  }

  /**
   * Ends the call. Messages that wait can still be taken. Only the first status counts.
   *
   * @param status How the call ends.
   */
  end(status: Status): void {
    if (typeof this.#state === "object") return;
    this.#state = status;
    this.#host?.forget(this);
    if (this.#writable) {
      this.#host!.queue.cancelWritable(this.#writable);
      this.#writable();
    }
    this.close();
    this.ended(status);
    this.stopSource();
  }

  /** Ends the call, and drops the messages that wait. */
  abandon(status: Status): void {
    this.end(status);
    this.ignore();
  }

  /** Drops the messages that wait on a call that has ended. If there are any, changes its status. */
  protected lose(status: Status): void {
    if (this.queuedBytes > 0) this.#state = status;
    this.ignore();
  }

  /**
   * Tells the source that no more messages are needed. It is not waited for, and its errors are
   * ignored.
   */
  stopSource(): void {
    const { source } = this;
    if (source === undefined) return;
    this.source = undefined;
    tell(() => {
      const stopped = source.return?.();
      if (!isPromiseLike(stopped)) return stopped;
      const once = Promise.resolve(stopped);
      this.work = Promise.allSettled([this.work, once]);
      return once;
    });
  }
}
