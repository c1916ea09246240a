// connect() with a way to dial of one's own: one attempt, and what comes of it.

import {
  type ByteConnection,
  type Client,
  connect,
  createConnectionPair,
  RpcError,
  serve,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, SocketFolder, TestBed, testHandlers } from "./fixture.ts";
import { callOf, INTERCEPTORS, KINDS, rawCallOf } from "./kinds.ts";
import { Place, TRANSPORTS } from "./place.ts";
import { until } from "./wait.ts";

/** A connection that tells when it is closed. */
function watched(): ByteConnection & { closed: boolean; peer: ByteConnection } {
  const [near, far] = createConnectionPair();
  const conn = {
    closed: false,
    peer: far,
    read: (buffer: Uint8Array) => near.read(buffer),
    write: (bytes: Uint8Array) => near.write(bytes),
    close: () => {
      conn.closed = true;
      near.close();
    },
  };
  return conn;
}

/** A dialer that waits until it is told what to do, and counts how often it was asked. */
function waiting(name?: string) {
  const attempts: (PromiseWithResolvers<ByteConnection> & { signal: AbortSignal })[] = [];
  const dial = (signal: AbortSignal): Promise<ByteConnection> => {
    const attempt = Promise.withResolvers<ByteConnection>();
    attempts.push({ ...attempt, signal });
    return attempt.promise;
  };
  return { attempts, dialer: name === undefined ? { dial } : { dial, name } };
}

for (const transport of TRANSPORTS) {
  for (const [how, interceptors] of Object.entries(INTERCEPTORS)) {
    Deno.test(`a dialer's connection carries calls of all kinds, over ${transport}, ${how}`, async () => {
      await using place = new Place(transport);
      await place.serve();
      let dialled = 0;
      const client = place.adopt(
        await connect({
          dial: (signal) => {
            equal(signal.aborted, false);
            dialled++;
            return place.open();
          },
          name: "the other room",
        }, { interceptors }),
      );
      equal(client.address, "the other room");
      for (const kind of KINDS) {
        await callOf(kind, client.service(TestService));
        await rawCallOf(kind, client);
      }
      equal(dialled, 1);
    });
  }
}

Deno.test("a dialer may do something on the connection before it gives it away", async () => {
  using socket = new SocketFolder();
  await using server = new TestBed();
  const listener = Deno.listen({ transport: "unix", path: socket.path });
  const proxy = (async () => {
    const outer = await listener.accept();
    const greeting = new Uint8Array(64);
    const length = await outer.read(greeting);
    equal(new TextDecoder().decode(greeting.subarray(0, length!)), "CONNECT 1024\n");
    await outer.write(new TextEncoder().encode("OK 5\n"));
    const inner = await Deno.connect({ transport: "unix", path: server.path });
    const ignore = () => {};
    await Promise.all([
      outer.readable.pipeTo(inner.writable).catch(ignore),
      inner.readable.pipeTo(outer.writable).catch(ignore),
    ]);
  })();
  {
    await using client = await connect({
      dial: async () => {
        const conn = await Deno.connect({ transport: "unix", path: socket.path });
        await conn.write(new TextEncoder().encode("CONNECT 1024\n"));
        await conn.read(new Uint8Array(64));
        return conn;
      },
    });
    for (const kind of KINDS) await callOf(kind, client.service(TestService));
  }
  await proxy;
  listener.close();
});

const { ConnectionRefused, ConnectionReset, NotFound, PermissionDenied, TimedOut, WouldBlock } =
  Deno.errors;

/** What a dialer may reject with, and what connect() makes of it. */
const FAILURES: Readonly<
  Record<string, [reason: unknown, code: Code, again: boolean, text: RegExp]>
> = {
  "an Error": [new Error("no luck"), Code.UNAVAILABLE, false, /no luck/],
  "text": ["no luck", Code.UNAVAILABLE, false, /no luck/],
  "UNAVAILABLE": [new RpcError(Code.UNAVAILABLE, "not yet"), Code.UNAVAILABLE, true, /not yet/],
  "UNAUTHENTICATED": [
    new RpcError(Code.UNAUTHENTICATED, "who are you?"),
    Code.UNAUTHENTICATED,
    false,
    /who are you\?/,
  ],
  "FAILED_PRECONDITION": [
    new RpcError(Code.FAILED_PRECONDITION, "no VM"),
    Code.FAILED_PRECONDITION,
    false,
    /no VM/,
  ],
  "NotFound": [new NotFound("x"), Code.UNAVAILABLE, true, /no such socket|x/],
  "ConnectionRefused": [new ConnectionRefused("x"), Code.UNAVAILABLE, true, /no server|x/],
  "ConnectionReset": [new ConnectionReset("by peer"), Code.UNAVAILABLE, true, /by peer/],
  "WouldBlock": [new WouldBlock("busy"), Code.UNAVAILABLE, true, /busy/],
  "TimedOut": [new TimedOut("too slow"), Code.UNAVAILABLE, false, /too slow/],
  "PermissionDenied": [new PermissionDenied("x"), Code.PERMISSION_DENIED, false, /x/],
  "a TypeError": [new TypeError("a bug"), Code.UNAVAILABLE, false, /a bug/],
};

for (const [what, [reason, code, again, text]] of Object.entries(FAILURES)) {
  Deno.test(`connect() tells of ${what} that a dialer rejects with`, async () => {
    for (const name of [undefined, "the machine"]) {
      const dial = () => Promise.reject(reason);
      const error = await connect({ dial, name }).catch((error) => error);
      ok(error instanceof RpcError, `${error}`);
      equal(error.code, code);
      match(error.rawMessage, text);
      if (name !== undefined) match(error.rawMessage, /^cannot connect to the machine: /);
      equal(/undefined/.test(error.message), false);
      equal(error.cause, reason);
    }
  });

  Deno.test(`connect() tells of ${what} that a dialer throws at once`, async () => {
    const dial = (): Promise<ByteConnection> => {
      throw reason;
    };
    await rejects(connect({ dial }), { code, cause: reason });
  });

  Deno.test(`connect() with waitForReady ${again ? "goes on" : "ends"} after ${what}`, async () => {
    await using place = new Place("memory");
    await place.serve();
    let dialled = 0;
    const dial = () => ++dialled < 3 ? Promise.reject(reason) : place.open();
    const connecting = connect({ dial }, { waitForReady: true });
    if (again) {
      await place.adopt(await connecting).service(TestService).nothing({});
      equal(dialled, 3);
    } else {
      await rejects(connecting, { code });
      equal(dialled, 1);
    }
  });
}

Deno.test("connect() passes on that Deno does not allow what a dialer does", async () => {
  const reason = new Deno.errors.NotCapable("Requires net access");
  await rejects(connect({ dial: () => Promise.reject(reason) }, { waitForReady: true }), reason);
});

for (const waitForReady of [false, true]) {
  const how = waitForReady ? "with waitForReady" : "without waitForReady";

  Deno.test(`a dialer that never settles is left at the timeout, ${how}`, async () => {
    const { attempts, dialer } = waiting("the machine");
    await rejects(connect(dialer, { connectTimeoutMs: 15, waitForReady }), {
      code: Code.DEADLINE_EXCEEDED,
      rawMessage: /^cannot connect to the machine: /,
    });
    equal(attempts.length, 1);
    equal(attempts[0]!.signal.aborted, true);
    // A connection that comes too late is nobody's, so it is closed.
    const late = watched();
    attempts[0]!.resolve(late);
    await until(() => late.closed);
  });

  Deno.test(`a dialer that never settles is left when the signal is aborted, ${how}`, async () => {
    const { attempts, dialer } = waiting("the machine");
    const controller = new AbortController();
    const connecting = rejects(
      connect(dialer, { signal: controller.signal, waitForReady, connectTimeoutMs: 1e6 }),
      { code: Code.CANCELLED, rawMessage: /^cannot connect to the machine: .*changed my mind/ },
    );
    await until(() => attempts.length === 1);
    controller.abort(new Error("changed my mind"));
    await connecting;
    equal(attempts[0]!.signal.aborted, true);
    const late = watched();
    attempts[0]!.resolve(late);
    await until(() => late.closed);
  });

  Deno.test(`a dialer that rejects after it was left does no harm, ${how}`, async () => {
    const { attempts, dialer } = waiting();
    await rejects(connect(dialer, { connectTimeoutMs: 5, waitForReady }), {
      code: Code.DEADLINE_EXCEEDED,
    });
    attempts[0]!.reject(new Error("nobody hears of this"));
  });

  Deno.test(`a dialer is not asked when there is no time, or nobody who wants it, ${how}`, async () => {
    const { attempts, dialer } = waiting();
    await rejects(connect(dialer, { connectTimeoutMs: 0, waitForReady }), {
      code: Code.DEADLINE_EXCEEDED,
    });
    await rejects(connect(dialer, { signal: AbortSignal.abort(), waitForReady }), {
      code: Code.CANCELLED,
    });
    equal(attempts.length, 0);
  });
}

for (const nothing of [undefined, null, {}, "unix:/run/x.sock", 5, { read() {}, write() {} }]) {
  Deno.test(`connect() refuses ${Deno.inspect(nothing)} from a dialer`, async () => {
    for (const waitForReady of [false, true]) {
      const dial = () => Promise.resolve(nothing as unknown as ByteConnection);
      await rejects(
        connect({ dial, name: "the machine" }, { waitForReady, connectTimeoutMs: 1e6 }),
        {
          name: "TypeError",
          message: /the machine.*connection/,
        },
      );
      const atOnce = (() => nothing) as unknown as typeof dial;
      await rejects(connect({ dial: atOnce }, { waitForReady }), { name: "TypeError" });
    }
  });
}

Deno.test("connect() refuses a dialer that is none", async () => {
  for (const dial of [undefined, null, "unix:/run/x.sock", {}]) {
    await rejects(
      connect({ dial } as unknown as { dial: () => Promise<ByteConnection> }),
      TypeError,
    );
  }
});

Deno.test("a dialer's connection that is returned and not promised is taken, too", async () => {
  const [near, far] = createConnectionPair();
  await using _server = serve(
    { connection: far },
    (router) => router.service(TestService, testHandlers),
  );
  const dial = (() => near) as unknown as () => Promise<ByteConnection>;
  await using client: Client = await connect({ dial });
  await client.service(TestService).nothing({});
});

Deno.test("a dialer is called as a method of its object", async () => {
  await using place = new Place("memory");
  await place.serve();
  class Machine {
    readonly name = "the machine";
    #dialled = 0;
    dial(): Promise<ByteConnection> {
      this.#dialled++;
      return place.open();
    }
    get dialled(): number {
      return this.#dialled;
    }
  }
  const machine = new Machine();
  const client = place.adopt(await connect(machine));
  await client.service(TestService).nothing({});
  deepEqual([machine.dialled, client.address], [1, "the machine"]);
});

Deno.test("a connection outlasts the signal and the timeout with which it was dialled", async () => {
  const { attempts, dialer } = waiting();
  const controller = new AbortController();
  const connecting = connect(dialer, { signal: controller.signal, connectTimeoutMs: 20 });
  await until(() => attempts.length === 1);
  const [near, far] = createConnectionPair();
  await using _server = serve(
    { connection: far },
    (router) => router.service(TestService, testHandlers),
  );
  attempts[0]!.resolve(near);
  await using client = await connecting;
  controller.abort();
  const timeout = AbortSignal.timeout(30);
  await aborted(timeout);
  await client.service(TestService).nothing({}); // the connection is still there
});
