// deno run --allow-net=unix:/tmp/greeter.sock,unix:/tmp/greeter.sock.new/s --allow-read=/tmp --allow-write=/tmp/greeter.sock,/tmp/greeter.sock.new examples/greeter_server.ts unix:///tmp/greeter.sock
//
// A server of one service, on the address that it is given; greeter_client.ts is a client of it.
// When it is interrupted, it takes no more calls, and gives those in flight five seconds to finish.

import { Code, RpcError, serve } from "@ttrpc/ttrpc";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";

const [address] = Deno.args;
if (address === undefined) {
  console.error("usage: greeter_server.ts ADDRESS, such as unix:///tmp/greeter.sock");
  Deno.exit(2);
}

const server = serve(
  { address, onListen: () => console.log(`listening on ${address}`), onError: console.error },
  (router) =>
    router.service(Greeter, {
      sayHello: ({ name }) => {
        if (name === "") throw new RpcError(Code.INVALID_ARGUMENT, "give a name");
        return { message: `Hello ${name}` };
      },
    }),
);

for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
await server.finished;

// A second signal ends the process at once, because nobody listens for it.
function stop(): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.removeSignalListener(signal, stop);
  void server.shutdown({ timeoutMs: 5_000 });
}
