// A pair in memory behaves as a pair of unix sockets: most tests run on both.

import { concat } from "@std/bytes/concat";
import { Code, connect, createConnectionPair, RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { nameOf } from "../address.ts";
import type { ByteConnection } from "../transport.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder, testHandlers } from "./fixture.ts";

type Conn = ByteConnection & { closeWrite(): Promise<void> };

/** Both ends, closed when the test is over. */
class Pair implements Disposable {
  readonly near: Conn;
  readonly far: Conn;

  constructor(near: ByteConnection, far: ByteConnection) {
    this.near = near as Conn;
    this.far = far as Conn;
  }

  [Symbol.dispose](): void {
    for (const end of [this.near, this.far]) {
      try {
        end.close();
      } catch {
        // The test has closed it.
      }
    }
  }
}

async function socketPair(): Promise<Pair> {
  using folder = new SocketFolder();
  using listener = Deno.listen({ transport: "unix", path: folder.path });
  const [near, far] = await Promise.all([
    Deno.connect({ transport: "unix", path: folder.path }),
    listener.accept(),
  ]);
  return new Pair(near, far);
}

const memoryPair = () => Promise.resolve(new Pair(...createConnectionPair()));

/** A test of what both kinds of pairs do. */
function both(name: string, fn: (pair: Pair) => Promise<void>): void {
  for (const [of, make] of [["in memory", memoryPair], ["of sockets", socketPair]] as const) {
    Deno.test(`a pair ${of} ${name}`, async () => {
      using pair = await make();
      await fn(pair);
    });
  }
}

/** More than a pair holds. */
const MUCH = new Uint8Array(1_000_000).map((_, at) => at % 251);
const NONE = new Uint8Array(0);

const bytes = (...values: number[]) => Uint8Array.from(values);

async function writeAll(conn: ByteConnection, rest: Uint8Array): Promise<void> {
  while (rest.length > 0) rest = rest.subarray(await conn.write(rest));
}

/** What one read gets. */
async function read(conn: ByteConnection, length = 100): Promise<Uint8Array | null> {
  const buffer = new Uint8Array(length);
  const count = await conn.read(buffer);
  return count === null ? null : buffer.subarray(0, count);
}

/** All that comes until the end. */
async function readAll(conn: ByteConnection): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (let part; (part = await read(conn, 50_000)) !== null;) parts.push(part);
  return concat(parts);
}

both("carries bytes both ways, in order", async ({ near, far }) => {
  equal(await near.write(bytes(1, 2)), 2);
  equal(await near.write(bytes(3)), 1);
  equal(await far.write(bytes(4)), 1);
  deepEqual(await read(far), bytes(1, 2, 3));
  deepEqual(await read(near), bytes(4));
});

both("gives a read what there is room for, and the next one the rest", async ({ near, far }) => {
  await near.write(bytes(1, 2, 3, 4, 5));
  deepEqual(await read(far, 2), bytes(1, 2));
  deepEqual(await read(far, 2), bytes(3, 4));
  deepEqual(await read(far, 2), bytes(5));
});

both("wakes a read that waits, and keeps what it had no room for", async ({ near, far }) => {
  const reading = read(far, 2);
  equal(await near.write(bytes(1, 2, 3)), 3);
  deepEqual(await reading, bytes(1, 2));
  deepEqual(await read(far, 2), bytes(3));
});

both("serves reads that wait in their order", async ({ near, far }) => {
  const reading = [read(far, 2), read(far, 2), read(far, 2)];
  await near.write(bytes(1, 2, 3, 4, 5));
  deepEqual(await Promise.all(reading), [bytes(1, 2), bytes(3, 4), bytes(5)]);
});

both("has done with the bytes of a write that has settled", async ({ near, far }) => {
  const sent = bytes(1, 2, 3);
  await near.write(sent);
  sent.fill(9);
  deepEqual(await read(far), bytes(1, 2, 3));
});

both("writes to a part of a buffer only", async ({ near, far }) => {
  for (const first of ["read", "write"]) {
    const buffer = new Uint8Array(8);
    const part = buffer.subarray(2, 4);
    const reading = first === "read" ? far.read(part) : undefined;
    await near.write(bytes(7, 7, 7, 7, 7, 7));
    equal(await (reading ?? far.read(part)), 2);
    deepEqual(buffer, bytes(0, 0, 7, 7, 0, 0, 0, 0));
    equal((await read(far))!.length, 4);
  }
});

both("reads nothing into no room, at once", async ({ near, far }) => {
  equal(await far.read(NONE), 0);
  await near.write(bytes(1));
  equal(await far.read(NONE), 0);
  deepEqual(await read(far), bytes(1));
});

/** Sizes of reads and writes: of two lists whose lengths have no common divisor, all pairs come. */
const WRITES = [1, 70_000, 17, 4_096, 33_333, 3, 65_536];
const READS = [100_000, 1, 1_024, 65_535, 7];

both("passes on much, in pieces of whatever size", async ({ near, far }) => {
  const writing = (async () => {
    let rest = MUCH;
    for (let turn = 0; rest.length > 0; turn++) {
      rest = rest.subarray(await near.write(rest.subarray(0, WRITES[turn % WRITES.length])));
    }
  })();
  const received = new Uint8Array(MUCH.length);
  let at = 0;
  for (let turn = 0; at < received.length; turn++) {
    at += (await far.read(received.subarray(at, at + READS[turn % READS.length]!)))!;
  }
  await writing;
  deepEqual(received, MUCH);
});

both("tells by a write of no bytes whether the peer is there", async ({ near, far }) => {
  equal(await near.write(NONE), 0);
  await far.closeWrite();
  equal(await near.write(NONE), 0);
  far.close();
  await rejects(near.write(NONE), Deno.errors.BrokenPipe);
  await rejects(near.write(NONE), Deno.errors.BrokenPipe);
});

both("does not wake a read that waits by a write of no bytes", async ({ near, far }) => {
  const reading = read(far);
  equal(await near.write(NONE), 0);
  await near.write(bytes(1));
  deepEqual(await reading, bytes(1));
});

both("delivers what was written before a half-close, and then the end", async ({ near, far }) => {
  const reading = readAll(far);
  await writeAll(near, MUCH);
  await near.closeWrite();
  deepEqual(await reading, MUCH);
  equal(await read(far), null);
});

both("reads on after its own half-close", async ({ near, far }) => {
  await near.closeWrite();
  await near.closeWrite();
  equal(await read(far), null);
  await far.write(bytes(1));
  deepEqual(await read(near), bytes(1));
  await rejects(near.write(bytes(1)), Deno.errors.BrokenPipe);
  await rejects(near.write(NONE), Deno.errors.BrokenPipe);
  far.close();
  equal(await read(near), null);
});

both("half-closes when the writes before have been made", async ({ near, far }) => {
  const writing = writeEach(near, 20);
  const closing = near.closeWrite();
  equal((await readAll(far)).length, await writing);
  await closing;
});

/** Starts that many writes at once. */
async function writeEach(conn: ByteConnection, count: number): Promise<number> {
  const writes = await Promise.all(Array.from({ length: count }, () => conn.write(MUCH)));
  return writes.reduce((sum, written) => sum + written);
}

both("wakes a read that waits with the end", async ({ near, far }) => {
  const reading = read(far);
  await near.closeWrite();
  equal(await reading, null);
  const other = read(near);
  far.close();
  equal(await other, null);
});

both("delivers what was written before a close, and then the end", async ({ near, far }) => {
  await near.write(bytes(1, 2, 3));
  near.close();
  deepEqual(await read(far, 2), bytes(1, 2));
  deepEqual(await read(far, 2), bytes(3));
  equal(await read(far), null);
  equal(await read(far), null);
  await rejects(far.write(bytes(1)), Deno.errors.BrokenPipe);
  await far.closeWrite();
});

both("is reset, after what it has, by a peer that closes with bytes unread", async (pair) => {
  const { near, far } = pair;
  await near.write(bytes(1));
  await near.write(bytes(2));
  await far.write(bytes(3));
  deepEqual(await read(far, 1), bytes(1));
  far.close();
  await rejects(near.write(bytes(1)), Deno.errors.BrokenPipe);
  deepEqual(await read(near), bytes(3));
  await rejects(read(near), Deno.errors.ConnectionReset);
  equal(await read(near), null); // told once
});

both("is reset while it reads, too, and after the end", async ({ near, far }) => {
  await near.write(bytes(1));
  const reading = read(near);
  far.close();
  await rejects(reading, Deno.errors.ConnectionReset);
  equal(await read(near), null);
});

both("is reset even after the end of what it could read", async ({ near, far }) => {
  await far.closeWrite();
  equal(await read(near), null);
  await near.write(bytes(1));
  far.close();
  await rejects(read(near), Deno.errors.ConnectionReset);
  equal(await read(near), null);
});

both("is not reset by a peer that has read all", async ({ near, far }) => {
  await near.write(bytes(1));
  await read(far);
  far.close();
  equal(await read(near), null);
});

both("fails a write that waits when its peer closes", async ({ near, far }) => {
  const writing = rejects(writeAll(near, MUCH), Deno.errors.BrokenPipe);
  await read(far);
  far.close();
  await writing;
});

both("lets a write that waits go on when its peer reads", async ({ near, far }) => {
  const writing = writeAll(near, MUCH);
  const received = new Uint8Array(MUCH.length);
  for (let at = 0; at < received.length;) at += (await far.read(received.subarray(at)))!;
  await writing;
  deepEqual(received, MUCH);
});

both("settles what waits when it is closed, and takes nothing more", async ({ near, far }) => {
  const reading = rejects(read(near), Deno.errors.Interrupted);
  const writing = rejects(writeAll(near, MUCH), Deno.errors.Interrupted);
  await read(far); // the first write has been made
  near.close();
  await reading;
  await writing;
  await rejects(read(near), Deno.errors.BadResource);
  await rejects(near.write(bytes(1)), Deno.errors.BadResource);
  await rejects(near.write(NONE), Deno.errors.BadResource);
  await rejects(near.closeWrite(), Deno.errors.BadResource);
});

Deno.test("createConnectionPair() takes a close of what is closed already", () => {
  const [near, far] = createConnectionPair();
  for (const end of [near, far, near, far]) end.close();
});

Deno.test("createConnectionPair() does not take the end back when it is closed again", async () => {
  const { near, far } = await memoryPair();
  await near.write(bytes(1));
  far.close();
  far.close();
  await rejects(read(near), Deno.errors.ConnectionReset);
  far.close();
  equal(await read(near), null);
});

Deno.test("createConnectionPair() holds 64 KiB for a reader, and then a writer back", async () => {
  const { near, far } = await memoryPair();
  equal(await near.write(new Uint8Array(65_000)), 65_000);
  equal(await near.write(new Uint8Array(65_000)), 536);
  let written = 0;
  const writing = near.write(bytes(1, 2, 3)).then((count) => written = count);
  await new Promise(setImmediate);
  equal(written, 0);
  equal(await far.read(new Uint8Array(2)), 2);
  await writing;
  equal(written, 2);
  equal(await near.write(NONE), 0); // which tells that the peer is there, also now
});

Deno.test("createConnectionPair() has the addresses of unix sockets without a name", () => {
  for (const end of createConnectionPair()) {
    deepEqual(end.remoteAddr, { transport: "unix", path: "" });
    deepEqual(end.localAddr, { transport: "unix", path: "" });
    equal(nameOf(end), undefined);
  }
});

/** Far more rounds than fit into the time of a timer, if timers have their turn. */
const MOST_ROUNDS = 1_000_000;

for (const size of [1, 60_000]) {
  Deno.test(`createConnectionPair() lets timers run while its ends play ping-pong with ${size} bytes`, async () => {
    using pair = await memoryPair();
    const { near, far } = pair;
    const answering = (async () => {
      for (let part; (part = await read(far, 1 << 16)) !== null;) await writeAll(far, part);
    })();
    let fired = false;
    const timer = setTimeout(() => fired = true, 5);
    let rounds = 0;
    for (; !fired && rounds < MOST_ROUNDS; rounds++) {
      await writeAll(near, new Uint8Array(size));
      for (let left = size; left > 0;) left -= (await read(near, left))!.length;
    }
    clearTimeout(timer);
    ok(fired, `not in ${rounds} rounds`);
    await near.closeWrite();
    await answering;
  });
}

Deno.test("createConnectionPair() lets timers run while one end writes and the other reads", async () => {
  using pair = await memoryPair();
  let fired = false;
  const timer = setTimeout(() => fired = true, 5);
  let rounds = 0;
  const writing = (async () => {
    while (!fired && rounds < MOST_ROUNDS) rounds += await pair.near.write(bytes(1));
    await pair.near.closeWrite();
  })();
  for (const buffer = new Uint8Array(100); await pair.far.read(buffer) !== null;);
  await writing;
  clearTimeout(timer);
  ok(fired, `not in ${rounds} rounds`);
});

Deno.test("createConnectionPair() lets the event loop turn however many pairs are busy", async () => {
  const pairs = Array.from({ length: 200 }, () => new Pair(...createConnectionPair()));
  let turns = 0;
  let rounds = 0;
  let most = 0;
  let before = 0;
  const count = () => {
    most = Math.max(most, rounds - before);
    before = rounds;
    if (++turns < 20) setImmediate(count);
  };
  setImmediate(count);
  await Promise.all(pairs.map(async ({ near, far }) => {
    for (let i = 0; turns < 20 && i < MOST_ROUNDS / pairs.length; i++) {
      await near.write(bytes(1));
      await read(far);
      rounds++;
    }
  }));
  equal(turns, 20);
  ok(most < 2 * pairs.length, `${most} rounds in one turn`);
  for (const pair of pairs) pair[Symbol.dispose]();
});

for (const inFlight of [1, 64]) {
  Deno.test(`createConnectionPair() keeps deadlines while ${inFlight} calls at a time go on`, async () => {
    const [near, far] = createConnectionPair();
    await using _server = serve({ connection: far }, (router) => {
      router.service(TestService, testHandlers);
    });
    await using client = await connect(near);
    const service = client.service(TestService);
    let late: unknown;
    const asleep = service.sleep({ milliseconds: 60_000n }, { timeoutMs: 5 }).catch((error) => {
      late = error;
    });
    let rounds = 0;
    await Promise.all(Array.from({ length: inFlight }, async () => {
      while (late === undefined && rounds++ < MOST_ROUNDS) await service.nothing({});
    }));
    ok(late instanceof RpcError, `not in ${rounds} calls`);
    equal(late.code, Code.DEADLINE_EXCEEDED);
    await asleep;
  });
}
