// What the crate ttrpc 0.9 without `async` does wrong. The calls that work stand in matrix_test.ts.

import { Code, connect, type RpcError } from "@ttrpc/ttrpc";
import { rejects } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { rustSync } from "./peer.ts";
import { alive, OurServer } from "./services.ts";

// The thread of the call ends instead, and with it all service to the connection. That is closed as
// soon as its reader looks: at once, or only when something else comes. In between, nothing but a
// deadline of ours ends the call.
rustSync.test("known defect: a payload that its server cannot decode is not answered", async () => {
  await using server = await rustSync.serve();
  await using client = await connect({ path: server.address });
  const malformed = Uint8Array.of(0x0a, 0x7f); // 127 bytes are announced, none come
  const call = client.callRaw(TestService.typeName, "Echo", malformed, { timeoutMs: 200 });
  await rejects(call, ({ code }: RpcError) => {
    return code === Code.DEADLINE_EXCEEDED || code === Code.UNAVAILABLE;
  });
  await rejects(alive(client), { code: Code.UNAVAILABLE });
  await client.finished;
  await using next = await connect({ path: server.address });
  await alive(next);
});

// The thread of the call is gone, and nobody answers in its place.
rustSync.test("known defect: a call whose handler panics hangs until our deadline", async () => {
  await using server = await rustSync.serve();
  await using client = await connect({ path: server.address });
  const { echo } = client.service(TestService);
  await rejects(echo({ text: "panic" }, { timeoutMs: 200 }), { code: Code.DEADLINE_EXCEEDED });
  await alive(client);
});

rustSync.test("known defect: its client takes a code it does not know for success", async () => {
  await using ours = new OurServer();
  await rustSync.call(ours.path, "odd-code");
});
