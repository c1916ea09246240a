// The lower bound: the cost of Deno's sockets alone for the same bytes. Messages have a fixed
// length and no header. The server answers complete messages only, as any RPC server must.

import type { Tally } from "./meter.ts";
import { payloadOf, runPeer } from "./peer.ts";
import type { Plan } from "../workloads.ts";

const BUFFER_BYTES = 1 << 16;

async function echo(conn: Deno.Conn, plan: Plan): Promise<void> {
  const messages = new MessageReader(conn, plan);
  for (let whole = await messages.read(); whole; whole = await messages.read()) {
    await writeAll(conn, whole);
  }
}

async function load(conn: Deno.Conn, plan: Plan, tally: Tally, inFlight: number): Promise<void> {
  const { bytes } = plan;
  const perWrite = Math.min(inFlight, Math.ceil(BUFFER_BYTES / bytes));
  const batch = payloadOf({ bytes: bytes * perWrite });
  const send = async (count: number) => {
    for (let left = count; left > 0; left -= perWrite) {
      await writeAll(conn, batch.subarray(0, bytes * Math.min(left, perWrite)));
    }
  };
  const messages = new MessageReader(conn, plan);
  // Responses are read while requests are written; otherwise both sides could block on writing.
  let sent = send(inFlight);
  for (let due = inFlight; due > 0;) {
    const whole = await messages.read();
    if (!whole) throw new Error("the server closed the connection");
    const count = whole.length / bytes;
    tally.completed(count);
    if (tally.over) due -= count;
    else sent = sent.then(() => send(count));
  }
  await sent;
}

/** Reads messages of a fixed length into one buffer. */
class MessageReader {
  readonly #conn: Deno.Conn;
  readonly #bytes: number;
  readonly #buffer: Uint8Array<ArrayBuffer>;
  #taken = 0;
  #end = 0;

  constructor(conn: Deno.Conn, { bytes, inFlight, connections }: Plan) {
    this.#conn = conn;
    this.#bytes = bytes;
    const most = bytes * inFlight / connections;
    this.#buffer = new Uint8Array(Math.max(bytes, Math.min(most, BUFFER_BYTES)));
  }

  /** Reads one message or more, valid until the next read; `undefined` at the end. */
  async read(): Promise<Uint8Array | undefined> {
    const buffer = this.#buffer;
    buffer.copyWithin(0, this.#taken, this.#end);
    this.#end -= this.#taken;
    this.#taken = 0;
    while (this.#end < this.#bytes) {
      const length = await this.#conn.read(buffer.subarray(this.#end));
      if (length === null) return undefined;
      this.#end += length;
    }
    this.#taken = this.#end - this.#end % this.#bytes;
    return buffer.subarray(0, this.#taken);
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await conn.write(rest));
}

await runPeer({
  serve(path, plan) {
    const listener = Deno.listen({ transport: "unix", path });
    void (async () => {
      for await (const conn of listener) void echo(conn, plan);
    })();
  },

  async connect(path, plan) {
    const conn = await Deno.connect({ transport: "unix", path });
    return {
      call: (tally) => load(conn, plan, tally, 1),
      load: (tally, inFlight) => load(conn, plan, tally, inFlight),
    };
  },
});
