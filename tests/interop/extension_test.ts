// What our client and server send beyond ttrpc, to peers that do not know it: calls that are given
// up are cancelled, pings are sent, and nobody else can tell the difference.

import { type Client, connect, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { type Frame, FrameDecoder, FrameType } from "../../framing.ts";
import { dial } from "../conformance/wire.ts";
import { SocketFolder, testHandlers } from "../fixture.ts";
import { go, newGo, oldGo, type Peer, rama, rust, rustSync, trapeze } from "./peer.ts";
import { alive } from "./services.ts";
import { moment, until } from "../wait.ts";

/** All that is written to a connection, as frames. */
class Recorded {
  readonly frames: Frame[] = [];
  readonly conn: Deno.Conn;

  constructor(conn: Deno.Conn) {
    const decoder = new FrameDecoder();
    const sink = {
      frame: (streamId: number, type: number, flags: number, data: Uint8Array) =>
        void this.frames.push({ streamId, type, flags, data }),
      oversized() {},
    };
    const { write } = conn;
    conn.write = async (bytes) => {
      const length = await write.call(conn, bytes);
      for (let rest = bytes.subarray(0, length); rest.length > 0;) {
        const part = rest.subarray(0, decoder.space().length);
        decoder.space().set(part);
        decoder.push(part.length, sink);
        rest = rest.subarray(part.length);
      }
      return length;
    };
    this.conn = conn;
  }

  /** The streams of the frames of a type, in order. */
  streams(type: number): number[] {
    return this.frames.filter((frame) => frame.type === type).map(({ streamId }) => streamId);
  }
}

/** Messages without an end. */
async function* endless(): AsyncGenerator<{ text: string; value: bigint }> {
  for (;;) {
    yield { text: "x", value: 1n };
    await moment();
  }
}

/** Gives up a call of each kind, while others go on. */
async function giveUp(client: Client, streams: boolean): Promise<void> {
  const service = client.service(TestService);
  const calls: (() => Promise<unknown>)[] = [
    () => service.sleep({ milliseconds: 500n }, { signal: AbortSignal.timeout(20) }),
    () => service.sleep({ milliseconds: 500n }, { timeoutMs: 20 }),
  ];
  if (streams) {
    calls.push(
      () => service.sum(endless(), { signal: AbortSignal.timeout(20) }),
      () => Array.fromAsync(service.chat(endless(), { signal: AbortSignal.timeout(20) })),
    );
  }
  for (const call of calls) {
    await Promise.all([rejects(call()), alive(client)]);
    await alive(client);
  }
  if (streams) {
    for await (const _ of service.chat(endless())) break;
    await alive(client);
  }
}

interface Row {
  peer: Peer;
  streams: boolean;
}

const ROWS: Row[] = [
  { peer: go, streams: true },
  { peer: newGo, streams: true },
  { peer: oldGo, streams: false },
  { peer: rust, streams: true },
  { peer: rustSync, streams: false },
  { peer: trapeze, streams: true },
  { peer: rama, streams: true },
];

for (const { peer, streams } of ROWS) {
  peer.test("its server takes cancels and pings for nothing, and its connection goes on", async () => {
    await using server = await peer.serve();
    const recorded = new Recorded(await dial(server.address, performance.now() + 5_000));
    const closes: unknown[] = [];
    const client = await connect(recorded.conn, {
      keepalive: { intervalMs: 5, timeoutMs: 5 },
      onClose: (error) => closes.push(error),
    });
    await giveUp(client, streams);
    await until(() => recorded.streams(FrameType.Ping).length > 3, "pings");
    await alive(client);
    deepEqual(closes, []);
    await client[Symbol.asyncDispose]();
    const cancelled = recorded.streams(FrameType.Cancel);
    // At its deadline a call may be answered first.
    const most = streams ? 5 : 2;
    ok(cancelled.length === most || cancelled.length === most - 1, `${cancelled}`);
    const requests = recorded.streams(FrameType.Request);
    ok(cancelled.every((id) => requests.includes(id)), `${cancelled}`);
    ok(recorded.streams(FrameType.Ping).every((id) => id === 0));
    // Behind a cancel there is at most the half-close.
    for (const id of cancelled) {
      const types = recorded.frames.filter(({ streamId }) => streamId === id).map(({ type }) =>
        type
      );
      ok(types.lastIndexOf(FrameType.Cancel) >= types.length - 2, types.join());
    }
    equal(recorded.streams(FrameType.Pong).length, 0);
  });

  peer.test("its client is sent nothing beyond ttrpc", async () => {
    using socket = new SocketFolder();
    const listener = Deno.listen({ transport: "unix", path: socket.path });
    const all: Recorded[] = [];
    const server = serve({
      listener: {
        async *[Symbol.asyncIterator]() {
          for await (const conn of listener) {
            const recorded = new Recorded(conn);
            all.push(recorded);
            yield recorded.conn;
          }
        },
        close: () => listener.close(),
      },
      keepalive: { intervalMs: 1, timeoutMs: 1 },
    }, (router) => router.service(TestService, testHandlers));
    await peer.call(socket.path, "deadline-passes");
    await peer.call(socket.path, "echo");
    await server.shutdown();
    equal(all.length, 2);
    const known: number[] = [FrameType.Response, FrameType.Data];
    for (const { frames } of all) ok(frames.every(({ type }) => known.includes(type)));
  });
}
