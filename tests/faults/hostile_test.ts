// Peers that mean harm. Each test states how much memory they may cost the server, lets them go as
// far as they can, and ends with a fresh client that is answered.

import { concat } from "@std/bytes/concat";
import { connect } from "@ttrpc/ttrpc";
import { equal, match, ok } from "node:assert/strict";
import { schemaCodec } from "../../codec.ts";
import { decodeResponse, type Request } from "../../wire/envelope.ts";
import { encodeFrame, FrameFlag, FrameType, HEADER_LENGTH } from "../../framing.ts";
import { SleepRequestSchema, TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { DECODE_BYTES } from "../../limits.ts";
import { Metadata } from "../../metadata.ts";
import { Code } from "../../status.ts";
import { SocketFolder } from "../fixture.ts";
import { procTest as test } from "../machine.ts";
import { RawPeer, RawServer, requestData } from "../raw_peer.ts";
import { Child } from "./child.ts";
import { Victim } from "./victim.ts";
import { untilAtRest } from "../wait.ts";

const KIB = 1 << 10;
const MIB = 1 << 20;

/** Frames that open streams, or try to. */
function requests(first: number, count: number, frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(count * frame.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    bytes.set(frame, i * frame.length);
    view.setUint32(i * frame.length + 4, first + 2 * i);
  }
  return bytes;
}

function requestFrame(method: string, flags = 0, rest: Partial<Request> = {}): Uint8Array {
  const data = requestData({ method, ...rest });
  return encodeFrame({ streamId: 1, type: FrameType.Request, flags, data });
}

/** Reads to the end without looking. */
async function drain(peer: RawPeer): Promise<number> {
  const buffer = new Uint8Array(64 * KIB);
  let total = 0;
  try {
    for (let n = await peer.conn.read(buffer); n !== null; n = await peer.conn.read(buffer)) {
      total += n;
    }
  } catch {
    // The test has closed it.
  }
  return total;
}

test("500 headers that announce 4 MiB each, and then silence, cost what was sent", async () => {
  // Nobody is given up for the room that others need: it is the memory that counts.
  await using victim = await Victim.start({ limits: { frameTimeoutMs: 0 } });
  const peers = await Promise.all(
    Array.from({ length: 500 }, () => RawPeer.connect(victim.path)),
  );
  const header = new Uint8Array([0, 0x40, 0, 0, 0, 0, 0, 1, FrameType.Request, 0]);
  for (const peer of peers) await peer.sendBytes(header);
  await victim.until(({ connections }) => connections === 501);
  // 17 KiB of Deno, 4 KiB and 64 KiB of ours, each: never 500 times 4 MiB, which is 2 GiB.
  victim.check(500 * 128 * KIB);
  for (const peer of peers) peer[Symbol.dispose]();
  await victim.until(({ connections }) => connections === 1);
});

test("50 frames of 4 MiB that stop at their half cost that half", async () => {
  await using victim = await Victim.start();
  const peers = await Promise.all(Array.from({ length: 50 }, () => RawPeer.connect(victim.path)));
  const half = new Uint8Array(2 * MIB);
  half.set([0, 0x40, 0, 0, 0, 0, 0, 1, FrameType.Request, 0]);
  for (const peer of peers) await peer.sendBytes(half);
  await victim.until(({ connections }) => connections === 51);
  // A buffer doubles as it fills, and the old one lives until it is collected.
  victim.check(50 * 8 * MIB);
  for (const peer of peers) peer[Symbol.dispose]();
  await victim.until(({ connections }) => connections === 1);
  ok((await victim.report()).external < 32 * MIB, "the halves are given back");
});

const rejected: Record<string, Uint8Array> = {
  "an empty stream": requestFrame("Count", FrameFlag.RemoteClosed),
  "a handler that fails": requestFrame("Fail", 0, { payload: new Uint8Array([8, 5]) }),
  "a payload that is no message": requestFrame("Echo", 0, { payload: new Uint8Array([255]) }),
  "a deadline that has passed": requestFrame("Nothing", 0, { timeoutNano: -1n }),
  "no such method": requestFrame("Nope"),
  "no protobuf": encodeFrame({
    streamId: 1,
    type: FrameType.Request,
    flags: 0,
    data: new Uint8Array([0x0a, 0xff]),
  }),
  "no such stream": encodeFrame({
    streamId: 1,
    type: FrameType.Data,
    flags: 0,
    data: new Uint8Array(8),
  }),
};

for (const [name, frame] of Object.entries(rejected)) {
  for (const reads of [true, false]) {
    const how = reads ? "reads" : "does not read";
    test(`an endless stream of frames for ${name} from a peer that ${how} costs little`, async () => {
      await using victim = await Victim.start();
      using peer = await RawPeer.connect(victim.path);
      const drained = reads ? drain(peer) : undefined;
      const most = reads ? 200_000 * frame.length : 20 * MIB;
      let sent = 0;
      let stuck = false;
      const sending = (async () => {
        for (let id = 1; sent < most && !stuck; id += 2_000) {
          const batch = requests(id, 1_000, frame);
          await peer.sendBytes(batch);
          sent += batch.length;
        }
      })().catch(() => {});
      if (reads) await sending;
      else {
        // A peer that reads nothing is not read, either: it gets stuck.
        await untilAtRest(async () => {
          await victim.report();
          return sent;
        }, 5);
        ok(sent < most, "the peer was never held back");
        stuck = true;
      }
      // Most of it is V8's young generation, which a flood of short calls fills: up to 48 MiB.
      victim.check(96 * MIB);
      equal((await victim.report()).callsInFlight, 1); // the report itself
      peer[Symbol.dispose]();
      await sending;
      await drained;
    });
  }
}

test("100,000 streams opened and never finished cost 10,000, and all is given back", async () => {
  await using victim = await Victim.start();
  const before = await victim.report();
  using peer = await RawPeer.connect(victim.path);
  const drained = drain(peer);
  const frame = requestFrame("Chat", FrameFlag.RemoteOpen | FrameFlag.NoData);
  for (let i = 0; i < 100; i++) await peer.sendBytes(requests(1 + 2_000 * i, 1_000, frame));
  await victim.until((report) => report.callsFailed["RESOURCE_EXHAUSTED"] === 90_000);
  const open = await victim.report();
  equal(open.callsInFlight, 10_001);
  if (Deno.env.has("TTRPC_FIGURES")) {
    console.log(`${((open.heap - before.heap) / 10_000).toFixed()} bytes a stream`);
  }
  ok(open.heap - before.heap < 10_000 * 8 * KIB, `${open.heap - before.heap} bytes`);
  victim.check(160 * MIB);

  peer[Symbol.dispose]();
  await drained;
  await victim.until(({ callsInFlight }) => callsInFlight === 1);
  const { heap } = await victim.report();
  ok(heap - before.heap < 4 * MIB, `${heap - before.heap} bytes are left`);
});

test("giant metadata cost their multiple once, and too many pairs are refused", async () => {
  await using victim = await Victim.start();
  const before = await victim.report();
  using peer = await RawPeer.connect(victim.path);
  const pairs = (length: number) =>
    new Metadata(Array.from({ length }, (_, i) => [`x-key-${i}`, "value"] as const));
  const giants: [metadata: Metadata, refused: boolean][] = [
    [new Metadata({ "x-giant": "x".repeat(4_000_000) }), false],
    [pairs(10_000), false],
    [pairs(10_001), true],
    [pairs(150_000), true],
  ];
  for (const [at, [metadata, refused]] of giants.entries()) {
    await peer.request(2 * at + 1, { method: "Nothing", metadata });
    const { status } = decodeResponse((await peer.receive())!.data);
    equal(status?.code, refused ? Code.RESOURCE_EXHAUSTED : undefined);
  }
  victim.check(128 * MIB);
  const { heap } = await victim.report();
  ok(heap - before.heap < 4 * MIB, `${heap - before.heap} bytes are left`);
});

test("200 peers that send a byte at a time delay nobody, and are answered in the end", async () => {
  await using victim = await Victim.start();
  const peers = await Promise.all(
    Array.from({ length: 200 }, () => RawPeer.connect(victim.path)),
  );
  await using client = await connect({ path: victim.path });
  const service = client.service(TestService);
  const frame = requestFrame("Nothing");
  for (const byte of frame) {
    for (const peer of peers) await peer.sendBytes(new Uint8Array([byte]));
    equal((await service.echo({ text: "x" }, { timeoutMs: 5_000 })).text, "x");
  }
  for (const peer of peers) {
    const answer = (await peer.receive())!;
    equal(answer.type, FrameType.Response);
    equal(answer.data.length, 0);
  }
  victim.check(200 * 64 * KIB + 32 * MIB);
  for (const peer of peers) peer[Symbol.dispose]();
});

test("oversized frames without end are skipped, not stored", async () => {
  await using victim = await Victim.start();
  using peer = await RawPeer.connect(victim.path);
  const drained = drain(peer);
  const length = 16 * MIB - 1;
  const chunk = new Uint8Array(MIB);
  for (let i = 0; i < 10; i++) {
    const header = new Uint8Array(HEADER_LENGTH);
    new DataView(header.buffer).setUint32(0, length);
    header.set([0, 0, 0, 2 * i + 1, FrameType.Request, 0], 4);
    await peer.sendBytes(header);
    for (let left = length; left > 0; left -= chunk.length) {
      await peer.sendBytes(chunk.subarray(0, left));
    }
  }
  await victim.until((report) => report.callsFailed["RESOURCE_EXHAUSTED"] === 10);
  // 160 MiB came. What is read on the way is garbage, which is collected from time to time.
  victim.check(128 * MIB);
  peer[Symbol.dispose]();
  ok(await drained > 10 * HEADER_LENGTH);
});

/** Fields of two bytes that are unknown to any message. */
function unknownFields(count: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(2 * count).map((_, at) => at % 2 === 0 ? 0x78 : 1);
}

test("24 requests of 4 MiB of unknown fields are refused, and cost what was sent", async () => {
  await using victim = await Victim.start();
  using peer = await RawPeer.connect(victim.path);
  const data = requestData({ method: "Nothing", payload: unknownFields(2 * MIB - 100) });
  for (let i = 0; i < 24; i++) {
    await peer.send({ streamId: 2 * i + 1, data });
    const { status } = decodeResponse((await peer.receive())!.data);
    equal(status?.code, Code.RESOURCE_EXHAUSTED);
    ok(status.message.includes("limits.decodeFactor is 16"), status.message);
  }
  // 96 MiB came. What is read on the way is garbage, which is collected from time to time.
  victim.check(128 * MIB);
});

/** The request of Sleep that takes the most memory of those of a length, for an hour. */
function costliest(length: number): Uint8Array {
  const hour = Uint8Array.of(8, 0x80, 0xdd, 0xdb, 1);
  const message = (fields: number) =>
    concat([hour, unknownFields(fields), wrapped(0x7a, new Uint8Array(length - 10 - 2 * fields))]);
  const most = 16 * length + DECODE_BYTES;
  const codec = schemaCodec(SleepRequestSchema);
  let fields = 0;
  for (let step = 1 << 18; step >= 1; step >>= 1) {
    if (2 * (fields + step) + 20_000 > length) continue;
    if (codec.cost!(message(fields + step), most) <= most) fields += step;
  }
  return message(fields);
}

test("five requests of the costliest parts cost 16 times their bytes, and 16 MiB each", async () => {
  await using victim = await Victim.start({ limits: { heldBytes: 1 << 30 } });
  using peer = await RawPeer.connect(victim.path);
  const payload = costliest(1_300_000);
  const sleep = requestData({ method: "Sleep", payload });
  for (let i = 0; i < 5; i++) await peer.send({ streamId: 2 * i + 1, data: sleep });
  await victim.until(({ callsInFlight }) => callsInFlight === 6);
  const most = 16 * payload.length + DECODE_BYTES;
  ok((await victim.report()).heap > 5 * most / 2, "they are nearly what is allowed");
  // Twice that, for what V8 moves while it collects garbage.
  victim.check(2 * 5 * most);
  peer[Symbol.dispose]();
  await victim.until(({ callsInFlight }) => callsInFlight === 1);
});

test("a server's response of two million details is refused, and costs little", async () => {
  using socket = new SocketFolder();
  using server = new RawServer(socket.path);
  await using client = await Child.start("client.ts", [socket.path, "calls"]);
  using peer = await server.accept();
  const answer = async (data: Uint8Array, expected: RegExp) => {
    await client.tell("call");
    const { streamId } = (await peer.receive())!;
    await peer.send({ streamId, type: FrameType.Response, data });
    match(await client.expect(/^(answered|failed: .*)$/), expected);
  };
  await answer(new Uint8Array(0), /^answered$/);
  const before = client.footprint.rss;

  const details = new Uint8Array(4 * MIB - 10).map((_, at) => at % 2 === 0 ? 0x1a : 0);
  await answer(
    wrapped(0x0a, details),
    /RESOURCE_EXHAUSTED: the response has over 1000 status details/,
  );
  const payload = unknownFields(2 * MIB - 10);
  await answer(wrapped(0x12, payload), /RESOURCE_EXHAUSTED: .* \(limits\.decodeFactor is 16\)$/);
  const texts = new Uint8Array(4 * MIB - 10).map((_, at) => at % 2 === 0 ? 0x12 : 0);
  await answer(wrapped(0x0a, texts), /RESOURCE_EXHAUSTED: the response has over 50000 fields/);

  const grown = client.footprint.peak - before;
  if (Deno.env.has("TTRPC_FIGURES")) console.log(`${(grown / MIB).toFixed(1)} MiB`);
  ok(grown < 64 * MIB, `the client has grown by ${grown} bytes`);
  await answer(new Uint8Array(0), /^answered$/);
});

/** A field of so many bytes that its length takes four. */
function wrapped(tag: number, bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  const [a, b, c] = [length, length >> 7, length >> 14].map((part) => part & 127 | 128);
  return concat([Uint8Array.of(tag, a!, b!, c!, length >> 21), bytes]);
}
