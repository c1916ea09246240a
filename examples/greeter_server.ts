// Serves greeter.v1.Greeter until it is interrupted.
//
//     deno run --allow-net --allow-read --allow-write examples/greeter_server.ts ADDRESS

import { serve } from "@ttrpc/ttrpc";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";

const [address] = Deno.args;
if (address === undefined) {
  console.error("usage: greeter_server.ts ADDRESS, such as unix:///tmp/greeter.sock");
  Deno.exit(2);
}

const server = serve(
  { address, onListen: () => console.log(`listening on ${address}`), onError: console.error },
  (router) => router.service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) }),
);

// Calls in flight have five seconds to finish.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(
    signal,
    () => server.shutdown({ timeoutMs: 5_000 }).then(() => Deno.exit()),
  );
}
await server.finished;
