// What is over is let go: of calls that have ended nothing is left, neither in memory nor on the
// signals that they were given, while the client lives on.

import { type Interceptor, RpcError } from "@ttrpc/ttrpc";
import { logger } from "@ttrpc/ttrpc/logger";
import { equal } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted } from "./fixture.ts";
import {
  callOf,
  CountedSignal,
  handlersThat,
  INTERCEPTORS,
  KINDS,
  type TestClient,
} from "./kinds.ts";
import { Place, TRANSPORTS } from "./place.ts";
import { WAYS } from "./lets_go.ts";
import { until } from "./wait.ts";

let results: Promise<Map<string, string>> | undefined;

/** Runs all ways in a process whose garbage is collected when it says so. */
async function measured(): Promise<Map<string, string>> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", "--v8-flags=--expose-gc", `${import.meta.dirname}/lets_go.ts`],
    env: { NO_COLOR: "1" },
  }).output();
  equal(code, 0, new TextDecoder().decode(stderr));
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  return new Map(lines.map((line) => line.split(": ") as [string, string]));
}

for (const { name } of WAYS) {
  Deno.test(`nothing is left in memory of calls: ${name}`, async () => {
    equal((await (results ??= measured())).get(name), "nothing");
  });
}

const answering: Interceptor = () => (request) => {
  const many = request.kind === "server_streaming" || request.kind === "bidi_streaming";
  return Promise.resolve({ kind: request.kind, message: many ? [{}, {}] : {} } as never);
};
const throwing: Interceptor = () => () => {
  throw new RpcError(Code.ABORTED, "no");
};

/** All that can stand around a call, whether it is answered or not. */
const AROUND: Readonly<Record<string, readonly Interceptor[]>> = {
  ...INTERCEPTORS,
  "with logger()": [logger(() => {})],
  "with an interceptor that answers": [answering],
  "with an interceptor that throws": [throwing],
};

/** Starts a stream of each kind, and does not look at it. */
function startStreams(service: TestClient, signal: AbortSignal): void {
  const options = { signal, timeoutMs: 1e6 };
  service.count({ count: 3 }, options);
  service.chat([{ text: "a" }, { text: "b" }], options);
}

for (const transport of TRANSPORTS) {
  for (const [how, interceptors] of Object.entries(AROUND)) {
    Deno.test(`streams that nobody looks at let go of their signal, over ${transport}, ${how}`, async () => {
      await using place = new Place(transport);
      await place.serve();
      const client = await place.connect({ interceptors });
      const counted = new CountedSignal();
      for (let i = 0; i < 3; i++) startStreams(client.service(TestService), counted.signal);
      await until(() => client.stats().callsInFlight === 0 && counted.listeners === 0);
    });

    Deno.test(`calls that are over let go of their signal, over ${transport}, ${how}`, async () => {
      await using place = new Place(transport);
      let fail = false;
      await place.serve(handlersThat(() => {
        if (fail) throw new RpcError(Code.ABORTED, "no");
      }));
      const client = await place.connect({ interceptors });
      const service = client.service(TestService);
      const counted = new CountedSignal();
      const { signal } = counted;
      for (fail of [false, true]) {
        for (const kind of KINDS) {
          await callOf(kind, service, { signal, timeoutMs: 1e6 }).catch(() => {});
          await until(() => client.stats().callsInFlight === 0);
          equal(counted.listeners, 0, kind);
        }
      }
    });

    Deno.test(`calls that are given up let go of their signal, over ${transport}, ${how}`, async () => {
      await using place = new Place(transport);
      await place.serve(handlersThat(({ signal }) => aborted(signal)));
      const client = await place.connect({ interceptors });
      const service = client.service(TestService);
      for (const kind of KINDS) {
        const late = new CountedSignal();
        await callOf(kind, service, { signal: late.signal, timeoutMs: 5 }).catch(() => {});
        const early = new CountedSignal();
        const call = callOf(kind, service, { signal: early.signal }).catch(() => {});
        early.controller.abort();
        await call;
        await until(() => client.stats().callsInFlight === 0);
        equal(late.listeners + early.listeners, 0, kind);
      }
      const left = new CountedSignal();
      await service.count({}, { signal: left.signal }).return();
      await service.chat([], { signal: left.signal }).return();
      await until(() => client.stats().callsInFlight === 0);
      equal(left.listeners, 0);
    });
  }

  Deno.test(`calls without a connection let go of their signal when they are over, over ${transport}`, async () => {
    for (const interceptors of Object.values(INTERCEPTORS)) {
      await using place = new Place(transport);
      await place.serve();
      const client = await place.connect({ interceptors, reconnect: true, waitForReady: true });
      const service = client.service(TestService);
      await place.stop();
      for (const kind of KINDS) {
        const counted = new CountedSignal();
        const { signal } = counted;
        await callOf(kind, service, { signal, timeoutMs: 5 }).catch(() => {});
        equal(counted.listeners, 0, kind);
        const call = callOf(kind, service, { signal, timeoutMs: 1e6 }).catch(() => {});
        equal(counted.listeners, 1, kind);
        counted.controller.abort();
        await call;
        equal(counted.listeners, 0, kind);
      }
    }
  });

  Deno.test(`close() lets go of the signals of all calls, over ${transport}`, async () => {
    for (const interceptors of Object.values(INTERCEPTORS)) {
      for (const outage of [false, true]) {
        await using place = new Place(transport);
        await place.serve(handlersThat(({ signal }) => aborted(signal)));
        const client = await place.connect({ interceptors, reconnect: true, waitForReady: true });
        const service = client.service(TestService);
        if (outage) await place.stop();
        const counted = new CountedSignal();
        const { signal } = counted;
        const calls = KINDS.map((kind) => callOf(kind, service, { signal, timeoutMs: 1e6 }));
        startStreams(service, signal);
        client.close();
        await Promise.allSettled(calls);
        equal(client.stats().callsInFlight, 0);
        equal(counted.listeners, 0);
      }
    }
  });
}
