import { connect, createConnectionPair, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { TestBed, testHandlers } from "./fixture.ts";
import { until } from "./wait.ts";

Deno.test("stats() count calls and bytes alike on both sides", async () => {
  const gate = Promise.withResolvers<void>();
  await using bed = new TestBed({
    sleep: async () => {
      await gate.promise;
      return {};
    },
  });
  const client = await bed.connect();
  const service = client.service(TestService);
  await service.nothing({});
  await rejects(service.fail({ code: 5, message: "" }));
  await rejects(service.fail({ code: 5, message: "" }));
  await rejects(client.callRaw("no.Such", "Method", new Uint8Array(0)));
  const slow = service.sleep({});
  await service.nothing({});
  const near = client.stats();
  const far = bed.server.stats();
  deepEqual({ ...near, bytesSent: 0, bytesReceived: 0 }, {
    connections: 1,
    callsStarted: 6,
    callsInFlight: 1,
    callsFailed: { NOT_FOUND: 2, UNIMPLEMENTED: 1 },
    bytesReceived: 0,
    bytesSent: 0,
    openStreams: 1,
    queuedBytes: 0,
    heldBytes: 0,
  });
  ok(far.heldBytes > 0 && far.heldBytes < 1_000, "the handler has its request");
  deepEqual({ ...far, bytesSent: near.bytesReceived, bytesReceived: near.bytesSent }, {
    ...near,
    heldBytes: far.heldBytes,
    bytesSent: near.bytesReceived,
    bytesReceived: near.bytesSent,
  });
  deepEqual([far.bytesReceived, far.bytesSent], [near.bytesSent, near.bytesReceived]);
  gate.resolve();
  await slow;
  client.close();
  await client.finished;
  const over = client.stats();
  deepEqual([over.connections, over.callsInFlight, over.openStreams], [0, 0, 0]);
  ok(over.bytesReceived > near.bytesReceived && over.bytesSent === near.bytesSent);
});

Deno.test("the number of connections goes back to zero", async () => {
  await using bed = new TestBed();
  const clients = await Promise.all(Array.from({ length: 20 }, () => bed.connect()));
  await Promise.all(clients.map((client) => client.service(TestService).nothing({})));
  equal(bed.server.stats().connections, 20);
  for (const client of clients) await client[Symbol.asyncDispose]();
  await until(() => bed.server.stats().connections === 0, "the end of the connections");
  equal(bed.server.stats().callsStarted, 20);
});

Deno.test("createConnectionPair() carries calls of all kinds and sizes within a process", async () => {
  const [near, far] = createConnectionPair();
  await using server = serve(
    { connection: far },
    (router) => router.service(TestService, testHandlers),
  );
  const client = await connect(near);
  equal(client.address, "an open connection");
  equal(server.addr, undefined);
  const service = client.service(TestService);
  equal((await service.echo({ payload: new Uint8Array(3_000_000) })).payload.length, 3_000_000);
  equal((await Array.fromAsync(service.count({ count: 100 }))).length, 100);
  client.close();
  await client.finished;
  await server.finished;
});
