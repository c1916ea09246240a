// deno test examples/without_socket_test.ts
//
// How to test a service without a socket, and so without permissions: createConnectionPair() makes
// two connected ends within the process. All else is as it is over a socket.

import { Code, connect, createConnectionPair, RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, rejects } from "node:assert/strict";
import {
  Thermometer,
  type ThermometerClient,
  type ThermometerHandlers,
} from "../gen/thermometer/v1/thermometer_ttrpc.ts";

/** What is tested. */
const handlers: ThermometerHandlers = {
  read: ({ room }) => {
    if (room !== "cellar") throw new RpcError(Code.NOT_FOUND, `there is no ${room}`);
    return { celsius: 12 };
  },
  async *watch(request, context) {
    while (!context.signal.aborted) yield await handlers.read(request, context);
  },
  average: () => {
    throw new RpcError(Code.UNIMPLEMENTED, "this is still to be written");
  },
  async *convert(requests) {
    for await (const { celsius } of requests) yield { fahrenheit: celsius * 9 / 5 + 32 };
  },
};

/** Runs a test with a client of a server of its own. At its end nothing of both is left. */
async function withClient(test: (thermometer: ThermometerClient) => Promise<void>): Promise<void> {
  const [near, far] = createConnectionPair();
  await using _server = serve(
    { connection: far },
    (router) => router.service(Thermometer, handlers),
  );
  await using client = await connect(near);
  await test(client.service(Thermometer, { timeoutMs: 5_000 }));
}

Deno.test("read() measures the cellar", () =>
  withClient(async (thermometer) => {
    const { celsius } = await thermometer.read({ room: "cellar" });
    equal(celsius, 12);
  }));

Deno.test("read() fails with NOT_FOUND in a room that is not there", () =>
  withClient(async (thermometer) => {
    await rejects(thermometer.read({ room: "attic" }), {
      code: Code.NOT_FOUND,
      message: "thermometer.v1.Thermometer/Read: NOT_FOUND: there is no attic",
    });
  }));

Deno.test("convert() answers each reading", () =>
  withClient(async (thermometer) => {
    const converted = await Array.fromAsync(thermometer.convert([{ celsius: 100 }]));
    deepEqual(converted.map(({ fahrenheit }) => fahrenheit), [212]);
  }));
