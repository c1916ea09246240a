/**
 * One call as its connection sees it, in either role. All four kinds of call are streams; a unary
 * call is one of a single message each way.
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
 * ends a call when it has the server's Response or last Data frame, a server when it has sent one of
 * these; so a call that both sides have half-closed is closed.
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
  /** Watches deadlines. */
  readonly deadlines: Deadlines;
  /** Counts. */
  readonly tally: Tally;
}

/** What a stream needs of its connection. */
export interface StreamHost {
  /** The bounds. */
  readonly limits: Readonly<Limits>;
  /** Whether calls that are given up are cancelled. */
  readonly cancels: boolean;
  /** Where frames are written. */
  readonly queue: WriteQueue;
  /** What received messages count into. */
  readonly backlog: Backlog;
  /** What messages count into that wait to be sent. */
  readonly held: HeldBytes;
  /** The stream has ended, and is to be forgotten. */
  forget(stream: Stream): void;
}

/**
 * The bytes of a call's encoded messages so far, without their envelopes and headers.
 *
 * @category Interceptors
 */
export interface MessageSizes {
  /** Sent by this side. */
  sent: number;
  /** Received by this side. */
  received: number;
}

type State = "idle" | "open" | "half-closed (local)" | "half-closed (remote)" | Status;

/** One call. */
export abstract class Stream extends Inbox implements Expirable {
  /** The id on the wire; zero before the stream is open. */
  id = 0;
  /** The method. */
  readonly method: Method;
  /** When the call ends with `DEADLINE_EXCEEDED`, in milliseconds of {@linkcode performance.now}. */
  deadline: number;
  /** Counts the bytes of messages, if somebody wants to know. */
  sizes: MessageSizes | undefined;
  /** About how many bytes of memory the last message that was decoded for it takes. */
  decodedBytes = 0;
  /** Where the messages come from that are being sent. It is told to stop when the call ends. */
  source: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  /**
   * What this side's code may still be at although the call is over. A generator that is told to stop
   * has stopped when it is done with what it waits for.
   */
  work: PromiseLike<unknown> | undefined;
  /** How long the messages are that this side sends for the method, if somebody wants to know. */
  replies: Expectation | undefined;
  readonly #role: "client" | "server";
  #state: State = "idle";
  #host: StreamHost | undefined;
  #writable: (() => void) | undefined;

  /**
   * @param role Which side this is.
   * @param method The method.
   * @param deadline When the call ends; `Infinity` for never.
   */
  constructor(role: "client" | "server", method: Method, deadline: number) {
    super();
    this.#role = role;
    this.method = method;
    this.deadline = deadline;
  }

  /** How the call ended; `undefined` while it has not. */
  get status(): Status | undefined {
    return typeof this.#state === "object" ? this.#state : undefined;
  }

  /** Whether so much waits for the socket that this call should wait, too. */
  get congested(): boolean {
    return this.#host!.queue.congested;
  }

  /** The bounds of its connection. */
  get limits(): Readonly<Limits> {
    return this.#host!.limits;
  }

  /** The deadline has passed. */
  abstract expire(): void;

  /** Nobody will take more messages. */
  abstract release(): void;

  /** The stream holds up others: nobody takes its messages. It may have ended already. */
  abstract overrun(): void;

  /** The stream has just ended: called once. */
  protected abstract ended(status: Status): void;

  /** Gives the stream its connection, on which it will be opened. */
  attach(host: StreamHost): void {
    this.#host = host;
    this.backlog = host.backlog;
  }

  /** The Request is sent, or has come. */
  open(id: number): void {
    this.id = id;
    this.#state = this.method.clientStreaming
      ? "open"
      : this.#role === "client"
      ? "half-closed (local)"
      : "half-closed (remote)";
  }

  /**
   * A Data frame has come.
   *
   * @returns Whether the stream takes it: not if the peer may send no message, or no more.
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
   * Tells the server that the call is given up. One that does not know the frame ignores it.
   *
   * @param data Why: a Response, encoded, or nothing.
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
   * @param bytes How long the message is that waits. It counts as held meanwhile.
   */
  async room(bytes: number): Promise<void> {
    const { held } = this.#host!;
    held.change(bytes);
    while (this.congested && !this.status) await this.writable();
    held.change(-bytes);
  }

  /** Settles when the write queue has room, writing has failed, or the call has ended. */
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
   * Ends the call. Messages that wait can still be taken. Only the first end counts.
   *
   * @param status How.
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

  /** Drops the messages that wait on a call that has ended: whoever comes for them hears why. */
  protected lose(status: Status): void {
    if (this.queuedBytes > 0) this.#state = status;
    this.ignore();
  }

  /**
   * Tells the source that no more is wanted. What it does then concerns nobody any more, so it is
   * not waited for, and its errors go nowhere.
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
