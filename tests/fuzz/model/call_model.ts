/**
 * One call as both sides see it, as a model: a client's half, a server's half, and the frames between
 * them. What happens at the same time can happen in any order, so the model is in a set of states:
 * all those that it can have come to.
 */

import { Code } from "../../../status.ts";
import { ClientHalf, type ClientPlan, type ModelFrame, type Refusal } from "./client_half.ts";
import { type Ending, ending } from "./messages.ts";
import { DEADLINE_PASSED, ServerHalf, type ServerPlan, SHUTTING_DOWN } from "./server_half.ts";

/** What a call is like, on both sides. */
export interface CallPlan {
  readonly client: ClientPlan;
  readonly server: ServerPlan;
  /** Whether interceptors take their time before the call is made. */
  readonly slow: boolean;
  /** Whether the deadline passes in a moment. */
  readonly tiny: boolean;
  /** Whether the server has interceptors, which look at the deadline before the handler runs. */
  readonly guarded: boolean;
}

/** How a connection ends for one call. */
export interface Fate {
  /** How the call ends at the client, if it has not ended: one of these, after what still comes. */
  readonly client?: readonly Ending[];
  /** The same at the server. */
  readonly server?: readonly Ending[];
  /** Whether the rest of what is on its way may be lost: to the server, to the client. */
  readonly loses: readonly ("up" | "down")[];
  /** Whether nothing of this happens to a call that the server works on. */
  readonly spares?: boolean;
}

const ANY_REFUSAL: Refusal = { ending: ending(Code.UNAVAILABLE, "*"), closed: false };

/** One state of a call. */
class State {
  up: ModelFrame[] = [];
  down: ModelFrame[] = [];
  /** The call was made, and interceptors have not passed it on yet. */
  starting = false;
  refusal: Refusal | undefined;
  draining = false;
  forced = false;
  fate: Fate | undefined;

  constructor(
    readonly plan: CallPlan,
    readonly client: ClientHalf = new ClientHalf(plan.client),
    readonly server: ServerHalf = new ServerHalf(plan.server),
  ) {}

  /** Tells states apart. */
  key(): string {
    const { client, server, up, down, starting, refusal, draining, forced, fate } = this;
    const rest = `${starting} ${draining} ${forced} ${fate && refusal?.ending.message}`;
    const frames = up.length + down.length > 0 ? JSON.stringify([up, down]) : "";
    return `${client.key()}\n${server.key()}\n${rest} ${frames}`;
  }

  /** Everything that can be seen of the call. */
  shows(): string[] {
    return [...this.client.shows(), ...this.server.shows()];
  }

  /** What can happen next, each with what it leads to. */
  *next(): Generator<State> {
    const { client, server, up, down, plan, fate } = this;
    if (this.starting) {
      yield this.with((next) => next.begin());
      // The server may be done with the connection by now.
      if (this.draining) yield this.with((next) => next.begin(ANY_REFUSAL));
    }
    if (up.length > 0) {
      yield this.with((next) => next.arrive());
      if (this.outrun) yield this.with((next) => next.arrive(true));
    }
    if (down.length > 0) {
      yield this.with(({ client, down }) => client.receive(down.shift()!), "client");
    }
    if (client.pulls) yield this.with(({ client }) => client.pull(), "client");
    if (client.ended) yield this.with(({ client }) => client.finish(), "client");
    if (client.raised) yield this.with(({ client }) => client.raise(), "client");
    if (client.settles) yield this.with(({ client }) => client.settle(), "client");
    if (client.answering) yield this.with(({ client }) => client.answer(), "client");
    if (server.refusal) yield this.with(({ server }) => server.tell(), "server");
    if (server.yielding && server.handler === "running") {
      yield this.with(({ server }) => server.resume(), "server");
    }
    if (server.thrown) yield this.with(({ server }) => server.fail(), "server");
    if (server.acts) yield this.with(({ server }) => server.act(), "server");
    if (server.handler === "leaving") {
      yield this.with(({ server }) => server.leave(false), "server");
      yield this.with(({ server }) => server.leave(true), "server");
    }
    if (server.handler === "about to run") {
      yield this.with(({ server }) => server.enter(), "server");
    }
    if (plan.tiny && client.state !== "over") {
      yield this.with(({ client }) => client.expire(), "client");
    }
    if (plan.tiny && server.inFlight) {
      yield this.with(({ server }) => server.end(DEADLINE_PASSED), "server");
    }
    if (this.forced) {
      yield this.with((next) => {
        next.forced = false;
        next.server.end(SHUTTING_DOWN);
      });
    }
    if (fate) yield* this.#end(fate);
  }

  /** Whether a deadline may have passed when interceptors look at it. */
  get outrun(): boolean {
    const { tiny, guarded } = this.plan;
    return tiny && guarded && this.up[0]!.type === "request" && !this.draining;
  }

  *#end({ client, server, loses, spares }: Fate): Generator<State> {
    if (spares && this.server.inFlight) return;
    if (this.up.length > 0 && loses.includes("up")) yield this.with(({ up }) => void up.splice(0));
    if (this.down.length > 0 && loses.includes("down")) {
      yield this.with(({ down }) => void down.splice(0));
    }
    if (this.up.length === 0 && (this.server.inFlight || this.server.state === "refused")) {
      for (const status of server ?? []) {
        yield this.with((next) => {
          next.server.disconnect(status);
          next.server.out = [];
        });
      }
    }
    const open = this.client.state === "open" || this.client.state === "half-closed";
    const gone = this.up.length === 0 && this.down.length === 0 && !this.server.inFlight;
    if (gone && open) {
      for (const status of client ?? []) {
        yield this.with((next) => next.client.disconnect(status));
      }
    }
  }

  begin(refusal = this.refusal): void {
    this.starting = false;
    this.client.begin(refusal);
  }

  /** The next frame comes to the server. */
  arrive(tooLate = false): void {
    const { up, server, draining } = this;
    const { type, message, status, last = false } = up.shift()!;
    if (type === "cancel") server.cancel(status !== undefined);
    else if (type !== "request") server.receive({ type, message, last });
    else if (draining) server.refuse(SHUTTING_DOWN);
    else server.accept({ message, last, late: tooLate });
  }

  /** What follows from something that happens in this state: to one half alone, or to both. */
  with(happens: (state: State) => void, half?: "client" | "server"): State {
    const client = half === "server" ? this.client : this.client.clone();
    const server = half === "client" ? this.server : this.server.clone();
    const next = Object.assign(new State(this.plan, client, server), this, { client, server });
    next.up = [...this.up];
    next.down = [...this.down];
    happens(next);
    next.up.push(...client.out.splice(0));
    next.down.push(...server.out.splice(0));
    return next;
  }
}

/** The states that a call may be in. */
export class CallModel {
  readonly plan: CallPlan;
  #reachable: readonly State[];
  /** Those from which nothing more happens by itself. */
  #final: readonly State[] = [];
  /** The same while nothing is done to the call. */
  #settled: readonly State[] = [];

  constructor(plan: CallPlan) {
    this.plan = plan;
    this.#reachable = [new State(plan)];
  }

  /** How many states it may be in. */
  get size(): number {
    return this.#settled.length;
  }

  /** The call is made. */
  start(refusal: Refusal | undefined, draining: boolean): void {
    this.#happens((state) => {
      state.refusal = refusal;
      state.draining = draining;
      const { slow, tiny, client } = this.plan;
      // Time may pass before interceptors have passed the call on.
      if (slow || tiny && client.intercepted) state.starting = true;
      else state.begin();
    });
  }

  /** Something is done to the client's half. */
  client(happens: (client: ClientHalf) => void): void {
    this.#happens(({ client }) => happens(client));
  }

  /** Something is done to the server's half. */
  server(happens: (server: ServerHalf) => void): void {
    this.#happens(({ server }) => happens(server));
  }

  /** The connection ends, or begins to: at once where `happens` says so. */
  disconnect(refusal: Refusal | undefined, fate: Fate, happens?: (state: State) => void): void {
    this.#happens((state) => {
      state.refusal ??= refusal;
      state.fate = fate;
      happens?.(state);
    });
  }

  /** The server shuts down. */
  drain(forced: boolean, fate: Fate | undefined): void {
    this.#happens((state) => {
      state.draining = true;
      state.forced = forced;
      state.fate = fate;
    });
  }

  /** Everything that was begun comes to its end. What can be seen then: one of these. */
  settle(): string[][] {
    this.#settled = this.#final;
    return this.#final.map((state) => state.shows());
  }

  /** Only these states turned out to be possible. */
  keep(possible: (shows: readonly string[]) => boolean): void {
    this.#settled = this.#settled.filter((state) => possible(state.shows()));
    this.#reachable = this.#final = this.#settled;
  }

  /** What holds in all states, or may hold in some. */
  in(states: "all" | "some", holds: (client: ClientHalf, server: ServerHalf) => boolean): boolean {
    const test = ({ client, server }: State) => holds(client, server);
    const of = this.#settled.length > 0 ? this.#settled : this.#reachable;
    return states === "all" ? of.every(test) : of.some(test);
  }

  /** The codes that one side may have ended the call with. */
  codes(side: "client" | "server"): Set<number> {
    const codes = new Set<number>();
    for (const state of this.#settled) {
      const { status } = state[side];
      if (status) codes.add(status.code);
    }
    return codes;
  }

  #happens(what: (state: State) => void): void {
    const states = new Map<string, State>();
    const fresh: State[] = [];
    const add = (state: State) => {
      const key = state.key();
      if (states.has(key)) return;
      states.set(key, state);
      fresh.push(state);
    };
    const final: State[] = [];
    for (const state of this.#reachable) add(state.with(what));
    for (let state = fresh.pop(); state; state = fresh.pop()) {
      let last = true;
      for (const next of state.next()) {
        last = false;
        add(next);
      }
      if (last) final.push(state);
    }
    this.#reachable = [...states.values()];
    this.#final = final;
    this.#settled = [];
  }
}
