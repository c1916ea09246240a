// deno run --allow-net=unix:/tmp/greeter.sock --allow-read=/tmp/greeter.sock --allow-write=/tmp/greeter.sock examples/greeter_client.ts unix:///tmp/greeter.sock Ada
//
// A client of greeter_server.ts: it asks for a greeting and prints that.
// A call that fails has an error with a code, also when there is no server.

import { connect, RpcError } from "@ttrpc/ttrpc";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";

const [address, name = ""] = Deno.args;
if (address === undefined) {
  console.error("usage: greeter_client.ts ADDRESS NAME, such as unix:///tmp/greeter.sock Ada");
  Deno.exit(2);
}

try {
  await using client = await connect(address, { connectTimeoutMs: 5_000 });
  const greeter = client.service(Greeter, { timeoutMs: 5_000 });
  const { message } = await greeter.sayHello({ name });
  console.log(message);
} catch (error) {
  if (!(error instanceof RpcError)) throw error;
  console.error(error.message);
  Deno.exitCode = 1;
}
