// What leaves in which write.

import { connect, createConnectionPair, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { WriteQueue } from "../write_queue.ts";
import { testHandlers } from "./fixture.ts";

/** Takes bytes as a socket does that has room, and counts the writes. */
class Sink {
  readonly writes: number[][] = [];

  write(bytes: Uint8Array): Promise<number> {
    this.writes.push([...bytes]);
    return Promise.resolve(bytes.length);
  }
}

function add(queue: WriteQueue, byte: number, more?: boolean): void {
  queue.writer.bytes(new Uint8Array([byte]));
  queue.send(1, more);
}

function queueTo(sink: Sink): WriteQueue {
  return new WriteQueue(sink, (cause) => {
    throw cause;
  });
}

Deno.test("what is added in one turn leaves in one write", async () => {
  const sink = new Sink();
  const queue = queueTo(sink);
  for (const byte of [1, 2, 3]) add(queue, byte);
  equal(sink.writes.length, 0);
  await queue.flushed();
  add(queue, 4);
  await queue.flushed();
  deepEqual(sink.writes, [[1, 2, 3], [4]]);
});

Deno.test("messages of a stream wait for those that follow, and for nothing else", async () => {
  const sink = new Sink();
  const queue = queueTo(sink);
  for (let byte = 0; byte < 100; byte++) {
    add(queue, byte, true);
    for (let turns = 0; turns < 5; turns++) await undefined;
  }
  await queue.flushed();
  deepEqual(sink.writes, [Array.from({ length: 100 }, (_, byte) => byte)]);
});

Deno.test("what ends a call takes the messages that wait with it at once", async () => {
  const sink = new Sink();
  const queue = queueTo(sink);
  add(queue, 1, true);
  await undefined;
  add(queue, 2);
  await undefined;
  await undefined;
  deepEqual(sink.writes, [[1, 2]]);
});

Deno.test("a stream of small messages takes few writes, and a pause holds none of them back", async () => {
  const [near, far] = createConnectionPair();
  let writes = 0;
  const counted = {
    read: (buffer: Uint8Array) => far.read(buffer),
    write: (bytes: Uint8Array) => (writes++, far.write(bytes)),
    close: () => far.close(),
  };
  const pause = Promise.withResolvers<void>();
  await using _server = serve({ connection: counted }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      async *count() {
        for (let value = 0n; value < 500n; value++) yield { value };
        await pause.promise;
        yield { value: 500n };
      },
    }));
  await using client = await connect(near);
  let count = 0n;
  for await (const { value } of client.service(TestService).count({})) {
    equal(value, count++);
    if (value === 499n) pause.resolve(); // which nobody would, if they had to wait for more
  }
  equal(count, 501n);
  ok(writes < 20, `${writes} writes`);
});

Deno.test("a long message leaves in one write with its header", async () => {
  const [near, far] = createConnectionPair();
  const writes: number[] = [];
  const counted = {
    read: (buffer: Uint8Array) => near.read(buffer),
    write: (bytes: Uint8Array) => (writes.push(bytes.length), near.write(bytes)),
    close: () => near.close(),
  };
  await using _server = serve(
    { connection: far },
    (router) => router.service(TestService, testHandlers),
  );
  await using client = await connect(counted);
  const payload = new Uint8Array(20_000);
  await client.service(TestService).echo({ payload }, { timeoutMs: 60_000, metadata: { a: "b" } });
  equal(writes.length, 1);
  ok(writes[0]! > payload.length);
});
