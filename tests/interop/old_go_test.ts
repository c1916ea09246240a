// What containerd's ttrpc 1.1 does wrong, and what it does with streams, which it does not know.
// The calls that work stand in matrix_test.ts.

import { Code, connect } from "@ttrpc/ttrpc";
import { match, rejects } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { oldGo } from "./peer.ts";
import { alive, MESSAGE_BYTES, OurServer } from "./services.ts";

// The Request is one like any other, and Data is ignored.
oldGo.test("our client hears that there are no streaming methods", async () => {
  await using server = await oldGo.serve();
  await using client = await connect({ path: server.address });
  const { count, sum, chat } = client.service(TestService);
  const unknown = (name: string) => ({
    code: Code.UNIMPLEMENTED,
    rawMessage: `method ${name}`,
  });
  await rejects(Array.fromAsync(count({ count: 3 })), unknown("Count"));
  await rejects(sum([{ value: 1n }, { value: 2n }]), unknown("Sum"));
  await rejects(Array.fromAsync(chat([{ text: "a" }, { text: "b" }])), unknown("Chat"));
  await alive(client);
});

// gogo/protobuf, with which it decodes, cannot decode the google.protobuf.Any of its own go.mod.
oldGo.test("known defect: an error with details kills its client", async () => {
  await using ours = new OurServer();
  await using client = await oldGo.start(ours.path, "error-with-details");
  match(await client.crashes(), /^panic: protobuf tag not enough fields in Any\.state/);
});

// It takes a part of the data that it has just discarded.
oldGo.test("known defect: a reply over 4 MiB kills its client", async () => {
  await using ours = new OurServer({}, { limits: { messageBytes: MESSAGE_BYTES + 1 } });
  await using client = await oldGo.start(ours.path, "reply-over-own-limit");
  match(await client.crashes(), /^panic: runtime error: slice bounds out of range/);
});
