// A process ends by itself when it has nothing left to do, whatever ttrpc has left behind in it.

import { connect, serve } from "@ttrpc/ttrpc";
import { deepEqual } from "node:assert/strict";
import { FrameFlag, FrameType } from "../framing.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { ENDINGS } from "./endings.ts";
import { aborted, SocketFolder, testHandlers } from "./fixture.ts";
import { RawPeer, requestData } from "./raw_peer.ts";

/** What a process has printed, and whether it has ended by itself. */
interface Ending {
  lines: string[];
  errors: string;
  code: number;
}

/** Runs a program, and calls back when it has printed its first line. */
async function run(
  name: string,
  path: string,
  onLine: () => Promise<void> = async () => {},
): Promise<Ending> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", `${import.meta.dirname}/endings.ts`, name, path],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const guard = setTimeout(() => child.kill("SIGKILL"), 30_000);
  const errors = new Response(child.stderr).text();
  let printed = "";
  let called = false;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    printed += text;
    if (!called && printed.includes("\n")) {
      called = true;
      await onLine();
    }
  }
  const { code } = await child.status;
  clearTimeout(guard);
  return { lines: printed.trim().split("\n"), errors: await errors, code };
}

const ENDED = { lines: ["has nothing to do"], errors: "", code: 0 };

const NEEDS_SERVER = [
  "whose client was let go of before it stalls",
  "whose client was let go of while it is stalled",
  "whose client was let go of while its calls are in flight",
];

const NEEDS_PEER = [
  "whose server was let go of while it is stalled",
  "whose server was let go of before it stalls, with a call in flight",
];

for (const name of Object.keys(ENDINGS)) {
  if (NEEDS_SERVER.includes(name) || NEEDS_PEER.includes(name)) continue;
  Deno.test(`a process ends ${name}`, async () => {
    using socket = new SocketFolder();
    deepEqual(await run(name, socket.path), ENDED);
  });
}

for (const name of NEEDS_SERVER) {
  Deno.test(`a process ends ${name}`, async () => {
    using socket = new SocketFolder();
    await using _server = serve(
      { path: socket.path, onError: () => {} },
      (router) =>
        router.service(TestService, {
          ...testHandlers,
          sleep: (_request, { signal }) => aborted(signal).then(() => ({})),
        }),
    );
    deepEqual(await run(name, socket.path), ENDED);
  });
}

for (const name of NEEDS_PEER) {
  Deno.test(`a process ends ${name}`, async () => {
    using socket = new SocketFolder();
    let flood: Promise<void> | undefined;
    const ending = await run(name, socket.path, async () => {
      const peer = await RawPeer.connect(socket.path);
      flood = (async () => {
        using _peer = peer;
        const flags = FrameFlag.RemoteOpen | FrameFlag.NoData;
        const data = requestData({ method: "Sum", timeoutNano: 10n ** 14n });
        await peer.send({ streamId: 1, flags, data });
        for (;;) await peer.send({ type: FrameType.Data, data: new Uint8Array(1_000) });
      })().catch(() => {}); // it ends with the process
    });
    await flood;
    deepEqual(ending, { ...ENDED, lines: ["listens", "has nothing to do"] });
  });
}

Deno.test("a client that was let go of, and is held again, keeps its process", async () => {
  using socket = new SocketFolder();
  await using _server = serve(
    { path: socket.path },
    (router) => router.service(TestService, testHandlers),
  );
  const client = await connect({ path: socket.path });
  client.unref();
  client.ref();
  await client.service(TestService).nothing({}, { timeoutMs: 60_000 });
  client.close();
  await client.finished;
});
