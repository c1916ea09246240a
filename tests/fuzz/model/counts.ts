/** What stats() has to show, by the models. */

import type { Stats } from "@ttrpc/ttrpc";
import { Code, codeName } from "../../../status.ts";
import type { CallModel } from "./call_model.ts";
import type { ClientHalf } from "./client_half.ts";
import type { ServerHalf } from "./server_half.ts";
import { TOLERATED } from "./tolerated.ts";

type Half = ClientHalf | ServerHalf;

/** From the number that is sure to the one that is possible. */
type Bounds = [least: number, most: number];

/** What one side has to count. Where the models do not know, there are bounds. */
export class Counts {
  readonly #side: "client" | "server";
  readonly #calls: readonly CallModel[];
  readonly #started: Bounds;
  readonly #inFlight: Bounds;
  readonly #queues: Bounds;
  readonly #failed = new Map<string, Bounds>();

  constructor(side: "client" | "server", calls: readonly CallModel[]) {
    this.#side = side;
    this.#calls = calls;
    this.#started = this.#count(({ counted }) => counted);
    this.#inFlight = this.#count(({ counted, state }) => counted && state !== "over");
    this.#queues = this.#count(({ inbox }) => inbox.length > 0);
    const codes = new Set(calls.flatMap((call) => [...call.codes(side)]));
    for (const code of codes) {
      const bounds = this.#count(({ counted, status }) => counted && status?.code === code);
      if (TOLERATED.lateDeadlines && code === Code.DEADLINE_EXCEEDED) {
        bounds[1] += calls.filter(({ plan }) => plan.tiny).length;
      }
      if (code !== 0) this.#failed.set(codeName(code), bounds);
    }
  }

  #count(holds: (half: Half) => boolean): Bounds {
    const of = (client: ClientHalf, server: ServerHalf) =>
      holds(this.#side === "client" ? client : server);
    const count = (states: "all" | "some") =>
      this.#calls.filter((call) => call.in(states, of)).length;
    return [count("all"), count("some")];
  }

  /**
   * Compares numbers with these.
   *
   * @param open Whether the connection is open, if that is known.
   * @returns What is wrong, if anything is.
   */
  wrong(stats: Stats, open: boolean | undefined): string | undefined {
    const { callsStarted, callsInFlight, callsFailed, connections, openStreams } = stats;
    const numbers: [string, number, Bounds][] = [
      ["callsStarted", callsStarted, this.#started],
      ["callsInFlight", callsInFlight, this.#inFlight],
    ];
    for (const [name, count] of Object.entries(callsFailed)) {
      numbers.push([`callsFailed.${name}`, count, this.#failed.get(name) ?? [0, 0]]);
    }
    for (const [name, bounds] of this.#failed) {
      numbers.push([`callsFailed.${name}`, callsFailed[name] ?? 0, bounds]);
    }
    if (open !== undefined) {
      const none: Bounds = [0, 0];
      const queues = Math.min(1, stats.queuedBytes);
      const [least, most] = open ? this.#queues : none;
      numbers.push(["connections", connections, open ? [1, 1] : none]);
      numbers.push(["openStreams", openStreams, open ? this.#inFlight : none]);
      numbers.push(["queuedBytes", queues, [Math.min(1, least), Math.min(1, most)]]);
    }
    for (const [what, is, [least, most]] of numbers) {
      if (is >= least && is <= most) continue;
      const bounds = least === most ? `${least}` : `${least} to ${most}`;
      return `the ${this.#side}'s ${what} is ${is}, not ${bounds}`;
    }
    return undefined;
  }
}
