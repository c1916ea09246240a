// What the crate trapeze 0.7.6 does wrong. The calls that work stand in matrix_test.ts.

import { Code, connect } from "@ttrpc/ttrpc";
import { rejects } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { trapeze } from "./peer.ts";
import { alive, OurServer } from "./services.ts";

// A client picks at random from a message that waits and the error that came after it. Of 100
// messages, 100, 1, 100, 2 and 98 were received in five runs.
trapeze.test("known defect: its client may lose the messages before an error", async () => {
  await using ours = new OurServer();
  await trapeze.call(ours.path, "stream-fails-at-once");
});

// The panic ends the task of the connection, too.
trapeze.test("known defect: a handler that panics takes its connection along", async () => {
  await using server = await trapeze.serve();
  await using client = await connect({ path: server.address });
  const { echo, sleep } = client.service(TestService);
  const other = rejects(sleep({ milliseconds: 60_000n }), { code: Code.UNAVAILABLE });
  await rejects(echo({ text: "panic" }), { code: Code.UNAVAILABLE });
  await other;
  await client.finished;
  await using next = await connect({ path: server.address });
  await alive(next);
});
