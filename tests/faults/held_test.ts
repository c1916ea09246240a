// What peers can make a server hold: the bounds of `limits.heldBytes` and `limits.serverHeldBytes`,
// measured from outside.

import { equal, ok } from "node:assert/strict";
import { decodeResponse } from "../../envelope.ts";
import { RawPeer, requestData } from "../raw_peer.ts";
import { Victim } from "./victim.ts";

const MIB = 1 << 20;

/** A message of four MiB, as a length for Produce. */
const LONG = new Uint8Array([8, 0x80, 0x80, 0xff, 1]);

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!await condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Sends requests for long replies until the server takes no more. */
async function ask(peer: RawPeer, count: number): Promise<void> {
  const data = requestData({ method: "Produce", payload: LONG });
  try {
    for (let i = 0; i < count; i++) await peer.send({ streamId: 2 * i + 1, data });
  } catch {
    // The test has closed it.
  }
}

/** Waits until the server holds no more from one look to the next. */
async function settled(victim: Victim): Promise<number> {
  let before = -1;
  let held = 0;
  await until(async () => {
    before = held;
    await new Promise((resolve) => setTimeout(resolve, 200));
    ({ heldBytes: held } = await victim.report());
    return held === before && held > 0;
  });
  return held;
}

const handlers = { "at once": [], "with a promise": ["0"], "after 20 ms": ["20"] };

for (const [when, args] of Object.entries(handlers)) {
  Deno.test(`replies of 4 MiB that are made ${when}, and nobody reads, cost what a connection may hold`, async () => {
    await using victim = await Victim.start(...args);
    using peer = await RawPeer.connect(victim.path);
    const asking = ask(peer, 500);
    const held = await settled(victim);
    // A reply more than the limit may have begun when it was reached, and one is being written.
    ok(held <= (64 + 4 + 4) * MIB, `${held} bytes are held`);
    victim.check(2 * (64 + 4 + 4) * MIB);
    // Whoever reads, however late, has all answers.
    for (let i = 0; i < 100; i++) {
      const { data } = (await peer.receive())!;
      equal(decodeResponse(data).status, undefined);
    }
    peer[Symbol.dispose]();
    await asking;
    await until(async () => (await victim.report()).connections === 1);
    equal((await victim.report()).heldBytes, 0);
  });
}
