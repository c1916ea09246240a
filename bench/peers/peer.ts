/**
 * The common code of the peers in TypeScript. Every peer, in any language, is started as one of
 *
 *     PEER server PATH PLAN
 *     PEER client PATH PLAN
 *
 * and prints `{"ready":true}` when it listens, or is connected. It exits at the end of stdin, and
 * answers each line of stdin:
 *
 * - `gc`: a server collects its garbage, if it can, and prints `{}`.
 * - `load`: a client runs the load of the plan. It prints `{"measuring":true}` when counting
 *   starts, and a `Measured` when it ends.
 * - `calls N`: a client makes N calls, as many at a time as the plan says, and prints their number:
 *   `{"calls":N}`.
 * - `connect N`, `streams N`: a client opens N more connections, or N streams on its first
 *   connection, which stay open and idle, and prints `{}`.
 * - `touch`: a client makes one call on each connection, and prints `{}`.
 */

import type { Plan } from "../workloads.ts";
import { args, exit, lines } from "./host.ts";
import { Counter, Meter, type Tally } from "./meter.ts";

/** The two sides of a contender. */
export interface Peer {
  /** Listens on a unix socket. Settles when clients can connect. */
  serve(path: string, plan: Plan): Promise<unknown> | void;
  /** Opens a connection. */
  connect(path: string, plan: Plan): Promise<Connection> | Connection;
}

/** A connection of a client. */
export interface Connection {
  /** Makes a unary call or runs a stream, and counts its messages as they are completed. */
  call(tally: Tally): Promise<void>;
  /** Opens a stream that stays open. Later calls use the same connection. */
  open?(): void;
  /** Keeps calls in flight until the tally is over. Without it, `call()` is used. */
  load?(tally: Tally, inFlight: number): Promise<void>;
}

/** Runs a peer in the role that the command line names. */
export async function runPeer(peer: Peer, [role, path, json] = args): Promise<void> {
  if ((role !== "server" && role !== "client") || !path || !json) {
    throw new TypeError("usage: server|client PATH PLAN");
  }
  const plan: Plan = JSON.parse(json);
  if (role === "server") {
    await peer.serve(path, plan);
    say({ ready: true });
    for await (const _ of lines()) {
      (globalThis as { gc?: () => void }).gc?.();
      say({});
    }
  } else {
    const client = new Client(peer, path, plan);
    await client.connect(plan.connections);
    say({ ready: true });
    for await (const line of lines()) await client.obey(line);
  }
  exit();
}

function say(event: object): void {
  console.log(JSON.stringify(event));
}

class Client {
  readonly #peer: Peer;
  readonly #path: string;
  readonly #plan: Plan;
  readonly #connections: Connection[] = [];

  constructor(peer: Peer, path: string, plan: Plan) {
    this.#peer = peer;
    this.#path = path;
    this.#plan = plan;
  }

  async connect(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.#connections.push(await this.#peer.connect(this.#path, this.#plan));
    }
  }

  async obey(line: string): Promise<void> {
    const [verb, text] = line.split(" ");
    const count = Number(text);
    switch (verb) {
      case "load": {
        const meter = new Meter(this.#plan, say);
        meter.start();
        return await this.#load(meter);
      }
      case "calls": {
        const counter = new Counter(count);
        await this.#load(counter);
        return say({ calls: counter.count });
      }
      case "connect":
        await this.connect(count);
        return say({});
      case "streams": {
        const first = this.#connections[0]!;
        for (let i = 0; i < count; i++) first.open?.();
        await first.call(new Counter(1));
        return say({});
      }
      case "touch":
        for (const connection of this.#connections) await connection.call(new Counter(1));
        return say({});
      default:
        throw new TypeError(`Cannot run "${line}": there is no such command`);
    }
  }

  async #load(tally: Tally): Promise<void> {
    const connections = this.#connections;
    const inFlight = Math.ceil(this.#plan.inFlight / connections.length);
    await Promise.all(
      connections.map((connection) =>
        connection.load?.(tally, inFlight) ?? callLoad(connection, tally, inFlight)
      ),
    );
  }
}

async function callLoad(connection: Connection, tally: Tally, inFlight: number): Promise<void> {
  const worker = async () => {
    while (!tally.over) await connection.call(tally);
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
}

/** The payload of every message. */
export function payloadOf({ bytes }: Pick<Plan, "bytes">): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes).fill(0x61);
}

/** Throws if the length of a response is not that of its request. */
export function check(payload: Uint8Array | undefined, { bytes }: Plan): void {
  if (payload?.length === bytes) return;
  throw new Error(`${payload?.length} bytes came back instead of ${bytes}`);
}

/** Throws if the id of a response is not that of its request. */
export function checkId(received: { id: string } | undefined, sent: { id: string }): void {
  if (received?.id === sent.id) return;
  throw new Error(`a message with the id ${received?.id} came back instead of ${sent.id}`);
}

/** Throws if the number of received messages is wrong. */
export function checkCount(count: number | undefined, { perStream }: Plan): void {
  if (count === perStream) return;
  throw new Error(`${count} messages came instead of ${perStream}`);
}
