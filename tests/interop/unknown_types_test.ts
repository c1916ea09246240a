// What the clients of the peers make of frames of types that nobody has defined: the lower half of
// the tables in docs/protocol.md. What servers do is in the conformance suite.

import { concat } from "@std/bytes/concat";
import { type ByteConnection, serve } from "@ttrpc/ttrpc";
import { rejects } from "node:assert/strict";
import { encodeFrame, type Frame, FrameDecoder, FrameType } from "../../framing.ts";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder, testHandlers } from "../fixture.ts";
import { go, newGo, oldGo, type Peer, rama, rust, rustSync, trapeze } from "./peer.ts";

// None that an extension may have a use for.
const TYPES = [0, 6, 0x40, 0x7f, 0x80, 0xff];

/** Frames of all these types on a stream, with data and without. */
function unknown(streamId: number): Frame[] {
  return TYPES.flatMap((type) => [
    { streamId, type, flags: 0, data: new Uint8Array(0) },
    { streamId, type, flags: 255, data: Uint8Array.of(0x0a, 1, 0x78) },
  ]);
}

/** What is sent instead of a frame of the server's: that one among others. */
type Change = (frame: Frame) => Frame[];

const before = (streamId: number): Change => (frame) => [...unknown(streamId), frame];

const beforeAny = (type: number): Change => (frame) =>
  frame.type === type ? [...unknown(frame.streamId), frame] : [frame];

const afterResponse: Change = (frame) =>
  frame.type === FrameType.Response ? [frame, ...unknown(frame.streamId)] : [frame];

/** A connection on which something else is sent. */
function changed(conn: Deno.Conn, change: Change): ByteConnection {
  const decoder = new FrameDecoder();
  return {
    close: () => conn.close(),
    read: (buffer) => conn.read(buffer),
    async write(bytes) {
      const frames: Frame[] = [];
      for (let left = bytes; left.length > 0;) {
        const space = decoder.space();
        const length = Math.min(space.length, left.length);
        space.set(left.subarray(0, length));
        decoder.push(length, {
          frame: (streamId, type, flags, data) =>
            void frames.push({ streamId, type, flags, data: data.slice() }),
          oversized: () => {
            throw new Error("our server sends no such frame");
          },
        });
        left = left.subarray(length);
      }
      let out = concat(frames.flatMap(change).map(encodeFrame));
      while (out.length > 0) out = out.subarray(await conn.write(out));
      return bytes.length;
    },
  };
}

/** Runs a case of a peer's client on our server, with the frames changed that we send. */
async function call(peer: Peer, name: string, change: Change): Promise<void> {
  using socket = new SocketFolder();
  using listener = Deno.listen({ transport: "unix", path: socket.path });
  await using client = await peer.start(socket.path, name);
  const connection = changed(await listener.accept(), change);
  const server = serve({ connection }, (router) => router.service(TestService, testHandlers));
  try {
    await client.passes();
  } finally {
    server.close();
    await server.finished;
  }
}

for (const peer of [go, newGo, oldGo, rust, rustSync, trapeze, rama]) {
  for (const [words, id] of [["stream 0", 0], ["an even id", 2], ["an unused id", 77]] as const) {
    peer.test(`its client ignores frames of unknown types on ${words}`, async () => {
      await call(peer, "echo", before(id));
    });
  }

  peer.test("its client ignores frames of unknown types just after the Response", async () => {
    await call(peer, "deadline-told", afterResponse);
  });

  peer.test("known defect: frames of unknown types fail its client's unary call", async () => {
    await rejects(call(peer, "echo", beforeAny(FrameType.Response)));
  });

  if (peer === oldGo || peer === rustSync) continue; // they have no streams
  peer.test("known defect: frames of unknown types fail its client's stream", async () => {
    await rejects(call(peer, "chat", beforeAny(FrameType.Data)));
  });
}

// Each frame is handed on by a task of its own, so that one that comes just after the Response may
// be the first to find the call.
rust.test("known defect: on two threads an unknown type just after a Response may fail it", async () => {
  await rejects(call(rust.threaded(2), "concurrent", afterResponse));
});
