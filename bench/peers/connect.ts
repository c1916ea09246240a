// Connect-ES over HTTP/2 on a unix socket, under Node.

import { type Client, createClient } from "npm:@connectrpc/connect@2.2.0";
import { connectNodeAdapter, createConnectTransport } from "npm:@connectrpc/connect-node@2.2.0";
import { createServer } from "node:http2";
import { connect } from "node:net";
import { BenchService } from "../gen/ttrpc/bench/v1/bench_pb.ts";
import { collected, echoed, payloads, produced, realisticOf } from "./messages.ts";
import type { Tally } from "./meter.ts";
import { check, checkCount, checkId, payloadOf, runPeer } from "./peer.ts";
import type { Plan } from "../workloads.ts";

await runPeer({
  serve(path) {
    const handler = connectNodeAdapter({
      routes: (router) =>
        void router.service(BenchService, {
          echo: ({ payload }) => ({ payload }),
          create: (request) => request,
          produce: produced,
          collect: collected,
          chat: echoed,
        }),
    });
    return new Promise<void>((resolve) => createServer(handler).listen(path, resolve));
  },

  connect(path, plan) {
    const transport = createConnectTransport({
      httpVersion: "2",
      baseUrl: "http://localhost",
      nodeOptions: { createConnection: () => connect(path) },
    });
    return { call: callOf(createClient(BenchService, transport), plan) };
  },
});

function callOf(
  service: Client<typeof BenchService>,
  plan: Plan,
): (tally: Tally) => Promise<void> {
  const payload = payloadOf(plan);
  const message = realisticOf(plan);
  return {
    unary: async (tally: Tally) => {
      if (plan.realistic) checkId(await service.create(message), message);
      else check((await service.echo({ payload })).payload, plan);
      tally.completed(1);
    },
    server_stream: async (tally: Tally) => {
      const request = { count: plan.perStream, bytes: plan.bytes };
      for await (const _ of service.produce(request)) tally.completed(1);
    },
    client_stream: async (tally: Tally) => {
      const { count } = await service.collect(payloads(plan));
      checkCount(count, plan);
      tally.completed(count);
    },
    bidi_stream: async (tally: Tally) => {
      for await (const { payload } of service.chat(payloads(plan))) {
        check(payload, plan);
        tally.completed(1);
      }
    },
  }[plan.kind];
}
