// deno run --allow-net=unix:/tmp/streaming.sock,unix:/tmp/streaming.sock.new/s --allow-read=/tmp --allow-write=/tmp/streaming.sock,/tmp/streaming.sock.new examples/streaming.ts /tmp/streaming.sock
//
// The four kinds of method, on a server and on a client of it: the messages that a call takes or
// gives one by one are async iterables.

import { connect, serve } from "@ttrpc/ttrpc";
import { Thermometer, type ThermometerHandlers } from "../gen/thermometer/v1/thermometer_ttrpc.ts";

const [path = "/tmp/streaming.sock"] = Deno.args;

const handlers: ThermometerHandlers = {
  // Unary.
  read: ({ room }) => ({ celsius: room === "cellar" ? 12 : 20 }),

  // Server streaming. When the client has had enough, the generator is stopped where it yields.
  async *watch({ room }) {
    try {
      for (let celsius = room === "cellar" ? 12 : 20;; celsius++) yield { celsius };
    } finally {
      console.log("server: nobody watches any more");
    }
  },

  // Client streaming.
  async average(requests) {
    let [sum, readings] = [0, 0];
    for await (const { celsius } of requests) {
      sum += celsius;
      readings++;
    }
    return { celsius: sum / readings, readings };
  },

  // Bidirectional streaming.
  async *convert(requests) {
    for await (const { celsius } of requests) yield { fahrenheit: celsius * 9 / 5 + 32 };
  },
};

await using server = serve({ path }, (router) => router.service(Thermometer, handlers));
await server.listening;
await using client = await connect({ path });
const thermometer = client.service(Thermometer, { timeoutMs: 5_000 });

const { celsius } = await thermometer.read({ room: "cellar" });
console.log(`read: ${celsius} °C`);

for await (const { celsius } of thermometer.watch({ room: "kitchen" })) {
  console.log(`watch: ${celsius} °C`);
  if (celsius === 22) break; // gives up the call
}

// What is sent may be any iterable, also one that is not async.
const average = await thermometer.average([{ celsius: 18 }, { celsius: 21 }]);
console.log(`average: ${average.celsius} °C of ${average.readings} readings`);

async function* readings() {
  for (const room of ["cellar", "kitchen"]) yield await thermometer.read({ room });
}
for await (const { fahrenheit } of thermometer.convert(readings())) {
  console.log(`convert: ${fahrenheit} °F`);
}
