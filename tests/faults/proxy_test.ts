// What happens between two peers: bytes that come in pieces, late, or not at all.

import { type Address, type Client, connect, type ConnectOptions, RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../../status.ts";
import { SocketFolder, TestBed } from "../fixture.ts";
import { Proxy, type ProxyAddress } from "./proxy.ts";
import { sleep, turn, until, untilAtRest } from "../wait.ts";

/** A server, and a proxy in front of it. */
class Place implements AsyncDisposable {
  readonly bed = new TestBed();
  readonly proxy: Proxy;
  readonly #folder = new SocketFolder();
  readonly #clients: Client[] = [];

  constructor(transport: "unix" | "tcp" = "unix") {
    const address: ProxyAddress = transport === "unix"
      ? { transport, path: this.#folder.path }
      : { transport, port: 0 };
    this.proxy = new Proxy(address, this.bed.path);
  }

  async connect(options?: ConnectOptions): Promise<Client> {
    const client = await connect(this.proxy.addr as Address, options);
    this.#clients.push(client);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
    await this.proxy[Symbol.asyncDispose]();
    await this.bed[Symbol.asyncDispose]();
    this.#folder[Symbol.dispose]();
  }
}

/** A fresh client, without the proxy, is answered. */
async function answersOthers(bed: TestBed): Promise<void> {
  const service = await bed.service();
  equal((await service.echo({ text: "fresh" }, { timeoutMs: 5_000 })).text, "fresh");
}

/** One call of each kind. Tells of each what came of it. */
async function exchange(client: Client): Promise<(string | RpcError)[]> {
  const service = client.service(TestService);
  const calls = [
    async () => (await service.echo({ text: "hello" })).text,
    async () => `${(await Array.fromAsync(service.count({ count: 3 }))).length}`,
    async () => `${(await service.sum([{ value: 1n }, { value: 2n }])).value}`,
    async () =>
      (await Array.fromAsync(service.chat([{ text: "a" }, { text: "b" }])))
        .map(({ text }) => text).join(),
  ];
  const outcomes: (string | RpcError)[] = [];
  for (const call of calls) outcomes.push(await call().catch((error) => error));
  return outcomes;
}

const WHOLE = ["hello", "3", "3", "a,b"];

Deno.test("calls come through byte by byte, in both directions", async () => {
  await using place = new Place();
  place.proxy.up.piece = 1;
  place.proxy.down.piece = 1;
  deepEqual(await exchange(await place.connect()), WHOLE);
});

Deno.test("a large message comes through in odd pieces", async () => {
  await using place = new Place();
  place.proxy.up.piece = 4_099;
  place.proxy.down.piece = 8_191;
  const service = (await place.connect()).service(TestService);
  const payload = crypto.getRandomValues(new Uint8Array(60_000));
  deepEqual((await service.echo({ payload })).payload, payload);
  equal((await service.produce({ length: 4_000_000 })).payload.length, 4_000_000);
});

Deno.test("calls come through when every piece is late", async () => {
  await using place = new Place();
  const late = () => sleep(2);
  place.proxy.up.delay = late;
  place.proxy.down.delay = late;
  const client = await place.connect();
  const all = await Promise.all([exchange(client), exchange(client), exchange(client)]);
  deepEqual(all, [WHOLE, WHOLE, WHOLE]);
});

for (const direction of ["up", "down"] as const) {
  Deno.test(`a call ends at its deadline while nothing goes ${direction}, and the next comes through`, async () => {
    await using place = new Place();
    const client = await place.connect();
    const service = client.service(TestService);
    await service.nothing({});
    place.proxy[direction].stall();
    // The stalled pump still passes on what it was reading when it was stalled.
    await service.nothing({}, { timeoutMs: 50 }).catch(() => {});
    await rejects(service.echo({ text: "stuck" }, { timeoutMs: 50 }), {
      code: Code.DEADLINE_EXCEEDED,
      rawMessage: "the deadline of 50 ms has passed",
    });
    await rejects(Array.fromAsync(service.count({ count: 2 }, { timeoutMs: 50 })), {
      code: Code.DEADLINE_EXCEEDED,
    });
    await answersOthers(place.bed);
    place.proxy[direction].resume();
    deepEqual(await exchange(client), WHOLE);
    deepEqual([client.stats().openStreams, client.stats().queuedBytes], [0, 0]);
  });
}

Deno.test("a stalled reader makes the sender wait, and memory does not grow", async () => {
  await using place = new Place();
  const client = await place.connect();
  const service = client.service(TestService);
  await service.nothing({});
  place.proxy.up.stall();
  let made = 0;
  const payload = new Uint8Array(1 << 16);
  const stopping = new AbortController();
  const stream = service.chat(
    (function* () {
      for (;; made++) yield { payload };
    })(),
    { signal: stopping.signal },
  );
  const first = stream.next();
  await untilAtRest(() => made, 20);
  ok(made < 32, `${made} messages of 64 KiB were made for a socket that nobody reads`);
  stopping.abort();
  await rejects(first, { code: Code.CANCELLED });
  await answersOthers(place.bed);
});

Deno.test("a connection cut at any byte fails its call with UNAVAILABLE, and loses no answer", async () => {
  await using place = new Place();
  const { up, down } = place.proxy;
  deepEqual(await exchange(await place.connect()), WHOLE);
  const lengths = { up: up.passed, down: down.passed };
  ok(lengths.up > 200 && lengths.down > 80, Deno.inspect(lengths));

  for (const direction of ["up", "down"] as const) {
    for (let offset = 0; offset < lengths[direction]; offset++) {
      const where = `${direction} at ${offset}`;
      const closed: unknown[] = [];
      const client = await place.connect({ onClose: (error) => closed.push(error) });
      place.proxy[direction].left = offset;
      const outcomes = await exchange(client);
      place.proxy[direction].left = Infinity;
      const failed = outcomes.findIndex((outcome) => outcome instanceof RpcError);
      ok(failed >= 0, where);
      deepEqual(outcomes.slice(0, failed), WHOLE.slice(0, failed), where);
      for (const error of outcomes.slice(failed)) {
        ok(error instanceof RpcError, `${where}: ${error}`);
        equal(error.code, Code.UNAVAILABLE, `${where}: ${error.message}`);
        match(error.message, /TestService\/\w+: UNAVAILABLE: .*test\.sock/, where);
      }
      await client.finished;
      equal(closed.length, 1, where);
      ok(closed[0] instanceof RpcError, where);
      equal(client.stats().callsInFlight, 0);
    }
  }
  await answersOthers(place.bed);
  // Those of the recorded exchange and of the fresh client are still open.
  await until(() => place.bed.server.stats().connections === 2, "the end of the others");
  equal(place.bed.server.stats().callsInFlight, 0);
});

for (const transport of ["unix", "tcp"] as const) {
  Deno.test(`a ${transport} connection that is reset fails its calls, and the next one works`, async () => {
    await using place = new Place(transport);
    const client = await place.connect({ reconnect: { initialDelayMs: 1 } });
    const service = client.service(TestService);
    await service.nothing({});
    // What the proxy leaves unread makes the system send a reset when the proxy closes.
    place.proxy.up.stall();
    const calls = Array.from(
      { length: 5 },
      () => service.produce({ length: 10 }).then(() => "answered", (error) => error),
    );
    calls.push(service.chat(new ReadableStream()).next().catch((error) => error));
    await until(() => client.stats().bytesSent >= 300, "the requests");
    const more = service.echo({ payload: new Uint8Array(1 << 20) }).catch((error) => error);
    await turn();
    place.proxy.cut();
    for (const outcome of await Promise.all([...calls, more])) {
      if (outcome === "answered") continue; // it was under way when the line was stalled
      ok(outcome instanceof RpcError, String(outcome));
      equal(outcome.code, Code.UNAVAILABLE, outcome.message);
    }
    equal((await service.echo({ text: "again" }, { timeoutMs: 5_000 })).text, "again");
    await answersOthers(place.bed);
  });
}

for (const line of ["up", "down"] as const) {
  for (const transport of ["unix", "tcp"] as const) {
    Deno.test(`a keepalive notices that nothing goes ${line} any more, over ${transport}`, async () => {
      await using place = new Place(transport);
      const client = await place.connect({ keepalive: { intervalMs: 50, timeoutMs: 500 } });
      const service = client.service(TestService);
      await service.nothing({});
      const { bytesReceived } = client.stats();
      await until(() => client.stats().bytesReceived >= bytesReceived + 30, "pongs");
      place.proxy[line].stall();
      const call = service.sleep({ milliseconds: 3_600_000n });
      await rejects(call, { code: Code.UNAVAILABLE, message: /nothing for 500 ms after a ping/ });
      await client.finished;
      place.proxy[line].resume();
      await answersOthers(place.bed);
    });
  }
}
