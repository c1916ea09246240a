/** The connection of a model: what happens to it, and to the calls on it. */

import { Code } from "../../../status.ts";
import type { CallModel, Fate } from "./call_model.ts";
import type { Refusal } from "./client_half.ts";
import { type Ending, ending } from "./messages.ts";
import type { ConnectionEvent } from "./program.ts";

const ENDED = ending(Code.CANCELLED, "the connection has ended");
const LOST_SOMEHOW = ending(Code.UNAVAILABLE, "connection*lost*");

/** What has become of the connection. */
export class Line {
  readonly #name: string | undefined;
  readonly #calls: readonly CallModel[];
  /** How calls end that are made now; `undefined` while they are sent. */
  refusal: Refusal | undefined;
  /** Whether the server takes no more calls. */
  draining = false;
  /** Whether it was lost, which the client's `onClose` hears; `undefined` if that is not known. */
  lost: boolean | undefined = false;

  /**
   * @param name The name of the client's end, if it has one.
   * @param calls The calls, to which more will come.
   */
  constructor(name: string | undefined, calls: readonly CallModel[]) {
    this.#name = name;
    this.#calls = calls;
  }

  /** Something happens to it; at rest, when nothing else does. */
  happens(event: ConnectionEvent, atRest: boolean): void {
    if (event === "client.close()") this.#closeClient(atRest);
    if (this.refusal) return;
    if (event === "server.shutdown()") this.#drain(false, atRest);
    else if (event === "server.shutdown({ timeoutMs: 0 })") this.#drain(true, atRest);
    else this.#lose(event, atRest);
  }

  #closeClient(atRest: boolean): void {
    const { refusal } = this;
    const title = this.#name === undefined ? "the connection" : `connection to ${this.#name}`;
    this.refusal = { ending: ending(Code.CANCELLED, `${title} is closed`), closed: true };
    if (refusal) return;
    const fate: Fate = {
      server: atRest ? [ENDED] : [ENDED, LOST_SOMEHOW],
      loses: atRest ? [] : ["up", "down"],
    };
    const { ending: closed } = this.refusal;
    for (const call of this.#calls) {
      call.disconnect(this.refusal, fate, ({ client }) => client.disconnect(closed));
    }
  }

  #drain(forced: boolean, atRest: boolean): void {
    this.draining = true;
    if (!atRest) this.lost = undefined;
    // A Request that comes too late is dropped, if the server is done with the connection by then.
    const client = [this.#lostWith(atRest, "*")];
    const fate: Fate = { client, server: [ENDED], loses: ["up"], spares: true };
    for (const call of this.#calls) call.drain(forced, atRest ? undefined : fate);
  }

  #lose(event: ConnectionEvent, atRest: boolean): void {
    const here = event === "the client's end is cut";
    const client = this.#lostWith(atRest, atRest && !here ? "the server closed it" : "*");
    const clean = atRest && !here && !this.#some(({ state }) => isSent(state));
    this.lost = atRest || here ? !clean : undefined;
    this.refusal = {
      ending: clean ? this.#closed() : atRest ? client : ending(Code.UNAVAILABLE, "*"),
      closed: false,
    };
    const server = event === "server.close()"
      ? [ENDED]
      : here
      ? [ENDED, LOST_SOMEHOW]
      : [LOST_SOMEHOW];
    const fate: Fate = { client: [client], server, loses: atRest ? [] : ["up", "down"] };
    for (const call of this.#calls) {
      call.disconnect(this.refusal, fate, ({ server }) => {
        if (event !== "server.close()") return;
        server.disconnect(ENDED);
        server.out = [];
      });
    }
  }

  /** Everything has come to rest. Finds out whether the server is done with the connection. */
  rest(): void {
    if (!this.draining || this.refusal) return;
    if (this.#calls.some((call) => !call.in("all", (_, server) => !server.inFlight))) return;
    const unknown = ending(Code.UNAVAILABLE, "*");
    this.refusal = { ending: this.lost === undefined ? unknown : this.#closed(), closed: false };
  }

  /** Whether the connection is open; `undefined` if the models do not know. */
  get open(): boolean | undefined {
    if (this.refusal) return false;
    if (!this.draining) return true;
    const working = this.#calls.some((call) => call.in("all", (_, server) => server.inFlight));
    if (working) return true;
    const idle = this.#calls.every((call) => call.in("all", (_, server) => !server.inFlight));
    return idle ? false : undefined;
  }

  #closed(): Ending {
    return ending(Code.UNAVAILABLE, `the server has closed ${this.#name ?? "the connection"}`);
  }

  /** How calls in flight end when the connection is lost. */
  #lostWith(atRest: boolean, why: string): Ending {
    const title = this.#name === undefined ? "connection" : `connection to ${this.#name}`;
    const sent = (states: "all" | "some") =>
      this.#calls.filter((call) => call.in(states, ({ state }) => isSent(state))).length;
    const [least, most] = [sent("all"), sent("some")];
    const calls = `${most} ${most === 1 ? "call" : "calls"}`;
    const with_ = !atRest || least !== most ? "*" : most === 0 ? "" : ` with ${calls} in flight`;
    return ending(Code.UNAVAILABLE, `${title} lost${with_}: ${why}`);
  }

  #some(holds: (client: { readonly state: string }) => boolean): boolean {
    return this.#calls.some((call) => call.in("some", holds));
  }
}

/** Whether a call waits for the server. */
export function isSent(state: string): boolean {
  return state === "open" || state === "half-closed";
}
