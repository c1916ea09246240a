// Asks a greeter.v1.Greeter for a greeting.
//
//     deno run --allow-net --allow-read --allow-write examples/greeter_client.ts ADDRESS NAME

import { connect } from "@ttrpc/ttrpc";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";

const [address, name = ""] = Deno.args;
if (address === undefined) {
  console.error("usage: greeter_client.ts ADDRESS NAME, such as unix:///tmp/greeter.sock Ada");
  Deno.exit(2);
}

await using client = await connect(address, { connectTimeoutMs: 5_000 });
const greeter = client.service(Greeter, { timeoutMs: 5_000 });
const { message } = await greeter.sayHello({ name });
console.log(message);
