/** Runs the steps of one case on a connection. */

import {
  describe,
  describeBytes,
  describeExpected,
  matches,
  matchesResponse,
  numbered,
  reading,
} from "./match.ts";
import { hex, parseRequest, sameMessage, toBytes } from "./proto.ts";
import type { ExpectedMessages, ResponseMatch, SentFrame, Step } from "./vector.ts";
import { DATA, type Event, type Frame, frameBytes, REQUEST, RESPONSE, Wire } from "./wire.ts";

const KNOWN: ReadonlySet<number> = new Set([REQUEST, RESPONSE, DATA]);

/** A case has failed: this is what was expected, and what came instead. */
export class Mismatch extends Error {
  readonly expected: string;
  readonly received: string;

  constructor(expected: string, received: string) {
    super(`expected ${expected}, received ${received}`);
    this.expected = expected;
    this.received = received;
  }
}

/** Where a case gets its connections: it dials a server, or accepts a client, until a moment. */
export type Connect = (until: number) => Promise<Deno.Conn>;

/** One case at work. */
export class Script implements AsyncDisposable {
  readonly #connect: Connect;
  readonly #until: number;
  readonly #role: "server" | "client";
  readonly #old: Wire[] = [];
  #wire: Wire | undefined;
  #aliases: number[] = []; // the ids that a client has used, in order

  /** @param role What is under test. @param until When to give up, in ms of performance.now(). */
  constructor(connect: Connect, role: "server" | "client", until: number) {
    this.#connect = connect;
    this.#role = role;
    this.#until = until;
  }

  async run(steps: readonly Step[], cut?: number): Promise<void> {
    if (!this.#wire) await this.#open();
    for (const step of steps) await this.#step(step, cut);
  }

  async #open(): Promise<void> {
    if (this.#wire) this.#old.push(this.#wire);
    this.#aliases = [];
    this.#wire = new Wire(await this.#connect(this.#until));
  }

  get #peer(): Wire {
    return this.#wire!;
  }

  async #step(step: Step, cut: number | undefined): Promise<void> {
    if (step.send) {
      const frames = [step.send].flat();
      await this.#send(frameBytes(frames, (alias) => this.#actual(alias)), step.split, cut);
    } else if (step.sendBytes !== undefined) {
      await this.#send(toBytes(step.sendBytes), step.split, cut);
    } else if (step.expect) {
      const event = await this.#next(step.expect.type !== undefined);
      if (!matches(event, step.expect)) {
        throw new Mismatch(describeExpected(step.expect), describe(event));
      }
    } else if (step.expectSet) await this.#expectSet(step.expectSet.slice());
    else if (step.expectEach) await this.#expectEach(step.expectEach);
    else if (step.expectMessages) await this.#expectMessages(step.expectMessages);
    else if (step.expectClose) {
      const event = await this.#next();
      if (event !== "close") throw new Mismatch("the end of the connection", describe(event));
    } else if (step.alive !== undefined) await this.#alive(step.alive, step.ignore);
    else if (step.echoBackwards) await this.#echoBackwards(step.echoBackwards);
    else if (step.halfClose) await this.#peer.halfClose();
    else if (step.close) this.#peer.close();
    else if (step.reconnect) {
      this.#peer.close();
      await this.#open();
    } else if (step.fresh) await this.#open(); // the old connection stays as it is
    else throw new TypeError(`Cannot run step ${JSON.stringify(step)}: it is of no known kind`);
  }

  async #send(bytes: Uint8Array, split: Step["split"], cut = 1): Promise<void> {
    const pieces = split === undefined
      ? []
      : split === "every"
      ? [cut]
      : typeof split === "number"
      ? new Array<number>(Math.floor(bytes.length / split)).fill(split)
      : split;
    await this.#peer.send(bytes, pieces, this.#until);
  }

  /**
   * The next frame, with a client's stream ids as the case has them: 1, 3, 5. Those of types that
   * ttrpc does not have are ignored, as by any server, unless one of them is expected.
   */
  async #next(any = false): Promise<Event> {
    let event = await this.#peer.next(this.#until);
    const strange = () => typeof event !== "string" && !KNOWN.has(event.type);
    while (this.#role === "client" && !any && strange()) {
      event = await this.#peer.next(this.#until);
    }
    if (typeof event !== "string" && this.#role === "client") this.#alias(event);
    return event;
  }

  // Clients need not start with 1, nor take every odd number.
  #alias(frame: Frame): void {
    const known = this.#aliases.indexOf(frame.stream);
    if (frame.type === REQUEST) {
      const last = this.#aliases.at(-1) ?? 0;
      if (frame.stream % 2 !== 1 || frame.stream <= last) {
        throw new Mismatch(`a Request on an odd stream above ${last}`, describe(frame));
      }
      this.#aliases.push(frame.stream);
      frame.stream = 2 * this.#aliases.length - 1;
    } else if (known >= 0) frame.stream = 2 * known + 1;
  }

  #actual(alias: number): number {
    return this.#role === "client" ? this.#aliases[(alias - 1) / 2] ?? alias : alias;
  }

  async #expectSet(expected: NonNullable<Step["expectSet"]>): Promise<void> {
    while (expected.length > 0) {
      const event = await this.#next();
      const at = expected.findIndex((each) => matches(event, each));
      if (at < 0) throw new Mismatch(expected.map(describeExpected).join("; or "), describe(event));
      expected.splice(at, 1);
    }
  }

  /** One Response on each of many streams, in any order. */
  async #expectEach({ times, stream = 1, response }: NonNullable<Step["expectEach"]>) {
    const open = new Set(Array.from({ length: times }, (_, i) => stream + 2 * i));
    while (open.size > 0) {
      const event = await this.#next();
      const right = typeof event !== "string" && event.type === RESPONSE &&
        matchesResponse(event.data, response) && open.delete(event.stream);
      if (!right) {
        throw new Mismatch(
          `a Response ${JSON.stringify(response)} on each of ${open.size} more streams`,
          describe(event),
        );
      }
    }
  }

  /** Takes so many Requests, and sends their payloads back, the last one's first. */
  async #echoBackwards(count: number): Promise<void> {
    const answers: SentFrame[] = [];
    for (let stream = 1; answers.length < count; stream += 2) {
      const event = await this.#next();
      const expected = { stream, request: { method: "Echo" } };
      if (typeof event === "string" || !matches(event, expected)) {
        throw new Mismatch(describeExpected(expected), describe(event));
      }
      const payload = hex(parseRequest(event.data)!.payload);
      answers.unshift({ stream, response: { payload } });
    }
    await this.#send(frameBytes(answers, (alias) => this.#actual(alias)), undefined);
  }

  /** The messages of a stream and its end, in whatever form that comes. */
  async #expectMessages(expected: ExpectedMessages): Promise<void> {
    const { stream = 1, messages = [], end } = expected;
    const wanted = expected.numbered === undefined
      ? messages.map((each) => toBytes(each))
      : numbered(expected.numbered);
    for (let i = 0;;) {
      const event = await this.#next();
      const left = wanted[i] ? `message ${i + 1}, ${describeBytes(wanted[i]!)}` : "its end";
      const wrong = () =>
        new Mismatch(`stream ${stream} with ${left}${endText(end)}`, describe(event));
      if (typeof event === "string" || event.stream !== stream || event.type === REQUEST) {
        throw wrong();
      }
      if (event.type !== DATA && event.type !== RESPONSE) throw wrong();
      const { message, end: ended } = reading(event);
      if (message) {
        if (!wanted[i] || !sameMessage(message, wanted[i]!)) throw wrong();
        i++;
      }
      if (!ended) continue;
      const well = ended === true ? end === undefined : matchesResponse(ended, end ?? {});
      if (i < wanted.length || !well) throw wrong();
      return;
    }
  }

  /** The server still answers, and has nothing else to say before. */
  async #alive(stream: number, ignore: readonly number[] = []): Promise<void> {
    const request = frameBytes([{ stream, request: { method: "Nothing" } }]);
    await this.#peer.send(request, [], this.#until);
    let event = await this.#next();
    while (typeof event !== "string" && ignore.includes(event.stream)) event = await this.#next();
    if (matches(event, { stream, response: { code: 0 } })) return;
    throw new Mismatch(`nothing more, and OK for a new call on stream ${stream}`, describe(event));
  }

  /** Lets go of all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const wire of this.#old) await wire[Symbol.asyncDispose]();
    await this.#wire?.[Symbol.asyncDispose]();
  }
}

function endText(end: ResponseMatch | undefined): string {
  return end ? `, ending with ${JSON.stringify(end)}` : "";
}

/** In how many ways the bytes of a case that is to be cut everywhere can be cut. */
export function cuts(steps: readonly Step[]): number {
  const step = steps.find(({ split }) => split === "every");
  if (!step) return 0;
  const bytes = step.sendBytes === undefined
    ? frameBytes([step.send ?? []].flat())
    : toBytes(step.sendBytes);
  return bytes.length - 1;
}
