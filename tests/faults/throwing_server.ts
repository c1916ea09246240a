/** A server whose handlers clean up in listeners that throw: `throwing_server.ts PATH`. */

import { serve } from "@ttrpc/ttrpc";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { aborted, testHandlers } from "../fixture.ts";

/** Adds a listener that throws, and one behind it. */
function listen(signal: AbortSignal, method: string): void {
  signal.addEventListener("abort", () => {
    throw new Error("in cleanup");
  });
  signal.addEventListener("abort", () => console.log(`${method}: the other listener`));
}

serve({
  path: Deno.args[0]!,
  onListen: () => console.log("ready"),
  onError: (error, method) => console.log(`onError: ${method} ${error}`),
}, (router) =>
  router.service(TestService, {
    ...testHandlers,
    echo: (request, context) => {
      listen(context.signal, context.method);
      return testHandlers.echo(request, context);
    },
    sleep: async (_request, { signal, method }) => {
      listen(signal, method);
      await aborted(signal);
      return {};
    },
    async *count(_request, { signal, method }) {
      listen(signal, method);
      yield {};
      await aborted(signal);
    },
  }));
