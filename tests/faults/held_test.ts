// What peers can make a server hold: the bounds of `limits.heldBytes` and `limits.serverHeldBytes`,
// measured from outside.

import { equal, ok } from "node:assert/strict";
import { decodeResponse } from "../../wire/envelope.ts";
import { encodeFrame, FrameFlag, FrameType } from "../../framing.ts";
import { procTest as test } from "../machine.ts";
import { RawPeer, requestData } from "../raw_peer.ts";
import { Victim } from "./victim.ts";
import { untilAtRest } from "../wait.ts";

const MIB = 1 << 20;

/** A message of four MiB, as a length for Produce. */
const LONG = new Uint8Array([8, 0x80, 0x80, 0xff, 1]);

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
function settled(victim: Victim): Promise<number> {
  return untilAtRest(async () => (await victim.report()).heldBytes, 200);
}

const handlers = {
  "at once": {},
  "with a promise": { delayMs: 0 },
  "after 20 ms": { delayMs: 20 },
};

for (const [when, options] of Object.entries(handlers)) {
  test(`replies of 4 MiB that are made ${when}, and nobody reads, cost what a connection may hold`, async () => {
    await using victim = await Victim.start(options);
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
    await victim.until(({ connections }) => connections === 1);
    equal((await victim.report()).heldBytes, 0);
  });
}

test("requests of calls that wait cost what a connection may hold, and the rest is not read", async () => {
  await using victim = await Victim.start();
  using peer = await RawPeer.connect(victim.path);
  // A field that Sleep does not know is kept with the message, for as long as the handler has it.
  const payload = new Uint8Array(MIB);
  payload.set([8, 0x80, 0xdd, 0xdb, 1, 0x7a]); // an hour
  const rest = MIB - 9;
  payload.set([rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14], 6);
  const sleep = requestData({ method: "Sleep", payload });
  let sent = 0;
  const sending = (async () => {
    for (let i = 0; i < 200; i++, sent++) await peer.send({ streamId: 2 * i + 1, data: sleep });
  })().catch(() => {});
  const held = await settled(victim);
  ok(held > 60 * MIB && held < (64 + 2) * MIB, `${held} bytes are held`);
  ok(sent < 70, `${sent} requests were taken`);
  victim.check(2 * (64 + 2) * MIB);
  peer[Symbol.dispose]();
  await sending;
  await victim.until(({ callsInFlight }) => callsInFlight === 1);
  await victim.until(({ external }) => external < 32 * MIB);
});

test("40 peers that read nothing cost what a server may hold, and others are answered", async () => {
  await using victim = await Victim.start({ delayMs: 20 });
  const peers = await Promise.all(Array.from({ length: 40 }, () => RawPeer.connect(victim.path)));
  const asking = peers.map((peer) => ask(peer, 100));
  const held = await settled(victim); // a client is answered meanwhile, again and again
  // Each connection may have one call that is small as far as is known.
  ok(held <= (512 + 40 * 4) * MIB, `${held} bytes are held`);
  victim.check(2 * 512 * MIB);
  for (const peer of peers) peer[Symbol.dispose]();
  await Promise.all(asking);
  // Handlers hold their requests until they settle.
  await victim.until(({ heldBytes }) => heldBytes === 0);
  equal((await victim.report()).connections, 1);
});

test("20 peers that send messages without bytes cost what connectionQueueBytes says", async () => {
  await using victim = await Victim.start({ holds: true, limits: { stallTimeoutMs: 0 } });
  const peers = await Promise.all(Array.from({ length: 20 }, () => RawPeer.connect(victim.path)));
  const none = encodeFrame({
    streamId: 1,
    type: FrameType.Data,
    flags: 0,
    data: new Uint8Array(0),
  });
  const many = new Uint8Array(1_000 * none.length);
  for (let at = 0; at < many.length; at += none.length) many.set(none, at);
  const sending = peers.map(async (peer) => {
    try {
      const data = requestData({ method: "Chat" });
      await peer.send({ streamId: 1, flags: FrameFlag.RemoteOpen | FrameFlag.NoData, data });
      for (;;) await peer.sendBytes(many);
    } catch {
      // The test has closed it.
    }
  });
  const held = await settled(victim);
  ok(held > 20 * 7 * MIB && held < 20 * 9 * MIB, `${held} bytes are held`);
  victim.check(20 * 2 * 8 * MIB);
  for (const peer of peers) peer[Symbol.dispose]();
  await Promise.all(sending);
  await victim.until(({ connections }) => connections === 1);
});

test("queues of 30 peers that nobody takes from are bounded for the server, too", async () => {
  const limits = { serverHeldBytes: 32 * MIB, stallTimeoutMs: 0 };
  await using victim = await Victim.start({ holds: true, limits });
  const peers = await Promise.all(Array.from({ length: 30 }, () => RawPeer.connect(victim.path)));
  const message = new Uint8Array(MIB >> 8);
  const sending = peers.map(async (peer) => {
    try {
      const data = requestData({ method: "Chat" });
      await peer.send({ streamId: 1, flags: FrameFlag.RemoteOpen | FrameFlag.NoData, data });
      for (;;) await peer.send({ streamId: 1, type: FrameType.Data, data: message });
    } catch {
      // The test has closed it.
    }
  });
  const held = await settled(victim);
  // Each may have its share, and what one read brings.
  ok(held > 31 * MIB && held < 36 * MIB, `${held} bytes are held`);
  victim.check(2 * 36 * MIB);
  for (const peer of peers) peer[Symbol.dispose]();
  await Promise.all(sending);
  await victim.until(({ connections }) => connections === 1);
});
