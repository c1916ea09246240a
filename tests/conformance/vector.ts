/** What the files in `vectors/` hold. README.md describes the same for readers of any language. */

/** Bytes in one of their notations. */
export type Bytes =
  | string
  | readonly Bytes[]
  | { utf8: string }
  | { zeros: number }
  | { index: true }
  | { field: number; varint: string }
  | { field: number; bytes: Bytes }
  | { request: RequestFields }
  | { response: ResponseFields };

export interface RequestFields {
  service?: string;
  method?: string;
  payload?: Bytes;
  timeoutNano?: string;
  metadata?: [string, string][];
}

export interface ResponseFields {
  status?: { code?: number; message?: string; details?: [string, Bytes][] };
  payload?: Bytes;
}

/** A frame to send. Exactly one of `request`, `response`, `data` and `type` is there. */
export interface SentFrame {
  stream?: number;
  flags?: number;
  request?: RequestFields | Bytes;
  response?: ResponseFields | Bytes;
  data?: Bytes;
  type?: number;
  bytes?: Bytes;
  /** Announced instead of the real length. */
  length?: number;
  /** How often it is sent. Requests go to the next stream each time. */
  times?: number;
}

/** One value, one of several, or any error. */
export type CodeMatch = number | number[] | "error";

export interface ResponseMatch {
  code?: CodeMatch;
  message?: string;
  messageMatches?: string;
  details?: [string, Bytes][];
  payload?: Bytes;
  payloadLength?: number;
  /** A varint field of the payload lies between two numbers; absent means zero. */
  payloadNumber?: { field: number; min: number; max: number };
}

export interface RequestMatch {
  service?: string;
  method?: string;
  payload?: Bytes;
  payloadLength?: number;
  timeoutNano?: { min: string; max: string };
  metadata?: [string, string][];
}

/** A frame that is expected. What is left out may be anything. */
export interface ExpectedFrame {
  stream?: number;
  flags?: number | number[];
  length?: number;
  request?: RequestMatch;
  response?: ResponseMatch;
  data?: Bytes;
  /** Of a frame of another type, with exactly these bytes. */
  type?: number;
  bytes?: Bytes;
}

export interface ExpectedMessages {
  stream?: number;
  messages?: Bytes[];
  numbered?: number;
  /** How the stream ends, if not well. */
  end?: ResponseMatch;
}

/** One step of a case: exactly one of these, and `split` beside something to send. */
export interface Step {
  send?: SentFrame | SentFrame[];
  sendBytes?: Bytes;
  split?: number | number[] | "every";
  expect?: ExpectedFrame;
  expectSet?: ExpectedFrame[];
  expectEach?: { times: number; stream?: number; response: ResponseMatch };
  expectMessages?: ExpectedMessages;
  expectClose?: true;
  alive?: number;
  /** Beside `alive`: streams whose frames are passed over. */
  ignore?: number[];
  echoBackwards?: number;
  halfClose?: true;
  close?: true;
  reconnect?: true;
  fresh?: true;
}

/** A call that the client under test is told to make. */
export interface Call {
  method: string;
  kind?: "unary" | "server" | "client" | "bidi";
  requests?: Bytes[];
  numbered?: number;
  metadata?: [string, string][];
  timeoutMs?: number;
  cancelAfterMs?: number;
  keepOpen?: true;
}

/** What the client should have to say of it. */
export interface ExpectedOutcome {
  code?: CodeMatch;
  message?: string;
  messageMatches?: string;
  details?: [string, Bytes][];
  responses?: Bytes[];
  responseLengths?: number[];
  numbered?: number;
}

export type Level = "must" | "may";
export type Role = "server" | "client";

export interface Case {
  id: string;
  title: string;
  /** What is under test. */
  role: Role;
  level: Level;
  tags: string[];
  rule: string;
  source: string;
  steps: Step[];
  calls: Call[];
  outcomes: ExpectedOutcome[];
  concurrent: boolean;
}

interface VectorFile {
  about: string;
  role: Role;
  source: string;
  tags?: string[];
  cases: (Partial<Case> & Pick<Case, "id" | "title" | "level" | "steps">)[];
}

/** Cases with these tags need something special of the peer, so they have to be asked for. */
export const OPTIONAL_TAGS: ReadonlySet<string> = new Set(["drain", "extension", "panic"]);

/** All cases. Those that may bring a bad peer down come last. */
export function loadCases(): Case[] {
  const folder = new URL("vectors/", import.meta.url);
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  const cases = names.flatMap((name) => {
    const file = JSON.parse(Deno.readTextFileSync(new URL(name, folder))) as VectorFile;
    return file.cases.map((each): Case => ({
      calls: [],
      outcomes: [],
      concurrent: false,
      rule: each.title,
      ...each,
      role: file.role,
      source: each.source ?? file.source,
      tags: [...new Set([...file.tags ?? [], ...each.tags ?? []])],
    }));
  });
  const last = (each: Case) =>
    each.tags.includes("drain") ? 2 : each.tags.includes("hostile") ? 1 : 0;
  return cases.sort((a, b) => last(a) - last(b));
}

/** Which cases to run. */
export interface Choice {
  role: Role;
  only?: readonly string[];
  /** `streams`: also these optional ones; `-streams`: without these. */
  tags?: readonly string[];
}

/**
 * The cases that were asked for.
 *
 * @throws {RangeError} If there is no such case or tag.
 */
export function chooseCases(all: readonly Case[], { role, only, tags = [] }: Choice): Case[] {
  const cases = all.filter((each) => each.role === role);
  const known = new Set(all.flatMap((each) => each.tags));
  for (const tag of tags) {
    const name = tag.replace(/^[-+]/, "");
    if (!known.has(name)) {
      throw new RangeError(`Cannot choose by tag ${name}: the tags are ${[...known].join()}`);
    }
  }
  if (only) {
    return only.map((id) => {
      const found = cases.find((each) => each.id === id);
      if (!found) throw new RangeError(`Cannot run case ${id}: there is none for a ${role}`);
      return found;
    });
  }
  const without = new Set(tags.filter((tag) => tag.startsWith("-")).map((tag) => tag.slice(1)));
  const added = new Set(tags.filter((tag) => tag.startsWith("+")).map((tag) => tag.slice(1)));
  return cases.filter((each) =>
    each.tags.every((tag) => !without.has(tag) && (added.has(tag) || !OPTIONAL_TAGS.has(tag)))
  );
}
