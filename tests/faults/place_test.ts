// What a server stands on: descriptors, its folder, the disk.

import { connect, RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../../status.ts";
import { SocketFolder, TestBed, testHandlers } from "../fixture.ts";
import { missingMount, outputOf, testUnless } from "../machine.ts";
import { RawPeer } from "../raw_peer.ts";
import { Child } from "./child.ts";
import { until } from "../wait.ts";

Deno.test("a server without descriptors keeps its connections, and accepts again when it has some", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  await using child = await Child.start("server.ts", [path], 64);
  await using client = await connect({ path });
  const service = client.service(TestService);
  equal((await service.echo({ text: "early" })).text, "early");

  const crowd = await Promise.all(Array.from({ length: 80 }, () => RawPeer.connect(path)));
  match(await child.expect(/^error/), /Too many open files/);
  equal((await service.echo({ text: "still there" }, { timeoutMs: 5_000 })).text, "still there");
  // The system completes the connection, but nobody takes it.
  await using late = await connect({ path });
  const waiting = late.service(TestService);
  await rejects(waiting.nothing({}, { timeoutMs: 50 }), { code: Code.DEADLINE_EXCEEDED });

  for (const peer of crowd) peer[Symbol.dispose]();
  equal((await waiting.echo({ text: "late" }, { timeoutMs: 5_000 })).text, "late");
  await using fresh = await connect({ path });
  equal((await fresh.service(TestService).echo({ text: "fresh" })).text, "fresh");
});

Deno.test("a client without descriptors is told so, and connects when it has some", async () => {
  await using bed = new TestBed();
  await using child = await Child.start("client.ts", [bed.path, "dial"], 48);
  match(
    await child.expect(/^failed/),
    /^failed: true 14 UNAVAILABLE: cannot connect to unix:.*Too many open files/,
  );
  equal(await child.expect(/^answered/), "answered: again");
  equal((await child.exit).code, 0);
});

Deno.test("a server whose folder is removed keeps its connections, and ends in order", async () => {
  using socket = new SocketFolder();
  const folder = `${socket.folder}/run`;
  const path = `${folder}/test.sock`;
  Deno.mkdirSync(folder);
  const errors: unknown[] = [];
  const routes = { path, onError: (error: unknown) => void errors.push(error) };
  const server = serve(routes, (router) => router.service(TestService, testHandlers));
  await using client = await connect({ path });
  const service = client.service(TestService);
  await service.nothing({});

  Deno.removeSync(folder, { recursive: true });
  equal((await service.echo({ text: "still there" })).text, "still there");
  await rejects(connect({ path }), {
    code: Code.UNAVAILABLE,
    rawMessage: `cannot connect to unix:${path}: there is no such socket`,
  });
  await server.shutdown();
  deepEqual(errors, []);
  await client.finished;

  // The place can be taken again.
  Deno.mkdirSync(folder);
  await using _again = serve({ path }, (router) => router.service(TestService, testHandlers));
  await using fresh = await connect({ path });
  equal((await fresh.service(TestService).echo({ text: "fresh" })).text, "fresh");
});

/** Mounts a file system that is full. */
class FullDisk implements Disposable {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    Deno.mkdirSync(folder);
    const options = ["-t", "tmpfs", "-o", "size=4k,nr_inodes=4"];
    const { success, stderr } = outputOf("mount", ...options, "none", folder);
    ok(success, stderr);
  }

  [Symbol.dispose](): void {
    outputOf("umount", this.#folder);
  }
}

testUnless(
  missingMount(),
  "a server on a full disk says so, and one that listens already does not need the disk",
  async () => {
    using socket = new SocketFolder();
    const folder = `${socket.folder}/full`;
    using _disk = new FullDisk(folder);
    // There is room for one socket under two names, and the folder in which it is made.
    const path = `${folder}/first.sock`;
    await using _first = serve({ path }, (router) => router.service(TestService, testHandlers));
    throws(
      () =>
        serve(
          { path: `${folder}/second.sock` },
          (router) => router.service(TestService, testHandlers),
        ),
      /Cannot listen on unix:.*second\.sock: No space left on device/,
    );
    await using client = await connect({ path });
    const payload = new Uint8Array(1 << 20).fill(7);
    deepEqual((await client.service(TestService).echo({ payload })).payload, payload);
  },
);

Deno.test("connections opened and dropped in a loop leave nothing, at whatever point", async () => {
  await using bed = new TestBed();
  const { server } = bed;
  for (let i = 0; i < 200; i++) {
    if (i % 4 === 0) (await RawPeer.connect(bed.path))[Symbol.dispose]();
    else if (i % 4 === 1) {
      // Dropped inside a frame.
      using peer = await RawPeer.connect(bed.path);
      await peer.sendBytes(new Uint8Array([0, 0, 1, 0, 0, 0, 0, 1, 1]));
    } else if (i % 4 === 2) {
      // Dropped with a call in flight.
      using peer = await RawPeer.connect(bed.path);
      await peer.request(1, { method: "Sleep", payload: new Uint8Array([8, 128, 128, 128, 8]) });
    } else {
      await using client = await connect({ path: bed.path });
      await client.service(TestService).nothing({});
    }
  }
  await until(() => server.stats().connections === 0, "the end of the connections");
  const { callsInFlight, openStreams, queuedBytes } = server.stats();
  deepEqual({ callsInFlight, openStreams, queuedBytes }, {
    callsInFlight: 0,
    openStreams: 0,
    queuedBytes: 0,
  });
  for (const error of bed.errors) ok(error instanceof RpcError, String(error));
  equal((await (await bed.service()).echo({ text: "fresh" })).text, "fresh");
});
