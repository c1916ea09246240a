/** Plays a program with a real client and a real server, and with the models beside them. */

import { type Client, connect, type Interceptor, serve, type Server } from "@ttrpc/ttrpc";
import { setImmediate } from "node:timers";
import { encodeRequest } from "../../../wire/envelope.ts";
import { Metadata } from "../../../metadata.ts";
import { Actors, Bug, handlers } from "./actors.ts";
import { CallModel } from "./call_model.ts";
import type { ClientHalf } from "./client_half.ts";
import { Counts } from "./counts.ts";
import { Line } from "./line.ts";
import {
  encode,
  givesMany,
  isAs,
  LIMIT,
  type Message,
  Service,
  shownError,
  UNENCODABLE,
} from "./messages.ts";
import { close, type Ends, ends } from "./place.ts";
import {
  type CallStart,
  type ConnectionEvent,
  type Doing,
  isTiny,
  type Program,
  REASONS,
  type Setting,
  type Step,
} from "./program.ts";
import { TOLERATED } from "./tolerated.ts";

/** Turns of the event loop after which nothing more happens by itself in memory. */
const PATIENCE_TURNS = 400;
/** The same in milliseconds where timers or sockets have a part in it. */
const PATIENCE_MS = 2_000;

const limits = { messageBytes: LIMIT };

/** Plays a program, and throws if something is not as the models say. */
export async function play(program: Program): Promise<void> {
  const { setting, steps } = program;
  const both = await ends(setting.place);
  const play = new Play(setting, both);
  try {
    await play.connect();
    for (const step of steps) await play.step(step);
    await play.windUp();
  } finally {
    await play.drop();
    both.remove();
  }
}

/** A client and a server, their calls, and what the models say of them. */
class Play {
  readonly #setting: Setting;
  readonly #ends: Ends;
  readonly #actors: Actors[] = [];
  readonly #models: CallModel[] = [];
  readonly #wrong: string[] = [];
  readonly #server: Server;
  readonly #closes: unknown[] = [];
  #line!: Line;
  #client!: Client;
  #closed = false;
  #intercepted = 0;
  #atRest = true;
  #waitsForTime = false;
  #finished = false;
  #serverWrites = false;
  #clientCounts!: Counts;
  #serverCounts!: Counts;

  constructor(setting: Setting, ends: Ends) {
    this.#setting = setting;
    this.#ends = ends;
    this.#server = serve(
      {
        connection: ends.far,
        limits,
        interceptors: interceptors(setting.server, () => this.#intercepted++),
        onError: (error, method) => this.#onError(error, method),
      },
      (router) => router.service(Service, handlers(this.#actors)),
    );
    void this.#server.finished.then(() => this.#finished = true);
  }

  async connect(): Promise<void> {
    this.#client = await connect(this.#ends.near, {
      limits,
      interceptors: interceptors(this.#setting.client, () => {}),
      onClose: (error) => void this.#closes.push(error),
    });
    void this.#client.finished.then(() => this.#closed = true);
    const { address } = this.#client;
    this.#line = new Line(address === "an open connection" ? undefined : address, this.#models);
  }

  /** Does a step, and waits as it says. */
  async step({ doing, wait }: Step): Promise<void> {
    if (TOLERATED.endsTwice && this.#setting.client !== "none") {
      if (doing.do === "client.close()") await this.#takeAll();
      if (doing.do === "abort" && this.#models[doing.call]!.in("some", hasEnded)) return;
    }
    const leaves = doing.do === "client.close()" || doing.do === "the client's end is cut";
    if (TOLERATED.slowToNotice && leaves && this.#serverWrites) await this.#rest();
    this.#do(doing);
    // What else happens at the same time as an end makes too many endings possible.
    const event = !("call" in doing) && doing.do !== "start";
    if (wait === "for all" || event || this.#line.draining) return await this.#rest();
    this.#atRest = false;
    if (wait === "for a turn") await turn();
    else if (wait === "for microtasks") { for (let i = 0; i < 7; i++) await undefined; }
  }

  #do(doing: Doing): void {
    if (doing.do === "start") return this.#start(doing.start);
    if (!("call" in doing)) return this.#event(doing.do);
    const actors = this.#actors[doing.call]!;
    const model = this.#models[doing.call]!;
    if (doing.do === "handler") {
      this.#serverWrites = true;
      model.server(({ commands }) => void commands.push(doing.command));
      actors.command(doing.command);
    } else if (doing.do === "push") {
      model.client(({ source }) => void source.push(doing.item));
      actors.push(doing.item);
    } else if (doing.do === "next") {
      model.client((client) => client.next());
      actors.next();
    } else if (doing.do === "leave") {
      model.client((client) => client.leave());
      actors.leave();
    } else {
      const [, ending] = REASONS[actors.start.reason];
      model.client((client) => client.giveUp(ending));
      actors.abort();
    }
  }

  #start(start: CallStart): void {
    const number = this.#actors.length;
    const { method, request, list, timeoutMs, signal, handler } = start;
    const tiny = isTiny(timeoutMs);
    const model = new CallModel({
      client: {
        method,
        request,
        list,
        requestLength: requestLength(start, number),
        limit: LIMIT,
        timeoutMs,
        aborted: signal === "aborted" ? REASONS[start.reason][1] : undefined,
        intercepted: this.#setting.client !== "none",
      },
      server: {
        method,
        limit: LIMIT,
        polite: handler === "polite",
        listens: handler !== "deaf",
        intercepted: this.#setting.server !== "none",
        slow: this.#setting.server === "slow" ||
          this.#setting.server === "quick" && givesMany(method),
      },
      slow: this.#setting.client === "slow",
      guarded: this.#setting.server !== "none",
      tiny,
    });
    const actors = new Actors(start, number, (what) => this.#wrong.push(what));
    this.#models.push(model);
    this.#actors.push(actors);
    this.#waitsForTime ||= tiny;
    model.start(this.#line.refusal, this.#line.draining);
    actors.call(this.#client);
  }

  #event(event: ConnectionEvent): void {
    this.#line.happens(event, this.#atRest);
    this.#waitsForTime ||= !this.#atRest;
    if (event === "client.close()") this.#client.close();
    else if (event === "server.close()") this.#server.close();
    else if (event === "the client's end is cut") close(this.#ends.near);
    else if (event === "the server's end is cut") close(this.#ends.far);
    else {
      const timeoutMs = event === "server.shutdown()" ? undefined : 0;
      this.#server.shutdown({ timeoutMs }).catch((error) => this.#wrong.push(`${error}`));
      this.#waitsForTime ||= timeoutMs === 0;
    }
  }

  /** Waits until nothing happens any more, and compares what there is with the models. */
  async #rest(): Promise<void> {
    const allowed = this.#models.map((model) => model.settle());
    this.#clientCounts = new Counts("client", this.#models);
    this.#serverCounts = new Counts("server", this.#models);
    const started = performance.now();
    for (let turns = 1;; turns++) {
      await turn();
      const wrong = this.#mismatch(allowed);
      if (!wrong) break;
      const slow = this.#waitsForTime || this.#ends.slow;
      // A system that has much to do is asked in one of so many turns.
      if (slow && turns % 64 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
      if (slow ? performance.now() - started < PATIENCE_MS : turns < PATIENCE_TURNS) continue;
      throw new Error(wrong);
    }
    for (const [at, model] of this.#models.entries()) {
      const shows = this.#actors[at]!.shows();
      model.keep((allowed) => agrees(allowed, shows));
    }
    this.#line.rest();
    this.#atRest = true;
    this.#waitsForTime = false;
    this.#serverWrites = false;
  }

  #mismatch(allowed: readonly string[][][]): string | undefined {
    for (const [at, actors] of this.#actors.entries()) {
      const shows = actors.shows();
      if (!allowed[at]!.some((allowed) => agrees(allowed, shows))) {
        const each = new Set(allowed[at]!.map((shows) => `\n    ${shows.join(" | ")}`));
        return `call ${at} is\n    ${shows.join(" | ")}\n  and not${[...each].join("\n  or")}`;
      }
    }
    if (this.#wrong.length > 0) return this.#wrong[0];
    return this.#countsWrong();
  }

  #countsWrong(): string | undefined {
    const [client, server] = [this.#client.stats(), this.#server.stats()];
    const { open } = this.#line;
    if (!this.#closed && !this.#finished) {
      const up = client.bytesSent - server.bytesReceived;
      const down = server.bytesSent - client.bytesReceived;
      if (up !== 0 || down !== 0) return `${up} bytes are on their way up, and ${down} down`;
    } else if (!this.#closed || !this.#finished) {
      return `the ${
        this.#closed ? "server" : "client"
      } does not know that the connection has ended`;
    }
    if (open !== undefined && this.#closed === open) {
      return `the connection is ${open ? "closed" : "open"}`;
    }
    if (this.#setting.server !== "none" && this.#intercepted !== server.callsStarted) {
      return `interceptors have seen ${this.#intercepted} of ${server.callsStarted} calls`;
    }
    return this.#clientCounts.wrong(client, open) ?? this.#serverCounts.wrong(server, open);
  }

  /** Brings every call to its end, and then the client and the server. */
  async windUp(): Promise<void> {
    await this.#rest();
    for (const call of this.#actors.keys()) this.#do({ do: "push", call, item: "end" });
    await this.#rest();
    const last = { do: "finish", message: "0/4" } as const;
    for (const call of this.#actors.keys()) this.#do({ do: "handler", call, command: last });
    await this.#rest();
    await this.#takeAll();
    await this.step({ doing: { do: "client.close()" }, wait: "for all" });
    for (const [at, actors] of this.#actors.entries()) {
      const reason = actors.reason();
      const model = this.#models[at]!;
      const right = model.in("some", (_, server) => isAs(server.reason(), reason ?? "*"));
      if (reason !== undefined && !right) throw new Error(`call ${at} was aborted with ${reason}`);
    }
    this.#nothingIsLeft();
  }

  /** Takes what has come for callers, up to the end, if that has come. */
  async #takeAll(): Promise<void> {
    await this.#rest();
    for (const [call, { stream }] of this.#actors.entries()) {
      if (!stream) continue;
      const model = this.#models[call]!;
      while (model.in("all", (client) => hasEnded(client) || client.inbox.length > 0)) {
        this.#do({ do: "next", call });
        await this.#rest();
      }
    }
  }

  #nothingIsLeft(): void {
    for (const side of [this.#client, this.#server]) {
      const { connections, callsInFlight, openStreams, queuedBytes } = side.stats();
      const left = `${connections} ${callsInFlight} ${openStreams} ${queuedBytes}`;
      if (left !== "0 0 0 0") throw new Error(`something is left: ${left}`);
    }
    if (this.#closes.length !== 1) {
      throw new Error(`onClose was called ${this.#closes.length} times`);
    }
    const [error] = this.#closes;
    const { lost = error !== undefined } = this.#line;
    if (lost !== (error !== undefined)) throw new Error(`onClose was told ${error}`);
  }

  #onError(error: unknown, method: string | undefined): void {
    if (error instanceof Bug) {
      const { call } = error;
      call.reported++;
      if (method !== `${Service.typeName}/${Service.method[call.start.method].name}`) {
        call.wrong(`its error was reported for ${method}`);
      }
    } else if (!isAs("UNAVAILABLE: connection*lost*", shownError(error))) {
      this.#wrong.push(`onError was told ${error}`);
    }
  }

  /** Ends it, whatever has happened. */
  async drop(): Promise<void> {
    this.#client?.close();
    this.#server.close();
    await this.#client?.finished;
    await this.#server.finished;
  }
}

/** Whether a stream is over, and its caller does not know. */
function hasEnded({ plan, state, done }: ClientHalf): boolean {
  return givesMany(plan.method) && state === "over" && !done;
}

function agrees(model: readonly string[], shows: readonly string[]): boolean {
  return model.length === shows.length && model.every((each, at) => isAs(each, shows[at]!));
}

/** The length of a call's Request, if it can be encoded, and has no deadline. */
function requestLength({ method, request, metadata }: CallStart, number: number): number {
  const message: Message | undefined = request === UNENCODABLE ? undefined : request;
  return encodeRequest({
    service: Service.typeName,
    method: Service.method[method].name,
    payload: message === undefined ? new Uint8Array(0) : encode(message),
    timeoutNano: 0n,
    metadata: new Metadata([["call", `${number}`], ...metadata]),
  }).length;
}

const slow: Interceptor = (next) => async (request) => {
  for (let i = 0; i < 20; i++) await undefined;
  return await next(request);
};

function interceptors(which: Setting["client"], seen: () => void): Interceptor[] {
  const counts: Interceptor = (next) => (request) => {
    seen();
    return next(request);
  };
  return which === "none" ? [] : which === "quick" ? [counts] : [counts, slow];
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
