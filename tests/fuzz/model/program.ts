/** Programs for the model: what bytes mean, and how that is said in words. */

import { concat } from "@std/bytes/concat";
import fc from "fast-check";
import { Code } from "../../../status.ts";
import {
  type Ending,
  ending,
  givesMany,
  LIMIT,
  type Message,
  type MethodName,
  METHODS,
  named,
  shown,
  takesMany,
  UNDECODABLE,
  UNENCODABLE,
} from "./messages.ts";
import type { SourceItem } from "./client_half.ts";
import type { Command } from "./server_half.ts";

export const PLACES = ["memory", "memory in pieces", "unix", "TCP"] as const;
export const INTERCEPTORS = ["none", "quick", "slow"] as const;

/** Where a program runs, and what is around its calls. */
export interface Setting {
  readonly place: typeof PLACES[number];
  readonly client: typeof INTERCEPTORS[number];
  readonly server: typeof INTERCEPTORS[number];
}

/** What a call is made with. */
export interface CallStart {
  readonly method: MethodName;
  /** The request of a method that takes one message. */
  readonly request?: Message;
  /** The messages of one that takes many, if they are there from the beginning. */
  readonly list?: readonly Message[];
  readonly timeoutMs?: number;
  readonly signal: "none" | "given" | "aborted";
  readonly reason: keyof typeof REASONS;
  readonly handler: "polite" | "stubborn" | "deaf";
  /** Of the metadata, beside the number of the call. */
  readonly metadata: readonly [string, string][];
}

export type Doing =
  | { readonly do: "start"; readonly start: CallStart }
  | { readonly do: "next" | "leave" | "abort"; readonly call: number }
  | { readonly do: "push"; readonly call: number; readonly item: SourceItem }
  | { readonly do: "handler"; readonly call: number; readonly command: Command }
  | { readonly do: ConnectionEvent };

/** What happens to the connection. */
export type ConnectionEvent =
  | "client.close()"
  | "server.close()"
  | "server.shutdown()"
  | "server.shutdown({ timeoutMs: 0 })"
  | "the client's end is cut"
  | "the server's end is cut";

export interface Step {
  readonly doing: Doing;
  /** What is waited for before the next step: until nothing happens any more, or less. */
  readonly wait: "for all" | "for nothing" | "for microtasks" | "for a turn";
}

export interface Program {
  readonly setting: Setting;
  readonly steps: readonly Step[];
}

/** What a signal is aborted with, and how a call ends then. */
export const REASONS = {
  nothing: [undefined, ending(Code.CANCELLED, "the caller gave up")],
  error: [new Error("enough"), ending(Code.CANCELLED, "the caller gave up: enough")],
  timeout: [
    new DOMException("it took too long", "TimeoutError"),
    ending(Code.DEADLINE_EXCEEDED, "it took too long"),
  ],
} as const;

const FAR = 60_000;
const TINY = 1;

/** Whether a timeout passes while a program runs. */
export function isTiny(timeoutMs: number | undefined): boolean {
  return timeoutMs !== undefined && timeoutMs > 0 && timeoutMs < FAR;
}

const SIZES = [5, 0, 40, 5_000, 9_000, 70_000];
const CODES = [Code.NOT_FOUND, Code.ABORTED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED];
const EVENTS: readonly ConnectionEvent[] = [
  "server.shutdown()",
  "client.close()",
  "server.close()",
  "server.shutdown({ timeoutMs: 0 })",
  "the client's end is cut",
  "the server's end is cut",
];

const SETTING_BYTES = 3;
const STEP_BYTES = 5;

type Kind = "start" | "caller" | "handler" | "event";
/** How often which kind of step comes. */
const KINDS: readonly Kind[] = [
  ...new Array<Kind>(5).fill("start"),
  ...new Array<Kind>(10).fill("caller"),
  ...new Array<Kind>(10).fill("handler"),
  "event",
];

/** Bytes that are programs: none of them are anything else. */
export const programs: fc.Arbitrary<Uint8Array> = fc.tuple(
  fc.uint8Array({ minLength: SETTING_BYTES, maxLength: SETTING_BYTES }),
  fc.array(fc.uint8Array({ minLength: STEP_BYTES, maxLength: STEP_BYTES }), {
    maxLength: 40,
    size: "max",
  }),
).map(([setting, steps]) => concat([setting, ...steps]));

/** Reads a program. */
export function read(bytes: Uint8Array): Program {
  const [place = 0, client = 0, server = 0] = bytes;
  const setting: Setting = {
    place: place < 200 ? "memory" : place < 240 ? "memory in pieces" : place < 248 ? "unix" : "TCP",
    client: INTERCEPTORS[client % 3]!,
    server: INTERCEPTORS[server % 3]!,
  };
  const reader = new StepReader();
  for (let at = SETTING_BYTES; at + STEP_BYTES <= bytes.length; at += STEP_BYTES) {
    reader.read(bytes.subarray(at, at + STEP_BYTES));
  }
  return { setting, steps: reader.steps };
}

class StepReader {
  readonly steps: Step[] = [];
  readonly #calls: CallStart[] = [];
  #messages = 0;

  read([kind = 0, which = 0, what = 0, detail = 0, wait = 0]: Uint8Array): void {
    const of = KINDS[kind % KINDS.length]!;
    const before = this.steps.length;
    if (of === "start" || this.#calls.length === 0) this.#start(which, what, detail);
    else if (of === "event") this.#add({ do: EVENTS[what % EVENTS.length]! });
    else {
      // The calls that were made last are the most interesting ones.
      const call = this.#calls.length - 1 - which % Math.min(this.#calls.length, 4);
      const times = what < 200 ? 1 : 1 + detail % 4;
      for (let i = 0; i < times; i++) this.#call(of, call, what, detail);
    }
    const last = this.steps.length - 1;
    const waits = ["for all", "for all", "for nothing", "for microtasks", "for a turn"] as const;
    if (last >= before) this.steps[last] = { ...this.steps[last]!, wait: waits[wait % 5]! };
  }

  #add(doing: Doing): void {
    this.steps.push({ doing, wait: "for nothing" });
  }

  #start(which: number, what: number, detail: number): void {
    const method = METHODS[which % 4]!;
    const timeout = what % 16;
    const timeoutMs = [FAR, TINY, 0][timeout - 1] ?? (timeout === 15 ? -1 : undefined);
    const reasons = Object.keys(REASONS) as (keyof typeof REASONS)[];
    const call: CallStart = {
      method,
      ...takesMany(method)
        ? (detail < 60 && detail > 0 ? { list: this.#list(detail % 5) } : {})
        : { request: this.#message(detail) },
      ...timeoutMs === undefined ? {} : { timeoutMs },
      signal: which < 128 ? "none" : which < 240 ? "given" : "aborted",
      reason: reasons[(which >> 2) % 3]!,
      handler: (["polite", "stubborn", "deaf"] as const)[(what >> 4) % 3]!,
      metadata: what < 128 ? [] : [["Key", "a"], ["other", ""], ["key", "ü"]],
    };
    this.#calls.push(call);
    this.#add({ do: "start", start: call });
  }

  #list(length: number): Message[] {
    return Array.from({ length }, () => this.#message(0));
  }

  #message(detail: number): Message {
    const size = SIZES[detail % 8];
    if (size !== undefined) return named(++this.#messages, size);
    if (detail % 8 === 6) return named(++this.#messages, 30);
    const odd = [UNDECODABLE, UNENCODABLE, named(++this.#messages, LIMIT + 1)];
    return odd[(detail >> 3) % 3]!;
  }

  #status(detail: number): Ending {
    return ending(CODES[detail % CODES.length]!, `no ${++this.#messages}`);
  }

  #call(of: "caller" | "handler", call: number, what: number, detail: number): void {
    const start = this.#calls[call]!;
    if (of === "caller") this.#caller(call, start, what, detail);
    else this.#handler(call, start, what, detail);
  }

  #caller(call: number, { method, signal }: CallStart, what: number, detail: number): void {
    const can: (Doing["do"] | "raise" | "end")[] = [];
    if (givesMany(method)) can.push("next", "next", "next", "leave");
    if (takesMany(method)) can.push("push", "push", "push", "end", "raise");
    if (signal === "given") can.push("abort");
    const doing = can[what % can.length];
    if (doing === "push") {
      this.#add({ do: "push", call, item: { message: this.#message(detail) } });
    } else if (doing === "end") this.#add({ do: "push", call, item: "end" });
    else if (doing === "raise") this.#add({ do: "push", call, item: this.#raised(detail) });
    else if (doing !== undefined) this.#add({ do: doing as "next" | "leave" | "abort", call });
  }

  #raised(detail: number): Ending {
    return detail < 128 ? this.#status(detail) : ending(Code.UNKNOWN, `bug ${++this.#messages}`);
  }

  #handler(call: number, { method }: CallStart, what: number, detail: number): void {
    const can: Command["do"][] = [];
    if (takesMany(method)) can.push("take", "take", "take", "quit");
    if (givesMany(method)) can.push("emit", "emit", "emit");
    can.push("finish", "throw");
    const doing = can[what % can.length]!;
    const command: Command = doing === "emit" || doing === "finish"
      ? { do: doing, message: this.#message(detail) }
      : doing === "throw"
      ? { do: doing, status: this.#raised(detail), plain: detail >= 128 }
      : { do: doing };
    this.#add({ do: "handler", call, command });
  }
}

/** A program in words, a line for each step. */
export function inWords({ setting, steps }: Program): string {
  let calls = 0;
  const { place, client, server } = setting;
  const lines = steps.map(({ doing, wait }) => {
    const pause = wait === "for nothing" ? "" : `, then wait ${wait}`;
    return `  ${doing.do === "start" ? `${calls++}: ` : ""}${stepInWords(doing)}${pause}`;
  });
  return [`over ${place}, interceptors: client ${client}, server ${server}`, ...lines].join("\n");
}

function stepInWords(doing: Doing): string {
  if (doing.do === "start") {
    const { method, handler, metadata, signal, reason, ...rest } = doing.start;
    const given = JSON.stringify({ ...rest, ...signal === "none" ? {} : { signal, reason } });
    return `call ${method} with ${given}, ${metadata.length} keys; ${handler} handler`;
  }
  if (doing.do === "push") {
    const { item } = doing;
    const what = item === "end" ? "ends" : "code" in item ? `throws ${shown(item)}` : item.message;
    return `${doing.call}: its requests: ${what}`;
  }
  if (doing.do === "handler") {
    const { command } = doing;
    const what = command.do === "throw"
      ? `throw ${shown(command.status)}`
      : "message" in command
      ? `${command.do} ${command.message}`
      : command.do;
    return `${doing.call}: its handler: ${what}`;
  }
  return "call" in doing ? `${doing.call}: ${doing.do}` : doing.do;
}
