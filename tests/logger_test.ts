// logger() tells of every call once, when it is over, and how it has ended.

import { RpcError } from "@ttrpc/ttrpc";
import { type LogEntry, logger } from "@ttrpc/ttrpc/logger";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Code } from "../status.ts";
import { TestBed } from "./fixture.ts";
import { until } from "./kinds.ts";

Deno.test("logger() tells once of a stream that was left before its first message", async () => {
  const log: LogEntry[] = [];
  await using bed = new TestBed();
  const service = await bed.service({ interceptors: [logger((entry) => void log.push(entry))] });
  await service.count({ count: 3 }).return();
  await until(() => log.length > 0);
  deepEqual(log.map(({ code, responses }) => [code, responses]), [[Code.CANCELLED, 0]]);
});

Deno.test("logger() tells of each call when it has ended", async () => {
  const near: LogEntry[] = [];
  const far: LogEntry[] = [];
  await using bed = new TestBed({}, { interceptors: [logger((entry) => void far.push(entry))] });
  const service = await bed.service({ interceptors: [logger((entry) => void near.push(entry))] });
  await service.nothing({});
  await Array.fromAsync(service.count({ count: 3 }));
  await service.sum([{ value: 1n }, { value: 2n }]);
  await Array.fromAsync(service.chat([{}, {}]));
  await rejects(service.fail({ code: 5, message: "no" }));
  for await (const _ of service.count({ count: 10 })) break;
  for (const log of [near, far]) {
    const entries = log.slice(0, 5).map(({ method, kind, code, requests, responses }) =>
      `${method.split("/")[1]} ${kind} ${Code[code]} ${requests} ${responses}`
    );
    deepEqual(entries, [
      "Nothing unary OK 1 1",
      "Count server_streaming OK 1 3",
      "Sum client_streaming OK 2 1",
      "Chat bidi_streaming OK 2 2",
      "Fail unary NOT_FOUND 1 0",
    ]);
    ok(log.every(({ durationMs }) => durationMs >= 0));
    ok(log[4]!.error instanceof RpcError);
    equal("error" in log[0]!, false);
  }
  deepEqual([near[5]!.code, near[5]!.responses], [Code.CANCELLED, 1]);
});

Deno.test("logger() tells of a stream that fails on its way", async () => {
  const log: LogEntry[] = [];
  await using bed = new TestBed({
    async *count() {
      yield { value: 1n };
      throw new RpcError(Code.DATA_LOSS, "gone");
    },
  });
  const service = await bed.service({ interceptors: [logger((entry) => void log.push(entry))] });
  await rejects(Array.fromAsync(service.count({})), { code: Code.DATA_LOSS });
  equal(log.length, 1);
  deepEqual([log[0]!.code, log[0]!.responses], [Code.DATA_LOSS, 1]);
});
