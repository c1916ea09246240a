// A loop that makes a call for each message of a stream on the same connection can hold itself up.

import type { Limits } from "@ttrpc/ttrpc";
import { equal, match, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code, RpcError } from "../status.ts";
import { INTERCEPTORS } from "./kinds.ts";
import { Place, type Transport, TRANSPORTS } from "./place.ts";

const KIB = 1 << 10;
const MESSAGES = 2_000;

/** Small bounds, so that they are reached soon. */
const limits: Partial<Limits> = {
  streamQueueBytes: 16 * KIB,
  connectionQueueBytes: 64 * KIB,
  stallTimeoutMs: 20,
};

const flood = {
  *chat() {
    for (let i = 0; i < MESSAGES; i++) yield { payload: new Uint8Array(4 * KIB) };
  },
};

function saysWhatToDo(transport: Transport): void {
  for (const [how, interceptors] of Object.entries(INTERCEPTORS)) {
    Deno.test(`a stream whose loop stalls itself says what to do, over ${transport}, ${how}`, async () => {
      await using place = new Place(transport);
      await place.serve(flood);
      const client = await place.connect({ limits, interceptors });
      const service = client.service(TestService);
      let taken = 0;
      const loop = async () => {
        for await (const _ of service.chat([])) {
          taken++;
          await service.nothing({}); // its answer is behind the messages of the stream
        }
      };
      await rejects(loop, (error) => {
        ok(error instanceof RpcError);
        equal(error.code, Code.RESOURCE_EXHAUSTED);
        equal(error.method, `${TestService.typeName}/Chat`);
        match(error.rawMessage, /take them faster/);
        match(error.rawMessage, /on another connection/);
        match(error.rawMessage, /raise limits\.connectionQueueBytes/);
        return true;
      });
      ok(taken < MESSAGES);
      await service.nothing({}); // the connection goes on
    });
  }
}

for (const transport of TRANSPORTS) {
  // Within a process so little is on its way that an answer is never far behind.
  if (transport !== "memory") saysWhatToDo(transport);

  Deno.test(`what the error says to do helps, over ${transport}`, async () => {
    await using place = new Place(transport);
    await place.serve(flood);
    const client = await place.connect({ limits });
    const other = await place.connect({ limits });
    const connectionQueueBytes = 2 * MESSAGES * 4 * KIB;
    const large = await place.connect({ limits: { ...limits, connectionQueueBytes } });
    const ways = [[client, other], [large, large]] as const;
    for (const [streams, calls] of ways) {
      let taken = 0;
      for await (const _ of streams.service(TestService).chat([])) {
        taken++;
        await calls.service(TestService).nothing({});
      }
      equal(taken, MESSAGES);
    }
  });
}
