// A client with a way to dial of its own connects again as others do.

import {
  type ByteConnection,
  type Client,
  connect,
  type ConnectOptions,
  createConnectionPair,
  RpcError,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted } from "./fixture.ts";
import { callOf, handlersThat, INTERCEPTORS, KINDS } from "./kinds.ts";
import { Place, type Transport, TRANSPORTS } from "./place.ts";
import { moment, until } from "./wait.ts";

const RECONNECT = { reconnect: { initialDelayMs: 1, maxDelayMs: 2 } };

/** A place whose client dials as the test says. */
class Bed implements AsyncDisposable {
  readonly place: Place;
  /** The signals of the attempts so far. */
  readonly signals: AbortSignal[] = [];
  /** What an attempt does. */
  dial: () => Promise<ByteConnection>;
  client!: Client;

  constructor(transport: Transport) {
    this.place = new Place(transport);
    this.dial = () => this.place.open();
  }

  static async open(transport: Transport, options: ConnectOptions = {}, name = "the machine") {
    const bed = new Bed(transport);
    await bed.place.serve(
      handlersThat(({ metadata, signal }) => metadata.has("wait") && aborted(signal)),
    );
    const dial = (signal: AbortSignal) => {
      bed.signals.push(signal);
      return bed.dial();
    };
    bed.client = bed.place.adopt(await connect({ dial, name }, { ...RECONNECT, ...options }));
    return bed;
  }

  get service() {
    return this.client.service(TestService);
  }

  get dialled(): number {
    return this.signals.length;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.place[Symbol.asyncDispose]();
  }
}

for (const transport of TRANSPORTS) {
  for (const [how, interceptors] of Object.entries(INTERCEPTORS)) {
    Deno.test(`a client dials again after each loss, for calls of all kinds, over ${transport}, ${how}`, async () => {
      await using bed = await Bed.open(transport, { interceptors, waitForReady: true });
      for (const [at, kind] of KINDS.entries()) {
        const lost = rejects(callOf(kind, bed.service, { metadata: { wait: "" } }), {
          code: Code.UNAVAILABLE,
        });
        await until(() => bed.place.server.stats().callsInFlight === 1);
        await bed.place.stop();
        await lost;
        equal(bed.dialled, at + 1);
        const waiting = [callOf(kind, bed.service), callOf(kind, bed.service)];
        await bed.place.serve(
          handlersThat(({ metadata, signal }) => metadata.has("wait") && aborted(signal)),
        );
        await Promise.all(waiting);
        ok(bed.dialled >= at + 2);
        bed.signals.length = at + 2;
      }
      equal(bed.client.address, "the machine");
      equal(bed.client.stats().callsFailed["UNAVAILABLE"], 4);
    });
  }

  Deno.test(`connectTimeoutMs bounds each attempt, also those after the first, over ${transport}`, async () => {
    await using bed = await Bed.open(transport, { waitForReady: true, connectTimeoutMs: 30 });
    await callOf("unary", bed.service);
    await bed.place.stop();
    await rejects(callOf("unary", bed.service), {
      code: Code.DEADLINE_EXCEEDED,
      message: /cannot connect to the machine/,
    });
    await bed.place.serve();
    await callOf("unary", bed.service);
  });

  Deno.test(`a client dials once for all calls that wait, over ${transport}`, async () => {
    await using bed = await Bed.open(transport, { waitForReady: true });
    await bed.place.stop();
    const gate = Promise.withResolvers<void>();
    bed.dial = async () => {
      await gate.promise;
      return await bed.place.open();
    };
    const calls = KINDS.flatMap((kind) => [callOf(kind, bed.service), callOf(kind, bed.service)]);
    await until(() => bed.dialled === 2);
    for (let i = 0; i < 20; i++) await moment(); // many times the delay
    calls.push(callOf("unary", bed.service));
    equal(bed.dialled, 2);
    await bed.place.serve();
    gate.resolve();
    await Promise.all(calls);
    equal(bed.dialled, 2);
    equal(bed.client.stats().connections, 1);
  });
}

Deno.test("a call's deadline and signal end its wait for a dialer, and not the dialling", async () => {
  await using bed = await Bed.open("memory");
  await bed.place.stop();
  const gate = Promise.withResolvers<void>();
  bed.dial = async () => {
    await gate.promise;
    return await bed.place.open();
  };
  for (const kind of KINDS) {
    await rejects(callOf(kind, bed.service, { timeoutMs: 5 }), { code: Code.DEADLINE_EXCEEDED });
    const controller = new AbortController();
    const call = rejects(callOf(kind, bed.service, { signal: controller.signal }), {
      code: Code.CANCELLED,
    });
    controller.abort();
    await call;
  }
  equal(bed.client.stats().callsInFlight, 0);
  equal(bed.dialled, 2);
  equal(bed.signals[1]!.aborted, false);
  await bed.place.serve();
  gate.resolve();
  for (const kind of KINDS) await callOf(kind, bed.service);
  equal(bed.dialled, 2);
});

Deno.test("close() while a client dials ends its calls, and closes what comes of it", async () => {
  for (const waitForReady of [false, true]) {
    await using bed = await Bed.open("memory", { waitForReady });
    await bed.place.stop();
    const late = Promise.withResolvers<ByteConnection>();
    bed.dial = () => late.promise;
    const calls = KINDS.map((kind) =>
      rejects(callOf(kind, bed.service), {
        code: Code.CANCELLED,
        rawMessage: "connection to the machine is closed",
      })
    );
    await until(() => bed.dialled === 2);
    bed.client.close();
    await Promise.all(calls);
    await bed.client.finished; // although the dialer has not answered
    equal(bed.signals[1]!.aborted, true);
    const [near, far] = createConnectionPair();
    late.resolve(near);
    equal(await far.read(new Uint8Array(1)), null);
    await rejects(bed.service.nothing({}), { code: Code.CANCELLED });
    equal(bed.dialled, 2);
  }
});

Deno.test("close() while a client waits to dial again ends its calls, and the waiting", async () => {
  await using bed = await Bed.open("memory", {
    reconnect: { initialDelayMs: 1e6, maxDelayMs: 1e6 },
  });
  await bed.place.stop();
  await rejects(bed.service.nothing({}), { code: Code.UNAVAILABLE });
  equal(bed.dialled, 2);
  const calls = KINDS.map((kind) => rejects(callOf(kind, bed.service), { code: Code.CANCELLED }));
  await moment();
  bed.client.close();
  await Promise.all(calls);
  await bed.client.finished;
  equal(bed.dialled, 2);
});

Deno.test("close() while a dialer does not heed its signal ends the client all the same", async () => {
  await using bed = await Bed.open("memory", { waitForReady: true });
  await bed.place.stop();
  bed.dial = () => new Promise(() => {});
  const call = rejects(bed.service.nothing({}), { code: Code.CANCELLED });
  await until(() => bed.dialled === 2);
  bed.client.close();
  await call;
  await bed.client.finished;
});

/** What an attempt may come to, and how the calls end that wait for it. */
const FAILURES: Readonly<Record<string, [dial: () => Promise<ByteConnection>, code: Code]>> = {
  "rejects with an Error": [() => Promise.reject(new Error("no luck")), Code.UNAVAILABLE],
  "rejects with an RpcError": [
    () => Promise.reject(new RpcError(Code.UNAUTHENTICATED, "no luck")),
    Code.UNAUTHENTICATED,
  ],
  "throws": [() => {
    throw new Error("no luck");
  }, Code.UNAVAILABLE],
  "throws an RpcError": [() => {
    throw new RpcError(Code.PERMISSION_DENIED, "no luck");
  }, Code.PERMISSION_DENIED],
};

for (const [what, [dial, code]] of Object.entries(FAILURES)) {
  for (const waitForReady of [false, true]) {
    const how = waitForReady ? "with waitForReady" : "without waitForReady";
    Deno.test(`calls for which a dialer ${what} fail, and later ones do not, ${how}`, async () => {
      for (const interceptors of Object.values(INTERCEPTORS)) {
        await using bed = await Bed.open("memory", { waitForReady, interceptors });
        await bed.place.stop();
        const { dial: well } = bed;
        bed.dial = dial;
        const outcomes = await Promise.all(
          KINDS.map((kind) => callOf(kind, bed.service).catch((error) => error)),
        );
        for (const error of outcomes) {
          ok(error instanceof RpcError, `${error}`);
          equal(error.code, code);
          match(error.rawMessage, /^cannot connect to the machine: no luck$/);
          ok(error.cause);
        }
        bed.dial = well;
        await bed.place.serve();
        for (const kind of KINDS) await callOf(kind, bed.service);
        equal(bed.client.stats().connections, 1);
      }
    });
  }
}

Deno.test("calls for which a dialer returns no connection fail, and later ones do not", async () => {
  for (const nothing of [undefined, null, {}, "unix:/run/x.sock"]) {
    await using bed = await Bed.open("memory");
    await bed.place.stop();
    const { dial: well } = bed;
    bed.dial = () => Promise.resolve(nothing as unknown as ByteConnection);
    for (const kind of KINDS) {
      const error = await callOf(kind, bed.service).catch((error) => error);
      ok(error instanceof RpcError, `${error}`);
      match(error.rawMessage, /the machine/);
    }
    bed.dial = well;
    await bed.place.serve();
    for (const kind of KINDS) await callOf(kind, bed.service);
  }
});

Deno.test("with waitForReady, calls outlast what a dialer says is not yet", async () => {
  for (
    const reason of [
      new RpcError(Code.UNAVAILABLE, "booting"),
      new Deno.errors.NotFound("x"),
      new Deno.errors.ConnectionRefused("x"),
      new Deno.errors.ConnectionReset("x"),
      new Deno.errors.WouldBlock("x"),
    ]
  ) {
    await using bed = await Bed.open("memory", { waitForReady: true });
    await bed.place.stop();
    await bed.place.serve();
    bed.dial = () => bed.dialled < 4 ? Promise.reject(reason) : bed.place.open();
    await Promise.all(KINDS.map((kind) => callOf(kind, bed.service)));
    equal(bed.dialled, 4);
  }
});

Deno.test("without reconnect, a client does not dial again", async () => {
  await using bed = await Bed.open("memory", { reconnect: false });
  await bed.place.stop();
  await bed.client.finished;
  await bed.place.serve();
  for (const kind of KINDS) {
    await rejects(callOf(kind, bed.service), { code: Code.UNAVAILABLE });
  }
  equal(bed.dialled, 1);
});

Deno.test("a lost connection of a dialer is told by its name, to calls and to onClose", async () => {
  const text = "connection to the machine lost with 1 call in flight: the server closed it";
  const heard: (string | undefined)[] = [];
  await using bed = await Bed.open("memory", {
    onClose: (error) => void heard.push(error?.rawMessage),
  });
  const lost = rejects(callOf("unary", bed.service, { metadata: { wait: "" } }), {
    rawMessage: text,
  });
  await until(() => bed.place.server.stats().callsInFlight === 1);
  bed.place.server.close();
  await lost;
  deepEqual(heard, [text]);
});
