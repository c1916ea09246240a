// Calls that a server refuses end as others do while its interceptors still think about them.

import type { Interceptor, ServeOptions, Server } from "@ttrpc/ttrpc";
import { type LogEntry, logger } from "@ttrpc/ttrpc/logger";
import { deepEqual, equal } from "node:assert/strict";
import { Code } from "../status.ts";
import { Place, type Transport, TRANSPORTS } from "./place.ts";
import { answer, dataFrame, HALF_CLOSE, RawPeer } from "./raw_peer.ts";
import { until } from "./wait.ts";

/** A server with an interceptor that waits, in calls that are refused, and what it and the log hear. */
class Bed implements AsyncDisposable {
  readonly log: LogEntry[] = [];
  readonly outcomes: unknown[] = [];
  readonly gate = Promise.withResolvers<void>();
  readonly place: Place;
  server!: Server;
  peer!: RawPeer;
  waiting = 0;

  constructor(transport: Transport) {
    this.place = new Place(transport);
  }

  static async open(transport: Transport, settings: ServeOptions = {}): Promise<Bed> {
    const bed = new Bed(transport);
    const slow: Interceptor = (next) => async (request) => {
      if (request.message !== undefined) return await next(request);
      bed.waiting++;
      await bed.gate.promise;
      try {
        return await next(request);
      } catch (error) {
        bed.outcomes.push((error as { code: Code }).code);
        throw error;
      }
    };
    const interceptors = [logger((entry) => void bed.log.push(entry)), slow];
    bed.server = await bed.place.serve({}, { interceptors, ...settings });
    bed.peer = new RawPeer(await bed.place.open() as Deno.Conn);
    return bed;
  }

  async answer(): Promise<[number, number]> {
    const [streamId, code] = await answer(this.peer);
    return [streamId, code];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.gate.resolve();
    this.peer[Symbol.dispose]();
    await this.place[Symbol.asyncDispose]();
  }
}

for (const transport of TRANSPORTS) {
  Deno.test(`a refused call is answered DEADLINE_EXCEEDED when its time is over, over ${transport}`, async () => {
    await using bed = await Bed.open(transport);
    const { peer, server } = bed;
    await peer.request(1, { method: "Do", timeoutNano: 10_000_000n });
    deepEqual(await bed.answer(), [1, Code.DEADLINE_EXCEEDED]);
    bed.gate.resolve();
    await until(() => bed.log.length === 1);
    deepEqual(bed.outcomes, [Code.DEADLINE_EXCEEDED]);
    equal(bed.log[0]!.code, Code.DEADLINE_EXCEEDED);
    await peer.request(3, { method: "Nothing" }); // nothing else was sent before its answer
    deepEqual(await bed.answer(), [3, 0]);
    deepEqual(server.stats().callsFailed, { DEADLINE_EXCEEDED: 1 });
    equal(server.stats().callsInFlight, 0);
  });

  Deno.test(`a refused call ends with its connection, over ${transport}`, async () => {
    await using bed = await Bed.open(transport);
    const { peer, server } = bed;
    await peer.request(1, { method: "Do" });
    await peer.request(3, { service: "no.Such" });
    await until(() => bed.waiting === 2);
    peer.conn.close();
    await until(() => server.stats().callsInFlight === 0);
    bed.gate.resolve();
    await until(() => bed.log.length === 2);
    deepEqual(bed.outcomes, [Code.CANCELLED, Code.CANCELLED]);
    deepEqual(bed.place.errors, []);
  });

  Deno.test(`a refused call ends with its server, over ${transport}`, async () => {
    for (const how of ["close", "shutdown"] as const) {
      await using bed = await Bed.open(transport);
      const { peer, server } = bed;
      await peer.request(1, { method: "Do" });
      await until(() => bed.waiting === 1);
      if (how === "close") server.close();
      else void server.shutdown({ timeoutMs: 0 });
      while (await peer.receive());
      peer.conn.close();
      await server.finished;
      equal(server.stats().callsInFlight, 0);
      bed.gate.resolve();
      await until(() => bed.log.length === 1);
      deepEqual(bed.place.errors, []);
    }
  });

  Deno.test(`shutdown() waits for the answer of a call that was refused before, over ${transport}`, async () => {
    await using bed = await Bed.open(transport);
    const { peer, server } = bed;
    await peer.request(1, { method: "Do" });
    await until(() => bed.waiting === 1);
    const down = server.shutdown();
    bed.gate.resolve();
    deepEqual(await bed.answer(), [1, Code.UNIMPLEMENTED]);
    equal(await peer.receive(), undefined);
    peer.conn.close();
    await down;
  });

  Deno.test(`many refused calls are each answered once, over ${transport}`, async () => {
    await using bed = await Bed.open(transport, { limits: { concurrentCalls: 10 } });
    const { peer, server } = bed;
    const ids = Array.from({ length: 30 }, (_, at) => 2 * at + 1);
    for (const streamId of ids) {
      await peer.request(streamId, { method: "Do" });
      await peer.send(dataFrame(streamId, HALF_CLOSE));
    }
    bed.gate.resolve();
    const answers = new Map<number, number>();
    while (answers.size < ids.length) {
      const [streamId, code] = await bed.answer();
      // Of a stream that was answered already, the half-close is a mistake of its own.
      if (!answers.has(streamId)) answers.set(streamId, code);
    }
    deepEqual([...answers.values()], ids.map(() => Code.UNIMPLEMENTED));
    deepEqual(server.stats().callsFailed, { UNIMPLEMENTED: 30 });
  });
}

Deno.test("a call whose deadline had passed when it came is seen by interceptors, too", async () => {
  for (const timeoutNano of [-1n, -(2n ** 63n)]) {
    await using bed = await Bed.open("unix");
    bed.gate.resolve();
    await bed.peer.request(1, { method: "Nothing", timeoutNano });
    deepEqual(await bed.answer(), [1, Code.DEADLINE_EXCEEDED]);
    await until(() => bed.log.length === 1);
    deepEqual([bed.log[0]!.method, bed.log[0]!.code], [
      "ttrpc.test.v1.TestService/Nothing",
      Code.DEADLINE_EXCEEDED,
    ]);
  }
});

Deno.test("a call with an id that cannot be is seen by interceptors, too", async () => {
  await using bed = await Bed.open("unix");
  bed.gate.resolve();
  const { peer, log } = bed;
  await peer.request(3, { method: "Nothing" });
  deepEqual(await bed.answer(), [3, 0]);
  for (const streamId of [2, 3, 1]) {
    await peer.request(streamId, { method: "Nothing" });
    deepEqual(await bed.answer(), [streamId, Code.INVALID_ARGUMENT]);
  }
  deepEqual(log.map(({ code }) => code), [
    Code.OK,
    Code.INVALID_ARGUMENT,
    Code.INVALID_ARGUMENT,
    Code.INVALID_ARGUMENT,
  ]);
});

Deno.test("what an interceptor throws of a refused call is UNKNOWN, and onError hears of it", async () => {
  const heard: unknown[] = [];
  const failing: Interceptor = () => () => {
    throw new Error("a bug");
  };
  await using bed = await Bed.open("unix", {
    interceptors: [failing],
    onError: (error, method) => void heard.push([`${error}`, method]),
  });
  await bed.peer.request(1, { service: "no.Such", method: "Do" });
  deepEqual(await bed.answer(), [1, Code.UNKNOWN]);
  deepEqual(heard, [["Error: a bug", "no.Such/Do"]]);
});

Deno.test("without interceptors, a refused call is answered at once", async () => {
  await using bed = await Bed.open("unix", { interceptors: [] });
  await bed.peer.request(1, { service: "no.Such" });
  deepEqual(await bed.answer(), [1, Code.UNIMPLEMENTED]);
  equal(bed.server.stats().callsStarted, 1);
});
