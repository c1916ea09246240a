// Serves ttrpc.integration.streaming.Streaming until it is interrupted.
//
//     deno run --allow-net --allow-read --allow-write examples/streaming_server.ts ADDRESS

import { serve } from "@ttrpc/ttrpc";
import { Streaming } from "../gen/ttrpc/integration/streaming/streaming_ttrpc.ts";
import { streamingHandlers } from "./streaming.ts";

const [address] = Deno.args;
if (address === undefined) {
  console.error("usage: streaming_server.ts ADDRESS, such as unix:///tmp/streaming.sock");
  Deno.exit(2);
}

const server = serve(
  { address, onListen: () => console.log(`listening on ${address}`), onError: console.error },
  (router) => router.service(Streaming, streamingHandlers),
);

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(
    signal,
    () => server.shutdown({ timeoutMs: 5_000 }).then(() => Deno.exit()),
  );
}
await server.finished;
