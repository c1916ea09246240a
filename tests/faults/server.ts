/**
 * A server of the test service, which also tells what it uses: `server.ts PATH [DELAY]`. Without a
 * delay it makes what it is to produce at once; otherwise after so many milliseconds, of which none
 * means a promise that is settled.
 */

import { serve } from "@ttrpc/ttrpc";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { testHandlers } from "../fixture.ts";
import { prepareSignals } from "./signals.ts";

/** What the server tells of itself. */
export interface Report {
  heap: number;
  external: number;
  rss: number;
  callsInFlight: number;
  heldBytes: number;
  connections: number;
  callsFailed: Record<string, number>;
}

if (import.meta.main) {
  prepareSignals();
  const server = serve({
    path: Deno.args[0]!,
    onListen: () => console.log("ready"),
    onError: (error) => console.log(`error: ${error instanceof Error ? error.message : error}`),
  }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      ...(Deno.args[1] === undefined ? {} : { produce: produceLater }),
      echo: (request, context) =>
        request.text === "report" ? { text: JSON.stringify(report()) } : testHandlers.echo(
          request,
          context,
        ),
    }));

  async function produceLater({ length }: { length: number }) {
    const ms = Number(Deno.args[1]);
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
    return { payload: new Uint8Array(length) };
  }

  const report = (): Report => {
    (globalThis as unknown as { gc(): void }).gc();
    const { heapUsed: heap, external, rss } = Deno.memoryUsage();
    const { callsInFlight, heldBytes, connections, callsFailed } = server.stats();
    return { heap, external, rss, callsInFlight, heldBytes, connections, callsFailed };
  };
}
