import { connect, serve } from "@ttrpc/ttrpc";
import { type EchoRequest, TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { callLoad, check, payloadOf, runPeer } from "./peer.ts";

await runPeer({
  serve(path) {
    serve({ path }, (router) =>
      router.service(TestService, {
        echo: ({ payload }: EchoRequest) => ({ payload }),
        fail: unused,
        sleep: unused,
        nothing: unused,
        produce: unused,
        count: unused,
        sum: unused,
        chat: unused,
      }));
  },

  async connect(path, plan) {
    const client = await connect({ path });
    const service = client.service(TestService);
    const payload = payloadOf(plan);
    return callLoad(plan, async () => {
      const response = await service.echo({ payload });
      check(response.payload, plan);
    });
  },
});

function unused(): never {
  throw new Error("The benchmark does not call this");
}
