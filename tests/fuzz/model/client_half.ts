/**
 * One call as its client sees it, as a model: what the protocol and the documentation say, in plain
 * data. What it sends is in `out`; what its caller sees is in `shows()`.
 */

import { Code } from "../../../status.ts";
import {
  EMPTY,
  type Ending,
  ending,
  FINE,
  givesMany,
  type Message,
  type MethodName,
  NOT_DECODED,
  NOT_ENCODED,
  shown,
  sizeOf,
  takesMany,
  tooLong,
  UNDECODABLE,
  UNENCODABLE,
} from "./messages.ts";

/** A frame without its id. */
export interface ModelFrame {
  readonly type: "request" | "response" | "data" | "cancel";
  /** The message in it, if there is one. */
  readonly message?: Message | undefined;
  /** Of a response: how the call ended. Of a cancel: why, if that is the deadline. */
  readonly status?: Ending;
  /** Whether it says that no more data comes. */
  readonly last?: boolean;
}

/** What comes of a caller's iterable of messages: a message, its end, or an error. */
export type SourceItem = { readonly message: Message } | "end" | Ending;

/** What a call is made with. */
export interface ClientPlan {
  readonly method: MethodName;
  /** The request of a method that takes one message. */
  readonly request?: Message | undefined;
  /** The messages of one that takes many, if they are there from the beginning. */
  readonly list?: readonly Message[] | undefined;
  /** The bytes of the Request in its envelope, without a deadline. */
  readonly requestLength: number;
  /** The limit on messages, in bytes. */
  readonly limit: number;
  /** The call's `timeoutMs`. */
  readonly timeoutMs: number | undefined;
  /** How the call ends because of its signal, if that is aborted when the call is made. */
  readonly aborted: Ending | undefined;
  /** Whether the client has interceptors. Calls that they are told to refuse are not counted. */
  readonly intercepted: boolean;
}

/** How calls end that are made now, if there is nothing to send them on. */
export interface Refusal {
  readonly ending: Ending;
  /** Whether it was the client itself that has ended the connection. */
  readonly closed: boolean;
}

export const GIVEN_UP = ending(Code.CANCELLED, "the caller gave up");

export class ClientHalf {
  readonly plan: ClientPlan;
  /** Frames that were sent and have not left yet. */
  out: ModelFrame[] = [];
  state: "new" | "open" | "half-closed" | "over" = "new";
  status: Ending | undefined;
  /** Whether it counts as a call that was started. */
  counted = false;
  /** What the caller's iterable will give. */
  source: SourceItem[] = [];
  sourceState: "unused" | "in use" | "at its end" = "unused";
  /** The iterable has thrown this, and the call does not know yet. */
  raised: Ending | undefined;
  /** The iterable has ended, and the call does not know yet. */
  ended = false;
  /** How often the iterable was told that no more is wanted. */
  stops = 0;
  inbox: Message[] = [];
  /** Calls of `next()` that wait, and what the others gave. */
  asking = 0;
  answers: string[] = [];
  /** The caller has had the end, or has left. */
  done = false;
  /** How a call of one response ended. */
  reply: string | undefined;
  #key: string | undefined;

  constructor(plan: ClientPlan) {
    this.plan = plan;
    if (plan.list) this.source = [...plan.list.map((message) => ({ message })), "end"];
  }

  clone(): ClientHalf {
    const copy = Object.assign(new ClientHalf(this.plan), this);
    copy.out = [...this.out];
    copy.source = [...this.source];
    copy.inbox = [...this.inbox];
    copy.answers = [...this.answers];
    return copy;
  }

  /** What a caller can see. */
  shows(): string[] {
    const { answers, asking, reply, stops, source, sourceState } = this;
    const outcome = givesMany(this.plan.method)
      ? [...answers, ...new Array(asking).fill("waits")]
      : [reply ?? "waits"];
    const left = sourceState === "in use" ? `${source.length} requests left` : "";
    return [...outcome, `stopped ${stops} times`, left];
  }

  /** Tells halves apart that have sent what they had to send. */
  key(): string {
    const { state, status, counted, source, raised, ended, inbox, done } = this;
    const waiting = source.length > 0 ? JSON.stringify(source) : "";
    return this.#key ??= [
      `${state} ${status?.code} ${status?.message} ${counted} ${raised?.message} ${ended} ${done}`,
      waiting,
      inbox,
      ...this.shows(),
    ].join("\n");
  }

  /** The call is made. */
  begin(refusal: Refusal | undefined): void {
    const { method, request, timeoutMs, aborted, intercepted } = this.plan;
    if (this.state !== "new") return;
    const late = timeoutMs !== undefined && timeoutMs <= 0;
    const unencodable = request === UNENCODABLE;
    if (intercepted) {
      // The client does not make a call that is over, and so does not count it.
      if (refusal?.closed) return this.#end(refusal.ending);
      if (aborted) return this.#end(aborted);
      if (late) return this.expire();
    }
    if (unencodable) return this.#end(NOT_ENCODED);
    this.counted = true;
    if (aborted) return this.#end(aborted);
    if (late) return this.expire();
    if (refusal) return this.#end(refusal.ending);
    const { requestLength, limit } = this.plan;
    // How long a Request with a deadline is depends on what is left of the time.
    const length = timeoutMs === undefined ? requestLength : "*";
    if (requestLength > limit) return this.#end(tooLong(length, limit));
    const many = takesMany(method);
    this.state = many ? "open" : "half-closed";
    if (many) this.sourceState = "in use";
    this.out.push({ type: "request", message: request, last: method === "down" });
  }

  /** Whether the engine is about to take something of the caller's iterable. */
  get pulls(): boolean {
    return this.sourceState === "in use" && this.state === "open" && this.source.length > 0;
  }

  /** Takes the next of the caller's iterable, and sends it. */
  pull(): void {
    const item = this.source.shift()!;
    if (item === "end") {
      this.sourceState = "at its end";
      this.ended = true;
    } else if ("code" in item) {
      this.sourceState = "at its end";
      this.raised = item;
    } else if (item.message === UNENCODABLE) this.#cancel(NOT_ENCODED);
    else if (sizeOf(item.message) > this.plan.limit) {
      this.#cancel(tooLong(sizeOf(item.message), this.plan.limit));
    } else this.out.push({ type: "data", message: item.message });
  }

  /** The call hears that its iterable has ended. */
  finish(): void {
    this.ended = false;
    this.#halfClose();
  }

  /** The call hears of what its iterable has thrown. */
  raise(): void {
    this.#cancel(this.raised!);
  }

  /** The caller asks for a message. */
  next(): void {
    if (this.done) this.answers.push("done");
    else this.asking++;
  }

  /** The caller leaves the stream. */
  leave(): void {
    if (!this.done) this.#leave();
  }

  /** The caller's signal is aborted, or the deadline has passed. */
  giveUp(status: Ending): void {
    if (this.state !== "over") this.#cancel(status);
    else if (this.settles) this.reply = shown(status); // interceptors had the reply
  }

  expire(): void {
    const message = `the deadline of ${this.plan.timeoutMs} ms has passed`;
    this.giveUp(ending(Code.DEADLINE_EXCEEDED, message));
  }

  /** The connection has ended. What has come can still be taken. */
  disconnect(status: Ending): void {
    if (this.state !== "over" && this.state !== "new") this.#end(status);
  }

  /** A frame has come. Of a call that is over it is ignored. */
  receive({ type, message, status = FINE, last }: ModelFrame): void {
    const { method } = this.plan;
    if (this.state !== "open" && this.state !== "half-closed") return;
    if (type === "request") return;
    if (type === "response") {
      if (status.code !== Code.OK) return this.#end(status);
      if (!givesMany(method)) this.inbox.push(message ?? EMPTY);
      else if (message !== undefined && message !== EMPTY) this.inbox.push(message);
      return this.#end(FINE);
    }
    if (!givesMany(method)) {
      const kind = method === "one" ? "unary" : "client_streaming";
      return this.#cancel(ending(Code.INTERNAL, `a Data frame came for a ${kind} call`));
    }
    if (message !== undefined) this.inbox.push(message);
    if (last) this.#end(FINE);
  }

  #halfClose(): void {
    if (this.state !== "open") return;
    this.state = "half-closed";
    this.out.push({ type: "data", last: true });
  }

  /** Ends the call, and tells the server. What has come is dropped. */
  #cancel(status: Ending): void {
    if (this.state === "open" || this.state === "half-closed") {
      const late = status.code === Code.DEADLINE_EXCEEDED;
      this.out.push(late ? { type: "cancel", status } : { type: "cancel" });
    }
    this.#halfClose();
    this.inbox = [];
    this.#end(status);
  }

  #end(status: Ending): void {
    this.state = "over";
    this.status = status;
    if (this.sourceState === "in use") {
      this.sourceState = "at its end";
      this.stops++;
    }
    this.raised = undefined;
    this.ended = false;
    if (this.settles && !this.plan.intercepted) this.settle();
  }

  /** Whether the caller of one response is about to get it. */
  get settles(): boolean {
    return this.state === "over" && this.reply === undefined && !givesMany(this.plan.method);
  }

  settle(): void {
    const message = this.inbox.shift();
    if (message === undefined) this.reply = shown(this.status!);
    else this.reply = message === UNDECODABLE ? shown(NOT_DECODED) : message;
  }

  /** Whether a caller who asks for a message is about to get something. */
  get answering(): boolean {
    return this.asking > 0 && (this.inbox.length > 0 || this.state === "over");
  }

  /** Gives the one who was the first to ask what there is. */
  answer(): void {
    this.asking--;
    const message = this.inbox.shift();
    if (message === UNDECODABLE) {
      this.answers.push(shown(NOT_DECODED));
      this.#leave();
    } else if (message !== undefined) this.answers.push(message);
    else {
      const { status } = this;
      this.answers.push(status!.code === Code.OK ? "done" : shown(status!));
      this.#leave();
    }
  }

  #leave(): void {
    this.done = true;
    this.inbox = [];
    this.answers.push(...new Array(this.asking).fill("done"));
    this.asking = 0;
    if (this.state !== "over") this.#cancel(GIVEN_UP);
  }
}
