/**
 * Peers that mean harm, all kinds of them at once, until the process is killed:
 * `flooders.ts PATH SEED [KINDS]`, where KINDS is a
 * pattern for the names of the kinds. Each kind has several connections, and connects anew when one has ended.
 * Told anything, it prints how often each kind has connected, as JSON.
 */

import { concat } from "@std/bytes/concat";
import { encodeFrame, FrameFlag, FrameType, HEADER_LENGTH } from "../../framing.ts";
import { RawPeer, requestData } from "../raw_peer.ts";
import { random } from "./mix.ts";

/** How many connections each kind has. */
const EACH = 4;

const MIB = 1 << 20;

/** The longest message that the server takes, in bytes, and what is around it at most. */
const LONGEST = 4 * MIB - 100;

type Pick = ReturnType<typeof random>;

/** What a peer does with one connection. It rejects when that has ended. */
type Attack = (peer: RawPeer, pick: Pick) => Promise<void>;

const NOTHING = new Uint8Array(0);

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A frame that opens a call. */
function request(id: number, method: string, payload: Uint8Array = NOTHING, flags = 0): Uint8Array {
  const data = requestData({ method, payload });
  return encodeFrame({ streamId: id, type: FrameType.Request, flags, data });
}

function data(id: number, bytes: Uint8Array): Uint8Array {
  return encodeFrame({ streamId: id, type: FrameType.Data, flags: 0, data: bytes });
}

/** A header that announces so many bytes. */
function header(length: number, type: number = FrameType.Request): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length);
  view.setUint32(4, 1);
  bytes[8] = type;
  return bytes;
}

/** A field of bytes. */
function field(number: number, bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  const [a, b, c] = [length, length >> 7, length >> 14].map((part) => part & 127 | 128);
  return concat([Uint8Array.of(number << 3 | 2, a!, b!, c!, length >> 21), bytes]);
}

/** Fields of two bytes that no message knows. */
function unknown(count: number): Uint8Array {
  return new Uint8Array(2 * count).map((_, at) => at % 2 === 0 ? 0x78 : 1);
}

/** A message of Echo. */
function echo(length: number): Uint8Array {
  return field(1, new Uint8Array(length));
}

/** A message of Produce that asks for so many bytes, less than 2^28. */
function produce(length: number): Uint8Array {
  const [a, b, c] = [length, length >> 7, length >> 14].map((part) => part & 127 | 128);
  return Uint8Array.of(8, a!, b!, c!, length >> 21);
}

/** A message of Sleep for an hour. */
const HOUR = Uint8Array.of(8, 0x80, 0xdd, 0xdb, 1);

const OPEN = FrameFlag.RemoteOpen | FrameFlag.NoData;

/** Reads without looking, until the connection has ended. */
async function drain({ conn }: RawPeer): Promise<void> {
  const buffer = new Uint8Array(1 << 16);
  while (await conn.read(buffer) !== null);
}

/** Sends without end, and reads all that comes, too. */
async function converse(peer: RawPeer, frame: (id: number) => Uint8Array | Promise<Uint8Array>) {
  await Promise.all([drain(peer), send(peer, frame)]);
}

/** Sends without end. */
async function send(peer: RawPeer, frame: (id: number) => Uint8Array | Promise<Uint8Array>) {
  for (let id = 1;; id += 2) await peer.sendBytes(await frame(id));
}

/** Sends one after the other, each when the one before is answered. */
async function ask(peer: RawPeer, frame: (id: number) => Uint8Array): Promise<void> {
  for (let id = 1;; id += 2) {
    await peer.sendBytes(frame(id));
    if (await peer.receive() === undefined) return;
  }
}

/** Many small frames in one write. */
function batch(id: number, frame: (id: number) => Uint8Array): Uint8Array {
  return concat(Array.from({ length: 200 }, (_, i) => frame(400 * (id >> 1) + 2 * i + 1)));
}

const half = new Uint8Array(LONGEST / 2);
const manyUnknown = unknown(LONGEST / 2);
const someUnknown = concat([unknown(100_000), field(15, new Uint8Array(MIB))]);
const longEcho = echo(LONGEST - 100);
const sleepers = concat([HOUR, field(15, new Uint8Array(MIB))]);

/** All kinds, by name. */
const ATTACKS: Record<string, Attack> = {
  "malformed bytes": async (peer, pick) => {
    const bytes = Uint8Array.from({ length: 1 + pick(5_000) }, () => pick(256));
    if (pick(2) === 0) bytes[0] = 0;
    await peer.sendBytes(bytes);
    await drain(peer);
  },
  "malformed messages": (peer, pick) =>
    converse(peer, (id) => {
      const bytes = Uint8Array.from({ length: pick(300) }, () => pick(256));
      const type = pick(4); // two of them are none
      const frame = encodeFrame({ streamId: id, type, flags: pick(8), data: bytes });
      return pick(2) === 0 ? frame : request(id + pick(2), "Echo", bytes, pick(8));
    }),
  "huge messages": (peer, pick) =>
    ask(peer, (id) => request(id, "Echo", pick(2) === 0 ? longEcho : echo(pick(MIB)))),
  "oversized messages": (peer) =>
    converse(peer, (id) => id % 32 === 1 ? header(16 * MIB - 1) : half),
  "tiny messages": (peer, pick) => {
    const method = ["Nothing", "Nope", "Echo", "Count"][pick(4)]!;
    return converse(peer, (id) => batch(id, (id) => request(id, method)));
  },
  "tiny messages, and reads nothing": (peer, pick) => {
    const method = ["Nothing", "Nope", "Echo", "Fail"][pick(4)]!;
    return send(peer, (id) => batch(id, (id) => request(id, method)));
  },
  "empty messages of a stream": async (peer) => {
    await peer.sendBytes(request(1, "Chat", undefined, OPEN));
    const frame = data(1, NOTHING);
    await send(peer, (id) => batch(id, () => frame)); // reads nothing
  },
  "silent": async (peer, pick) => {
    await Promise.race([drain(peer), pause(pick(10_000))]);
  },
  "slow": async (peer, pick) => {
    const frame = request(1, "Echo", echo(1_000));
    const slowly = async () => {
      for (const byte of frame) {
        await peer.sendBytes(Uint8Array.of(byte));
        await pause(pick(10));
      }
    };
    await Promise.race([slowly(), drain(peer)]);
  },
  "reconnecting": async (peer, pick) => {
    const kind = pick(4);
    if (kind === 1) await peer.sendBytes(request(1, "Produce", produce(MIB)));
    else if (kind === 2) await peer.sendBytes(request(1, "Sleep", HOUR));
    else if (kind === 3) await peer.sendBytes(header(100).subarray(0, 1 + pick(10)));
  },
  "long replies, and reads nothing": (peer, pick) =>
    send(peer, (id) => request(id, "Produce", produce(pick(2) === 0 ? LONGEST - 200 : MIB))),
  "long echoes, and reads nothing": (peer) => send(peer, (id) => request(id, "Echo", longEcho)),
  "too many unknown fields": (peer) => ask(peer, (id) => request(id, "Nothing", manyUnknown)),
  "as many unknown fields as are allowed": (peer) =>
    ask(peer, (id) => request(id, "Nothing", someUnknown)),
  "half of a long frame": async (peer, pick) => {
    await peer.sendBytes(header(LONGEST, pick(2) === 0 ? FrameType.Request : FrameType.Data));
    await peer.sendBytes(half.subarray(pick(half.length)));
    await drain(peer);
  },
  "streams that are never finished": async (peer) => {
    const open = (id: number) => request(id, ["Chat", "Sum"][id >> 1 & 1]!, undefined, OPEN);
    for (let id = 1; id < 100; id += 2) await peer.sendBytes(batch(id, open));
    await drain(peer);
  },
  "long messages of streams, and reads nothing": async (peer, pick) => {
    for (let id = 1; id < 20; id += 2) await peer.sendBytes(request(id, "Chat", undefined, OPEN));
    await send(peer, () => data(1 + 2 * pick(10), echo(pick(100_000))));
  },
  "calls that wait": async (peer) => {
    await converse(peer, (id) => request(id, "Sleep", sleepers));
  },
};

/** How many peers there are at once. */
export const FLOODERS: number = EACH * Object.keys(ATTACKS).length;

/** Goes on for ever. */
async function flood(path: string, attack: Attack, pick: Pick, count: () => void): Promise<never> {
  for (;;) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      using peer = await RawPeer.connect(path);
      count();
      // Half of them stay until the server ends it.
      if (pick(2) === 0) timer = setTimeout(() => peer[Symbol.dispose](), 500 + pick(8_000));
      await attack(peer, pick);
    } catch {
      // The connection has ended.
    }
    clearTimeout(timer);
    await pause(1 + pick(20));
  }
}

if (import.meta.main) {
  const [path, seed, kinds = ""] = Deno.args;
  const connections: Record<string, number> = {};
  for (const [at, [name, attack]] of Object.entries(ATTACKS).entries()) {
    if (!new RegExp(kinds).test(name)) continue;
    connections[name] = 0;
    for (let i = 0; i < EACH; i++) {
      const pick = random(Number(seed) + EACH * at + i);
      void flood(path!, attack, pick, () => void connections[name]!++);
    }
  }
  console.log("ready");
  // Whatever it is told, that is what it is asked for.
  for await (const _ of Deno.stdin.readable) console.log(JSON.stringify(connections));
}
