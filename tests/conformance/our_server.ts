/** Our server as one under test: the test service, with all that the optional cases need. */

import { Code, RpcError, serve, type Server } from "@ttrpc/ttrpc";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { testHandlers } from "../fixture.ts";

/** Serves the test service as README.md describes it. */
export function serveTests(address: string): Server {
  const server = serve({ address, onError: () => {} }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      echo: (request, context) => {
        if (request.text === "panic") throw new TypeError("asked to panic");
        if (request.text === "shut down") void server.shutdown();
        return testHandlers.echo(request, context);
      },
      sleep: (request, context) => {
        if (request.milliseconds < 0) {
          throw new Error(`cannot sleep for ${request.milliseconds} ms`);
        }
        return testHandlers.sleep(request, context);
      },
      async *chat(requests, { metadata }) {
        const pairs = Array.from(metadata, ([key, value]) => ({ key, value }));
        for await (const { payload, text } of requests) {
          if (text === "fail") throw new RpcError(Code.FAILED_PRECONDITION, "asked to fail");
          yield { payload, text, metadata: pairs };
        }
      },
    }));
  return server;
}
