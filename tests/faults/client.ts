/**
 * A client that does as it is told: `client.ts PATH wait|stream|dial|calls [INTERVAL]`, where the
 * last is its keepalive's, in milliseconds.
 */

import { connect, RpcError } from "@ttrpc/ttrpc";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { prepareSignals } from "./signals.ts";

const [path, task, interval] = Deno.args as [string, string, string?];
const keepalive = interval === undefined ? undefined : { intervalMs: Number(interval) };

if (task === "dial") {
  prepareSignals();
  console.log("ready");
  const clients = [];
  const spare = Deno.openSync("/dev/null");
  try {
    for (;;) clients.push(await connect({ path }));
  } catch (error) {
    spare.close(); // Deno itself panics if it cannot open a file while it makes the stack
    const { code, message } = error as RpcError;
    console.log(`failed: ${error instanceof RpcError} ${code} ${message}`);
  }
  await clients.shift()![Symbol.asyncDispose]();
  clients.push(await connect({ path }));
  const { text } = await clients.at(-1)!.service(TestService).echo({ text: "again" });
  console.log(`answered: ${text}`);
  for (const client of clients) client.close();
} else if (task === "calls") {
  const client = await connect({ path });
  console.log("ready");
  for await (const _ of Deno.stdin.readable) {
    const answer = await client.service(TestService).nothing({}).catch((error) => error);
    console.log(answer instanceof RpcError ? `failed: ${answer.message}` : "answered");
  }
} else {
  const client = await connect({ path }, { keepalive });
  const service = client.service(TestService);
  if (task === "wait") {
    const call = service.sleep({ milliseconds: 3_600_000n });
    console.log("ready");
    await call;
  } else {
    const payload = new Uint8Array(1 << 14);
    console.log("ready");
    let received = 0;
    const stream = service.chat((async function* () {
      for (let i = 0; i < 2_000; i++) yield { payload };
    })());
    for await (const message of stream) received += message.payload.length;
    console.log(`received: ${received}`);
  }
  client.close();
}
