/** A server of the test service, which also tells what it uses: `server.ts PATH [OPTIONS]`. */

import { type Limits, serve, type ServiceHandlers } from "@ttrpc/ttrpc";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { testHandlers } from "../fixture.ts";
import { prepareSignals } from "./signals.ts";
import { sleep } from "../wait.ts";

type Handlers = ServiceHandlers<typeof TestService>;

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

/** What it may be told, as JSON. */
export interface VictimOptions {
  limits?: Partial<Limits>;
  /** After how many milliseconds it makes what it is to produce; otherwise that is at once. */
  delayMs?: number;
  /** Whether it takes no message of a chat, and gives none, until that is over. */
  holds?: boolean;
}

if (import.meta.main) {
  prepareSignals();
  const [path, json = "{}"] = Deno.args;
  const { limits, delayMs, holds }: VictimOptions = JSON.parse(json);
  const produceLater: Handlers["produce"] = async ({ length }) => {
    if (delayMs! > 0) await sleep(delayMs!);
    return { payload: new Uint8Array(length) };
  };
  // deno-lint-ignore require-yield -- it gives no messages
  const hold: Handlers["chat"] = async function* (_, { signal }) {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  };
  const server = serve({
    path: path!,
    limits,
    onListen: () => console.log("ready"),
    onError: (error) => console.log(`error: ${error instanceof Error ? error.message : error}`),
  }, (router) =>
    router.service(TestService, {
      ...testHandlers,
      ...(delayMs === undefined ? {} : { produce: produceLater }),
      ...(holds ? { chat: hold } : {}),
      echo: (request, context) =>
        request.text === "report" ? { text: JSON.stringify(report()) } : testHandlers.echo(
          request,
          context,
        ),
    }));

  const report = (): Report => {
    (globalThis as unknown as { gc(): void }).gc();
    const { heapUsed: heap, external, rss } = Deno.memoryUsage();
    const { callsInFlight, heldBytes, connections, callsFailed } = server.stats();
    return { heap, external, rss, callsInFlight, heldBytes, connections, callsFailed };
  };
}
