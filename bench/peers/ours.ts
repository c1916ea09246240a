import { connect, serve, type ServiceClient } from "@ttrpc/ttrpc";
import { BenchService } from "../gen/ttrpc/bench/v1/bench_pb.ts";
import { collected, echoed, none, payloads, produced, realisticOf } from "./messages.ts";
import type { Tally } from "./meter.ts";
import { check, checkCount, checkId, payloadOf, runPeer } from "./peer.ts";
import type { Plan } from "../workloads.ts";

/** More calls than any workload has in flight. */
const CALLS = 20_000;

await runPeer({
  serve(path) {
    serve({ path, limits: { concurrentCalls: CALLS } }, (router) =>
      router.service(BenchService, {
        echo: ({ payload }) => ({ payload }),
        create: (request) => request,
        produce: produced,
        collect: collected,
        chat: echoed,
      }));
  },

  async connect(path, plan) {
    const client = await connect({ path });
    const service = client.service(BenchService);
    return { call: callOf(service, plan), open: () => void service.chat(none()) };
  },
});

type Call = (tally: Tally) => Promise<void>;

function callOf(service: ServiceClient<typeof BenchService>, plan: Plan): Call {
  switch (plan.kind) {
    case "unary": {
      if (plan.realistic) return createCall(service, plan);
      const payload = payloadOf(plan);
      return async (tally) => {
        const response = await service.echo({ payload });
        check(response.payload, plan);
        tally.completed(1);
      };
    }
    case "server_stream":
      return async (tally) => {
        const request = { count: plan.perStream, bytes: plan.bytes };
        for await (const _ of service.produce(request)) tally.completed(1);
      };
    case "client_stream":
      return async (tally) => {
        const { count } = await service.collect(payloads(plan));
        checkCount(count, plan);
        tally.completed(count);
      };
    case "bidi_stream":
      return async (tally) => {
        for await (const { payload } of service.chat(payloads(plan))) {
          check(payload, plan);
          tally.completed(1);
        }
      };
  }
}

function createCall(service: ServiceClient<typeof BenchService>, plan: Plan): Call {
  const request = realisticOf(plan);
  return async (tally) => {
    checkId(await service.create(request), request);
    tally.completed(1);
  };
}
