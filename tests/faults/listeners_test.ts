// Listeners of a call's signal that throw, in a process that would end by it.

import { connect, RpcError } from "@ttrpc/ttrpc";
import { equal, rejects } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../../status.ts";
import { SocketFolder } from "../fixture.ts";
import { Child } from "./child.ts";

/** What a call's end has to bring about in the server's process. */
async function ended(server: Child, method: string): Promise<void> {
  await server.expect(new RegExp(`^${method}: the other listener$`));
  await server.expect(
    new RegExp(`^onError: ttrpc.test.v1.TestService/${method} Error: in cleanup$`),
  );
}

Deno.test("a server lives on when listeners of its calls' signals throw, and onError hears of it", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  await using server = await Child.start("throwing_server.ts", [path]);
  await using client = await connect({ path });
  const service = client.service(TestService);

  await rejects(service.sleep({}, { timeoutMs: 50 }), { code: Code.DEADLINE_EXCEEDED });
  await ended(server, "Sleep");
  equal((await service.echo({ text: "well" })).text, "well");
  await ended(server, "Echo");
  for await (const _ of service.count({}, { timeoutMs: 100 })) break;
  await ended(server, "Count");

  const other = await connect({ path });
  const lost = rejects(other.service(TestService).sleep({}), (error) => error instanceof RpcError);
  await other.service(TestService).nothing({}); // what was sent before has arrived
  other.close();
  await lost;
  await ended(server, "Sleep");
  equal((await service.echo({ text: "still there" })).text, "still there");
});
