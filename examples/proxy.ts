// deno run --allow-net=unix:/tmp/greeter.sock,unix:/tmp/proxy.sock,unix:/tmp/proxy.sock.new/s --allow-read=/tmp --allow-write=/tmp/greeter.sock,/tmp/proxy.sock,/tmp/proxy.sock.new examples/proxy.ts unix:///tmp/greeter.sock unix:///tmp/proxy.sock
//
// A proxy, in front of greeter_server.ts: the client of one server is the handlers of another.
// Metadata, deadline and cancellation of a call go on to the server behind it.

import { connect, type Interceptor, serve } from "@ttrpc/ttrpc";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";

const [target, address] = Deno.args;
if (target === undefined || address === undefined) {
  console.error("usage: proxy.ts TARGET ADDRESS, such as unix:greeter.sock unix:proxy.sock");
  Deno.exit(2);
}

// A server that is started again is connected to again, with the next call.
await using client = await connect(target, { reconnect: true });
const greeter = client.service(Greeter);

// Prints each call, before it goes on.
const log: Interceptor = (next) => (request) => {
  const { metadata, method, timeoutMs } = request;
  const left = timeoutMs === undefined ? "no deadline" : `${Math.ceil(timeoutMs / 1_000)} s left`;
  console.log(`${method.path}: ${left}, metadata: ${JSON.stringify([...metadata])}`);
  return next(request);
};

const onListen = () => console.log(`${address} leads to ${target}`);
const server = serve(
  { address, interceptors: [log], onListen, onError: console.error },
  (router) =>
    // The same as { sayHello: (request, context) => greeter.sayHello(request, context) }: the
    // context of a handler is valid options for another call.
    router.service(Greeter, greeter),
);

for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stop);
await server.finished;

function stop(): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.removeSignalListener(signal, stop);
  void server.shutdown({ timeoutMs: 5_000 });
}
