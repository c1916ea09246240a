// deno run --allow-net --allow-read --allow-write examples/demo.ts
//
// A server and a client over a unix socket in a new folder, and what they say to each other: calls,
// metadata, errors, deadlines and streams. `deno task demo` runs it.

import { Code, connect, RpcError, serve } from "@ttrpc/ttrpc";
import { setTimeout as pause } from "node:timers/promises";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";
import { Thermometer } from "../gen/thermometer/v1/thermometer_ttrpc.ts";

const folder = await Deno.makeTempDir();
const path = `${folder}/demo.sock`;

{
  await using _server = serve({ path }, (router) => {
    router.service(Greeter, {
      sayHello: ({ name }, { metadata }) => ({
        message: `${metadata.get("say") ?? "Hello"} ${name}`,
      }),
    });
    router.service(Thermometer, {
      read: ({ room }) => {
        throw new RpcError(Code.NOT_FOUND, `no such room: ${room}`);
      },
      async *watch(_request, { signal }) {
        signal.addEventListener("abort", () => console.log("  server: nobody waits any more"));
        for (let celsius = 20; !signal.aborted; celsius++) {
          yield { celsius };
          await pause(20);
        }
      },
      average: async (requests) => {
        const all = await Array.fromAsync(requests, ({ celsius }) => celsius);
        return { celsius: all.reduce((sum, celsius) => sum + celsius, 0) / all.length };
      },
      async *convert(requests) {
        for await (const { celsius } of requests) yield { fahrenheit: celsius * 9 / 5 + 32 };
      },
    });
  });
  console.log(`a server listens on unix:${path}, and a client connects`);
  await using client = await connect({ path });
  const greeter = client.service(Greeter, { timeoutMs: 5_000 });
  const thermometer = client.service(Thermometer, { timeoutMs: 5_000 });

  console.log(`\na call: sayHello({ name: "Deno" })`);
  tell((await greeter.sayHello({ name: "Deno" })).message);

  console.log(`\nmetadata, beside the request: sayHello(..., { metadata: { say: "Welcome" } })`);
  tell((await greeter.sayHello({ name: "Deno" }, { metadata: { say: "Welcome" } })).message);

  console.log(`\nan error with a code: read({ room: "attic" })`);
  await thermometer.read({ room: "attic" }).catch(tell);

  console.log(`\na stream from the server, left after the second message: watch({})`);
  for await (const { celsius } of thermometer.watch({})) if (tell(celsius) === 21) break;
  await pause(20); // the server learns of it

  console.log(`\na deadline, which both sides keep: watch({}, { timeoutMs: 100 })`);
  await Array.fromAsync(thermometer.watch({}, { timeoutMs: 100 })).catch(tell);
  await pause(20);

  const readings = [{ celsius: 0 }, { celsius: 100 }];
  console.log(`\na stream to the server: average([{ celsius: 0 }, { celsius: 100 }])`);
  tell((await thermometer.average(readings)).celsius);

  console.log(`\na stream both ways: convert([{ celsius: 0 }, { celsius: 100 }])`);
  for await (const { fahrenheit } of thermometer.convert(readings)) tell(fahrenheit);

  console.log(`\n1,000 calls at once, on one connection: sayHello({ name: "Deno" })`);
  const start = performance.now();
  await Promise.all(Array.from({ length: 1_000 }, () => greeter.sayHello({ name: "Deno" })));
  tell(`took ${(performance.now() - start).toFixed(0)} ms`);
}

await Deno.remove(folder, { recursive: true });
console.log("\nclient and server are closed, the socket is gone");

function tell<T>(what: T): T {
  console.log(`  client: ${what}`);
  return what;
}
