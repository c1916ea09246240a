/** Those who make a call and who answer it, told what to do step by step. */

import type {
  Client,
  HandlerContext,
  Messages,
  MessageStream,
  ServiceHandlers,
} from "@ttrpc/ttrpc";
import { Code, RpcError } from "../../../status.ts";
import type { SourceItem } from "./client_half.ts";
import {
  type Ending,
  givesMany,
  type Message,
  type MethodName,
  Service,
  shownError,
  takesMany,
} from "./messages.ts";
import { type CallStart, REASONS } from "./program.ts";
import type { Command } from "./server_half.ts";
import { TOLERATED } from "./tolerated.ts";

/** A plain error of one call, which has no code. */
export class Bug extends Error {
  constructor(readonly call: Actors, message: string) {
    super(message);
  }
}

/** What a caller sends, and whether the engine keeps to the rules of iterators. */
class Source implements AsyncIterable<Message> {
  /** How often it was told that no more is wanted. */
  stops = 0;
  readonly #call: Actors;
  readonly #items: SourceItem[] = [];
  #waiting: PromiseWithResolvers<IteratorResult<Message>> | undefined;
  #asked = false;
  #ended = false;
  #failed = false;

  constructor(call: Actors) {
    this.#call = call;
  }

  /** What the engine has not taken yet, if it is about to. */
  get left(): string {
    return this.#asked && !this.#ended ? `${this.#items.length} requests left` : "";
  }

  push(item: SourceItem): void {
    this.#items.push(item);
    this.#give();
  }

  [Symbol.asyncIterator](): AsyncIterator<Message> {
    this.#asked = true;
    return { next: () => this.#next(), return: () => this.#return() };
  }

  #next(): Promise<IteratorResult<Message>> {
    if (this.#waiting) this.#call.wrong("its requests were asked for two messages at once");
    if (this.#ended) this.#call.wrong("its requests were asked for a message after their end");
    const { promise } = this.#waiting = Promise.withResolvers();
    this.#give();
    return promise;
  }

  #return(): Promise<IteratorResult<Message>> {
    if (this.#failed && TOLERATED.returnAfterThrow) return DONE;
    this.stops++;
    this.#ended = true;
    // What was asked for before comes late: a message, the end, or an error.
    const late: SourceItem[] = [{ message: "0/4" }, "end", { code: Code.ABORTED, message: "late" }];
    this.#items.unshift(late[this.#call.number % (TOLERATED.lateThrow ? 2 : 3)]!);
    this.#give();
    return DONE;
  }

  #give(): void {
    if (!this.#waiting || this.#items.length === 0) return;
    const { resolve, reject } = this.#waiting;
    const item = this.#items.shift()!;
    this.#waiting = undefined;
    if (item === "end" || "code" in item) this.#ended = true;
    if (item === "end") resolve({ done: true, value: undefined });
    else if ("code" in item) {
      this.#failed = true;
      reject(this.#call.error(item));
    } else resolve({ done: false, value: item.message });
  }
}

/** The same of messages that are all there. */
class List implements Iterable<Message> {
  stops = 0;
  readonly #call: Actors;
  readonly #messages: readonly Message[];
  #at = -1;
  #ended = false;

  constructor(call: Actors, messages: readonly Message[]) {
    this.#call = call;
    this.#messages = messages;
  }

  get left(): string {
    return this.#at >= 0 && !this.#ended
      ? `${this.#messages.length + 1 - this.#at} requests left`
      : "";
  }

  [Symbol.iterator](): Iterator<Message> {
    this.#at = 0;
    return { next: () => this.#next(), return: () => this.#return() };
  }

  #next(): IteratorResult<Message> {
    if (this.#ended) this.#call.wrong("its list was asked for a message after its end");
    const value = this.#messages[this.#at++];
    if (value !== undefined) return { done: false, value };
    this.#ended = true;
    return { done: true, value };
  }

  #return(): IteratorResult<Message> {
    this.stops++;
    this.#ended = true;
    return { done: true, value: undefined };
  }
}

/** The caller and the handler of one call. */
export class Actors {
  readonly start: CallStart;
  readonly number: number;
  readonly wrong: (what: string) => void;
  /** How many errors of its handler `onError` has heard. */
  reported = 0;
  /** What a method that gives many messages has given. */
  stream: MessageStream<Message> | undefined;
  readonly #controller = new AbortController();
  readonly #source: Source | List;
  #answers: string[] = [];
  #reply = "waits";
  #leaves = 0;
  // The handler.
  #context: HandlerContext | undefined;
  #request: string | undefined;
  #entered = 0;
  #left = 0;
  #taking = false;
  #did = 0;
  readonly #heard: string[] = [];
  readonly #commands: Command[] = [];
  #wake = () => {};

  /**
   * @param start How the call is made.
   * @param number Which one it is.
   * @param wrong Is told what must not happen.
   */
  constructor(start: CallStart, number: number, wrong: (what: string) => void) {
    this.start = start;
    this.number = number;
    this.wrong = (what) => wrong(`call ${number}: ${what}`);
    this.#source = start.list ? new List(this, start.list) : new Source(this);
    if (start.signal === "aborted") this.abort();
  }

  /** What has been seen of the call: as the models' halves have it. */
  shows(): string[] {
    const { method } = this.start;
    const caller = givesMany(method) ? inOrder(this.#answers) : [this.#reply];
    const { stops, left } = this.#source;
    return [...caller, `stopped ${stops} times`, left, ...this.#handlerShows()];
  }

  #handlerShows(): string[] {
    if (this.#entered === 0) return ["not called"];
    if (this.#entered > 1 || this.#left > 1) this.wrong("its handler was called twice");
    return [
      `called with ${this.#request ?? "messages"}`,
      ...this.#heard,
      this.#taking ? "waits" : "",
      this.#left > 0 ? "left" : `has done ${this.#did}`,
      this.start.handler === "deaf" ? "" : this.reason()!,
      `${this.reported} errors reported`,
    ];
  }

  /** What the handler's signal says; `undefined` if no handler was called. */
  reason(): string | undefined {
    if (!this.#context) return undefined;
    const { aborted, reason } = this.#context.signal;
    if (!aborted) return "goes on";
    if (reason instanceof DOMException) return `${reason.name}: ${reason.message}`;
    return shownError(reason, this.start.method);
  }

  /** Makes the call. */
  call(client: Client): void {
    const { method, request, timeoutMs, signal, metadata } = this.start;
    const service = client.service(Service) as unknown as Record<
      MethodName,
      (
        message: Message | Messages<Message>,
        options: unknown,
      ) => Promise<Message> & MessageStream<Message>
    >;
    const options = {
      metadata: [["call", `${this.number}`], ...metadata],
      ...timeoutMs === undefined ? {} : { timeoutMs },
      ...signal === "none" ? {} : { signal: this.#controller.signal },
    };
    const message = takesMany(method) ? this.#source : request!;
    if (givesMany(method)) {
      try {
        this.stream = service[method](message, options);
      } catch (error) {
        // A message that cannot be encoded is told at once.
        this.stream = failed(error);
      }
    } else {
      service[method](message, options).then(
        (reply) => this.#reply = reply,
        (error) => this.#reply = shownError(error, method),
      );
    }
  }

  push(item: SourceItem): void {
    if (this.#source instanceof Source) this.#source.push(item);
  }

  /** Asks for a message. */
  next(): void {
    const at = this.#answers.push("waits") - 1;
    this.stream!.next().then(
      ({ done, value }) => this.#answers[at] = done ? "done" : value,
      (error) => this.#answers[at] = shownError(error, this.start.method),
    );
  }

  /** Leaves the stream, in one of three ways. */
  leave(): void {
    const way = (this.number + this.#leaves++) % 3;
    const stream = this.stream!;
    if (way === 0) {
      void stream.return().then(({ done }) => done || this.wrong("return() did not say done"));
    } else if (way === 1) {
      const error = new Error("enough");
      stream.throw(error).then(
        () => this.wrong("throw() did not throw"),
        (thrown) => thrown === error || this.wrong("throw() threw something else"),
      );
    } else void stream[Symbol.asyncDispose]();
  }

  abort(): void {
    this.#controller.abort(REASONS[this.start.reason][0]);
  }

  /** Tells the handler what to do. */
  command(command: Command): void {
    this.#commands.push(command);
    this.#wake();
  }

  error({ code, message }: Ending): Error {
    return code === Code.UNKNOWN ? new Bug(this, message) : new RpcError(code, message);
  }

  /** What a handler of this call does. */
  async *handle(
    request: Message | MessageStream<Message>,
    context: HandlerContext,
  ): AsyncGenerator<Message, Message> {
    this.#entered++;
    this.#context = context;
    this.#check(context);
    const { handler } = this.start;
    if (handler !== "deaf") context.signal.addEventListener("abort", () => this.#wake());
    try {
      if (typeof request === "string") this.#request = request;
      for (;;) {
        const command = await this.#next();
        if (!command) return "0/4"; // it goes nowhere: the call is over
        if (command.do === "finish") return command.message;
        if (command.do === "emit") yield command.message;
        else if (command.do === "throw") throw this.error(command.status);
        else await this.#hear(request as MessageStream<Message>, command.do);
        this.#did++;
      }
    } finally {
      this.#left++;
    }
  }

  async #next(): Promise<Command | undefined> {
    for (;;) {
      if (this.start.handler === "polite" && this.#context!.signal.aborted) return undefined;
      if (this.#commands.length > 0) return this.#commands.shift();
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  async #hear(requests: MessageStream<Message>, how: "take" | "quit"): Promise<void> {
    if (how === "quit") return void await requests.return();
    this.#taking = true;
    try {
      const { done, value } = await requests.next();
      this.#heard.push(done ? "done" : value);
    } catch (error) {
      this.#heard.push(shownError(error, this.start.method));
    }
    this.#taking = false;
  }

  /** The options of the call have arrived. */
  #check({ method, service, metadata, timeoutMs }: HandlerContext): void {
    const { start } = this;
    const given = [["call", `${this.number}`], ...start.metadata]
      .map(([key, value]) => `${key!.toLowerCase()}=${value}`).join();
    const came = [...metadata].map(([key, value]) => `${key}=${value}`).join();
    if (given !== came) this.wrong(`its metadata came as ${came}`);
    const path = `${Service.typeName}/${Service.method[start.method].name}`;
    if (`${service}/${method}` !== path) this.wrong(`it came as ${service}/${method}`);
    const late = timeoutMs !== undefined && timeoutMs > (start.timeoutMs ?? 0);
    if (late || (timeoutMs === undefined) !== (start.timeoutMs === undefined)) {
      this.wrong(`its timeout of ${start.timeoutMs} came as ${timeoutMs}`);
    }
  }
}

/** The answers of `next()`: messages, an error, the end. */
function inOrder(answers: readonly string[]): readonly string[] {
  if (!TOLERATED.order) return answers;
  const rank = (answer: string) =>
    answer === "waits" ? 3 : answer === "done" ? 2 : answer.includes(":") ? 1 : 0;
  return answers.toSorted((a, b) => rank(a) - rank(b));
}

const DONE = Promise.resolve({ done: true, value: undefined } as const);

function failed(error: unknown): MessageStream<Message> {
  // deno-lint-ignore require-yield -- it fails before it would
  const stream = (async function* () {
    throw error;
  })();
  return stream as unknown as MessageStream<Message>;
}

/** Handlers that hand each call to its actors. */
export function handlers(calls: readonly Actors[]): ServiceHandlers<typeof Service> {
  const steps = (request: Message | MessageStream<Message>, context: HandlerContext) =>
    calls[Number(context.metadata.get("call"))]!.handle(request, context);
  const single = async (request: Message | MessageStream<Message>, context: HandlerContext) =>
    (await steps(request, context).next()).value;
  return { one: single, down: steps, up: single, both: steps };
}
