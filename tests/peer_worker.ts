/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
// A server in raw frames on a thread of its own: it works while the test's thread stands still. On
// each connection it waits for some frames, says so, waits until it is let go, sends bytes, and
// closes.

import { RawPeer } from "./raw_peer.ts";
import type { PeerScript } from "./threaded_peer.ts";

self.onmessage = async ({ data }: MessageEvent<PeerScript>) => {
  const { path, frames, bytes, state } = data;
  const listener = path === undefined
    ? Deno.listen({ hostname: "127.0.0.1", port: 0 })
    : Deno.listen({ transport: "unix", path });
  const { addr } = listener;
  self.postMessage(addr.transport === "tcp" ? addr.port : 0);
  const [go, done] = [new Int32Array(state, 0, 1), new Int32Array(state, 4, 1)];
  for (let round = 1;; round++) {
    const peer = new RawPeer(await listener.accept() as Deno.Conn);
    for (let i = 0; i < frames; i++) await peer.receive();
    self.postMessage("received");
    while (Atomics.load(go, 0) < round) Atomics.wait(go, 0, round - 1);
    await peer.sendBytes(bytes);
    peer.conn.close();
    Atomics.store(done, 0, round);
    Atomics.notify(done, 0);
  }
};
