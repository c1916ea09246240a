// The smallest server under Deno: a listener, and a read pending on each connection.

import { runPeer } from "./peer.ts";

await runPeer({
  serve(path) {
    const listener = Deno.listen({ transport: "unix", path });
    void (async () => {
      for await (const conn of listener) void echo(conn);
    })();
  },

  async connect(path) {
    const conn = await Deno.connect({ transport: "unix", path });
    return {
      async call(tally) {
        await conn.write(new Uint8Array(1));
        await conn.read(new Uint8Array(1));
        tally.completed(1);
      },
    };
  },
});

async function echo(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(1);
  while (await conn.read(buffer) !== null) await conn.write(buffer);
}
