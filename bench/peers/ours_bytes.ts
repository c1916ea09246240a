// Ours with messages that are already bytes, to measure the cost of the engine for a small call.
// The first argument is the way to call: typed, raw or intercepted.

import { bytesCodec, connect, type Interceptor, serve } from "@ttrpc/ttrpc/core";
import { args } from "./host.ts";
import { payloadOf, runPeer } from "./peer.ts";

const Echo = {
  typeName: "bench.Echo",
  method: {
    echo: { name: "Echo", methodKind: "unary", input: bytesCodec, output: bytesCodec },
  },
} as const;

const [way, ...rest] = args;
const passOn: Interceptor = (next) => (request) => next(request);
const interceptors = way === "intercepted" ? [passOn] : [];

await runPeer({
  serve(path) {
    serve({ path, interceptors }, (router) => router.service(Echo, { echo: (bytes) => bytes }));
  },

  async connect(path, plan) {
    const client = await connect({ path }, { interceptors });
    const service = client.service(Echo);
    const payload = payloadOf(plan);
    const echo = way === "raw"
      ? () => client.callRaw("bench.Echo", "Echo", payload)
      : () => service.echo(payload);
    return {
      async call(tally) {
        if ((await echo()).length !== plan.bytes) throw new Error("the echo has another length");
        tally.completed(1);
      },
    };
  },
}, rest);
