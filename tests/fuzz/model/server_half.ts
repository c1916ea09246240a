/**
 * One call as its server and its handler see it, as a model: what the protocol and the documentation
 * say, in plain data. What it sends is in `out`; what the handler sees is in `shows()`.
 */

import { Code } from "../../../status.ts";
import type { ModelFrame } from "./client_half.ts";
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

/** What a handler is to do next. */
export type Command =
  | { readonly do: "take" | "quit" }
  | { readonly do: "emit" | "finish"; readonly message: Message }
  | { readonly do: "throw"; readonly status: Ending; readonly plain: boolean };

/** What kind of handler it is. */
export interface ServerPlan {
  readonly method: MethodName;
  /** The limit on messages, in bytes. */
  readonly limit: number;
  /** Whether the handler leaves when its signal is aborted. */
  readonly polite: boolean;
  /** Whether it looks at its signal at all. A polite one does. */
  readonly listens: boolean;
  /** Whether the server has interceptors: through them calls are refused a moment later. */
  readonly intercepted: boolean;
  /** Whether interceptors take their time before the handler runs. */
  readonly slow: boolean;
}

/** What a Request says beside the names. */
export interface ModelRequest {
  readonly message: Message | undefined;
  /** Whether the client sends nothing more. */
  readonly last: boolean;
  /** Whether the deadline had passed when it was sent. */
  readonly late?: boolean;
}

export const DEADLINE_PASSED = ending(Code.DEADLINE_EXCEEDED, "the deadline has passed");
export const SHUTTING_DOWN = ending(Code.UNAVAILABLE, "server is shutting down");
export const NOT_ACTIVE = ending(Code.INVALID_ARGUMENT, "StreamID is no longer active");
export const AFTER_HALF_CLOSE = ending(Code.INVALID_ARGUMENT, "data came after the half-close");
export const SINGLE = ending(Code.INVALID_ARGUMENT, "the method takes a single request");
const CANCELLED = ending(Code.CANCELLED, "the client has cancelled the call");
const COMPLETE = ending(Code.CANCELLED, "the call is complete");

export class ServerHalf {
  readonly plan: ServerPlan;
  /** Frames that were sent and have not left yet. */
  out: ModelFrame[] = [];
  state: "new" | "open" | "half-closed" | "refused" | "over" = "new";
  status: Ending | undefined;
  /** Why it is refused, which interceptors are still being told. */
  refusal: Ending | undefined;
  inbox: Message[] = [];
  #ignoring = false;
  #cancelled = false;
  /** The handler: it may have to wait for interceptors before it begins. */
  handler: "none" | "about to run" | "running" | "leaving" | "gone" = "none";
  /** What it was called with. */
  request: Message | undefined;
  commands: Command[] = [];
  /** It waits for a message. */
  taking = false;
  /** It has given a message, and waits to be asked for the next one. */
  yielding = false;
  #takenAll = false;
  /** Whether the client has sent its last message, and none of them was dropped. */
  #complete = false;
  /** What it has thrown, of which the call does not know yet. */
  thrown: { readonly status: Ending; readonly plain: boolean } | undefined;
  /** What its requests gave. */
  heard: string[] = [];
  /** How many commands it is done with. */
  did = 0;
  /** How many of its errors nobody else hears of. */
  reported = 0;
  #key: string | undefined;

  constructor(plan: ServerPlan) {
    this.plan = plan;
  }

  clone(): ServerHalf {
    const copy = Object.assign(new ServerHalf(this.plan), this);
    copy.#ignoring = this.#ignoring;
    copy.#cancelled = this.#cancelled;
    copy.#takenAll = this.#takenAll;
    copy.#complete = this.#complete;
    copy.out = [...this.out];
    copy.inbox = [...this.inbox];
    copy.commands = [...this.commands];
    copy.heard = [...this.heard];
    return copy;
  }

  /** Whether a Request has come: it counts as a call that was started. */
  get counted(): boolean {
    return this.state !== "new";
  }

  get inFlight(): boolean {
    return this.state === "open" || this.state === "half-closed";
  }

  /** What a handler can see. */
  shows(): string[] {
    const { handler, request, heard, taking, did, reported } = this;
    if (handler === "none" || handler === "about to run") return ["not called"];
    return [
      `called with ${request ?? "messages"}`,
      ...heard,
      taking ? "waits" : "",
      handler === "gone" ? "left" : `has done ${did}`,
      this.plan.listens ? this.reason() : "",
      `${reported} errors reported`,
    ];
  }

  /** What the handler's signal says. */
  reason(): string {
    const { status } = this;
    if (!status) return "goes on";
    if (status.code === Code.DEADLINE_EXCEEDED) return `TimeoutError: ${status.message}`;
    return shown(status.code === Code.OK ? COMPLETE : status);
  }

  /** Tells halves apart that have sent what they had to send. */
  key(): string {
    const { state, status, refusal, inbox, handler, commands, thrown, yielding } = this;
    const waiting = commands.length > 0 ? JSON.stringify(commands) : "";
    return this.#key ??= [
      `${state} ${status?.code} ${status?.message} ${refusal?.message} ${handler}`,
      `${thrown?.status.message} ${yielding} ${this.#ignoring} ${this.#takenAll} ${this.#complete}`,
      `${this.#cancelled}`,
      waiting,
      inbox,
      ...this.shows(),
    ].join("\n");
  }

  /** A Request has come, for which there is a handler. */
  accept({ message, last, late }: ModelRequest): void {
    const { method, slow, intercepted } = this.plan;
    this.state = "open";
    if (late) return this.end(DEADLINE_PASSED);
    const many = takesMany(method);
    if (many && message !== undefined && message !== EMPTY) this.inbox.push(message);
    if (!many || last) this.state = "half-closed";
    this.#complete = this.state === "half-closed";
    if (!many && message === UNDECODABLE) {
      this.refusal = NOT_DECODED;
      if (!intercepted) this.tell();
      return;
    }
    this.request = many ? undefined : message ?? EMPTY;
    this.handler = "about to run";
    if (!slow) this.enter();
  }

  /** A Request has come, and is refused. */
  refuse(status: Ending): void {
    this.state = "refused";
    this.refusal = status;
    if (!this.plan.intercepted) this.tell();
  }

  /** The client of a call that is refused is told. */
  tell(): void {
    const status = this.refusal!;
    this.refusal = undefined;
    if (this.state === "over") return;
    this.out.push({ type: "response", status });
    this.#over(status);
  }

  /** Interceptors have passed the call on. If it is over, its handler does not run any more. */
  enter(): void {
    this.handler = this.inFlight ? "running" : "none";
  }

  /** A Data frame has come. */
  receive({ message, last }: ModelFrame): void {
    if (this.state === "refused") return; // its answer is on its way
    if (this.#cancelled) return; // the half-close, for servers that know nothing else
    if (this.state === "open") {
      if (message !== undefined && !this.#ignoring) this.inbox.push(message);
      if (last) {
        this.state = "half-closed";
        this.#complete = true;
      }
      this.#hear();
    } else if (this.state !== "half-closed") {
      this.out.push({ type: "response", status: NOT_ACTIVE });
    } else if (takesMany(this.plan.method)) this.end(AFTER_HALF_CLOSE);
    else this.out.push({ type: "response", status: SINGLE });
  }

  /** The client has given the call up: nothing more is sent. */
  cancel(late: boolean): void {
    this.#cancelled = true;
    if (this.inFlight || this.state === "refused") this.#over(late ? DEADLINE_PASSED : CANCELLED);
  }

  /** Whether the handler is about to do what it is told. */
  get acts(): boolean {
    const free = this.handler === "running" && !this.taking && !this.yielding;
    return free && this.commands.length > 0;
  }

  /** The handler leaves, or does what it had begun to do when its call ended, and leaves then. */
  leave(acts: boolean): void {
    if (acts) this.act();
    this.handler = "gone";
  }

  /** The handler does what it is told. */
  act(): void {
    const command = this.commands.shift()!;
    if (command.do === "take") {
      this.taking = true;
      this.#hear();
    } else if (command.do === "quit") {
      this.#takenAll = true;
      this.did++;
      this.#ignore();
    } else if (command.do === "emit") {
      this.#emit(command.message);
    } else {
      this.handler = "gone";
      if (command.do === "throw") this.thrown = command;
      else if (command.do === "finish") this.#finish(command.message);
    }
  }

  #emit(message: Message): void {
    const wrong = this.#wrongWith(message, sizeOf);
    if (this.inFlight && !wrong) {
      this.yielding = true;
      this.out.push({ type: "data", message });
    } else this.handler = "gone"; // nobody asks for more of its messages
    if (wrong) this.end(wrong);
  }

  /** The call hears of what its handler has thrown. */
  fail(): void {
    const { status, plain } = this.thrown!;
    this.thrown = undefined;
    if (plain) this.reported++;
    this.end(status);
  }

  /** The handler is asked for the next message. */
  resume(): void {
    this.yielding = false;
    this.did++;
  }

  #finish(message: Message): void {
    if (!this.inFlight) return;
    if (givesMany(this.plan.method)) {
      this.out.push({ type: "data", last: true });
      this.#over(FINE);
      return;
    }
    const wrong = this.#wrongWith(message, inEnvelope);
    if (wrong) return this.end(wrong);
    this.out.push({ type: "response", message });
    this.#over(FINE);
  }

  #wrongWith(message: Message, lengthOf: (message: Message) => number): Ending | undefined {
    if (message === UNENCODABLE) return NOT_ENCODED;
    const { limit } = this.plan;
    return lengthOf(message) > limit ? tooLong(lengthOf(message), limit) : undefined;
  }

  /** The call ends badly, and its client is told. What has come is dropped. */
  end(status: Ending): void {
    if (!this.inFlight) return;
    this.out.push({ type: "response", status });
    this.#over(status);
  }

  /** The connection has ended. What has come can still be taken. */
  disconnect(status: Ending): void {
    if (this.inFlight || this.state === "refused") this.#over(status, true);
  }

  #over(status: Ending, keeps = false): void {
    this.state = "over";
    this.status = status;
    if (!keeps) this.#ignore();
    this.#hear();
    if (this.handler !== "running") return;
    if (this.yielding) this.handler = "gone";
    else if (this.plan.polite) this.handler = this.commands.length > 0 ? "leaving" : "gone";
  }

  #ignore(): void {
    this.#ignoring = true;
    if (this.inbox.length > 0) this.#complete = false;
    this.inbox = [];
  }

  /** Gives a handler that waits for a message what there is. */
  #hear(): void {
    if (!this.taking) return;
    const message = this.#takenAll ? undefined : this.inbox.shift();
    if (message === undefined && this.state === "open" && !this.#takenAll) return;
    this.taking = false;
    this.did++;
    if (message === UNDECODABLE) {
      this.heard.push(shown(NOT_DECODED));
      this.#takenAll = true;
      this.#ignore();
    } else if (message !== undefined) this.heard.push(message);
    else {
      const failed = !this.#takenAll && !this.#complete && this.status !== undefined &&
        this.status.code !== Code.OK;
      this.heard.push(failed ? shown(this.status!) : "done");
      this.#takenAll = true;
    }
  }
}

/** The length of a Response that carries a message. */
function inEnvelope(message: Message): number {
  const size = sizeOf(message);
  if (size === 0) return 0;
  const lengthOfLength = size < 0x80 ? 1 : size < 0x4000 ? 2 : size < 0x200000 ? 3 : 4;
  return 1 + lengthOfLength + size;
}
