// retry(): what may be called again is, within the deadline.

import { bytesCodec, connect, RpcError, serve, type ServiceDescriptor } from "@ttrpc/ttrpc";
import { retry } from "@ttrpc/ttrpc/retry";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { Code } from "../status.ts";
import { SocketFolder } from "./fixture.ts";
import { until } from "./wait.ts";

const unary = { methodKind: "unary", input: bytesCodec, output: bytesCodec } as const;
const Flaky = {
  typeName: "flaky.Service",
  method: {
    read: { ...unary, name: "Read", idempotency: 1 },
    put: { ...unary, name: "Put", idempotency: 2 },
    add: { ...unary, name: "Add" },
  },
} as const satisfies ServiceDescriptor;

/** A service that fails a number of times before it answers. */
async function flaky(failures: number, code: Code, options: Parameters<typeof retry>[0]) {
  const socket = new SocketFolder();
  const calls: number[] = [];
  const answer = (request: Uint8Array, { timeoutMs = NaN }: { timeoutMs: number | undefined }) => {
    calls.push(timeoutMs);
    if (calls.length <= failures) throw new RpcError(code, `failure ${calls.length}`);
    return request;
  };
  const server = serve(
    { path: socket.path },
    (router) => router.service(Flaky, { read: answer, put: answer, add: answer }),
  );
  const client = await connect({ path: socket.path }, { interceptors: [retry(options)] });
  return {
    calls,
    service: client.service(Flaky),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      socket[Symbol.dispose]();
    },
  };
}

const request = new Uint8Array([1]);

Deno.test("retry() calls an idempotent method again until it answers", async () => {
  for (const name of ["read", "put"] as const) {
    await using bed = await flaky(2, Code.UNAVAILABLE, { initialDelayMs: 1 });
    deepEqual(await bed.service[name](request), request);
    equal(bed.calls.length, 3);
  }
});

Deno.test("retry() gives up after its attempts, with the last error", async () => {
  await using bed = await flaky(9, Code.UNAVAILABLE, { attempts: 4, initialDelayMs: 0 });
  await rejects(bed.service.read(request), { rawMessage: "failure 4" });
});

Deno.test("retry() calls a method that is not idempotent, or fails otherwise, once", async () => {
  await using add = await flaky(9, Code.UNAVAILABLE, { initialDelayMs: 0 });
  await rejects(add.service.add(request), { rawMessage: "failure 1" });
  await using other = await flaky(9, Code.ABORTED, { initialDelayMs: 0 });
  await rejects(other.service.read(request), { rawMessage: "failure 1" });
  await using chosen = await flaky(1, Code.ABORTED, { initialDelayMs: 0, codes: [Code.ABORTED] });
  await chosen.service.read(request);
});

Deno.test("retry() keeps the deadline over all attempts, and does not wait past it", async () => {
  await using bed = await flaky(9, Code.UNAVAILABLE, { attempts: 3, initialDelayMs: 10 });
  await rejects(bed.service.read(request, { timeoutMs: 60_000 }), { rawMessage: "failure 3" });
  ok(bed.calls[0]! > bed.calls[1]! && bed.calls[1]! > bed.calls[2]!, `${bed.calls}`);
  await using long = await flaky(9, Code.UNAVAILABLE, { initialDelayMs: 1e6, maxDelayMs: 1e6 });
  await rejects(long.service.read(request, { timeoutMs: 5_000 }), { rawMessage: "failure 1" });
});

Deno.test("retry() stops when its call is aborted in a pause", async () => {
  await using bed = await flaky(9, Code.UNAVAILABLE, { initialDelayMs: 1e6, maxDelayMs: 1e6 });
  const controller = new AbortController();
  const call = rejects(bed.service.read(request, { signal: controller.signal }), {
    code: Code.CANCELLED,
  });
  await until(() => bed.calls.length > 0);
  controller.abort();
  await call;
});

Deno.test("retry() refuses options that make no sense", () => {
  for (
    const options of [{ attempts: 0 }, { attempts: 1.5 }, { initialDelayMs: -1 }, {
      maxDelayMs: NaN,
    }]
  ) {
    throws(() => retry(options), RangeError);
  }
});
