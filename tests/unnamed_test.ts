// What messages call a connection that has no address.

import { type ByteConnection, connect, createConnectionPair, RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { aborted, testHandlers } from "./fixture.ts";
import { callOf, handlersThat, KINDS } from "./kinds.ts";
import { until } from "./wait.ts";

const handlers = { ...testHandlers, ...handlersThat(({ signal }) => aborted(signal)) };

/** A client on a connection without an address, calls of which are in flight, and what it hears. */
async function inFlight(wrap: (conn: ByteConnection) => ByteConnection = (conn) => conn) {
  const [near, far] = createConnectionPair();
  const heard: unknown[] = [];
  const errors: unknown[] = [];
  const server = serve(
    { connection: far, onError: (error) => void errors.push(error) },
    (router) => router.service(TestService, handlers),
  );
  const client = await connect(wrap(near), { onClose: (error) => void heard.push(error) });
  const calls = KINDS.map((kind) =>
    callOf(kind, client.service(TestService)).then(() => undefined, (error) => error as RpcError)
  );
  await until(() => server.stats().callsInFlight === 4);
  return {
    near,
    far,
    server,
    client,
    heard,
    errors,
    /** How the calls have ended, and one that is made after it. */
    async outcomes(): Promise<RpcError[]> {
      const ended = await Promise.all(calls);
      await client.finished;
      const later = await client.service(TestService).nothing({}).catch((error) => error);
      return [...ended as RpcError[], later];
    },
    async [Symbol.asyncDispose]() {
      client.close();
      await client.finished;
      server.close();
      await server.finished;
    },
  };
}

/** Checks that no message makes a name of it that there is none. */
function check(errors: unknown[]): void {
  for (const error of errors) {
    ok(error instanceof RpcError, `${error}`);
    match(error.rawMessage, /connection|server is shutting down/);
    equal(
      /open connection|undefined|connection to (the|an?) /.test(error.message),
      false,
      error.message,
    );
  }
}

Deno.test("a connection without an address that its server closes is called the connection", async () => {
  await using bed = await inFlight();
  bed.far.close();
  const errors = await bed.outcomes();
  deepEqual(errors.map(({ code }) => code), KINDS.map(() => Code.UNAVAILABLE).concat(14));
  match(errors[0]!.rawMessage, /^connection lost with 4 calls in flight: /);
  check([...errors, ...bed.heard]);
  equal(bed.heard.length, 1);
});

Deno.test("a connection without an address that is closed here is called the connection", async () => {
  await using bed = await inFlight();
  bed.client.close();
  const errors = await bed.outcomes();
  deepEqual(new Set(errors.map(({ code }) => code)), new Set([Code.CANCELLED]));
  equal(errors[0]!.rawMessage, "the connection is closed");
  check(errors);
});

Deno.test("a connection without an address whose server shuts down is called the connection", async () => {
  await using bed = await inFlight();
  await bed.server.shutdown({ timeoutMs: 0 });
  const errors = await bed.outcomes();
  deepEqual(new Set(errors.map(({ code }) => code)), new Set([Code.UNAVAILABLE]));
  check(errors);
});

for (const what of ["read", "write"] as const) {
  Deno.test(`a connection without an address whose ${what} fails is called the connection`, async () => {
    const failure = Promise.withResolvers<never>();
    failure.promise.catch(() => {});
    let failed = false;
    await using bed = await inFlight((conn) => ({
      read: (buffer) =>
        what === "read" ? Promise.race([conn.read(buffer), failure.promise]) : conn.read(buffer),
      write: (bytes) => failed ? Promise.reject(new Error("broken")) : conn.write(bytes),
      close: () => conn.close(),
    }));
    if (what === "read") failure.reject(new Error("broken"));
    else {
      failed = true;
      bed.client.service(TestService).nothing({}).catch(() => {});
    }
    const errors = await bed.outcomes();
    match(errors[0]!.rawMessage, /^connection lost with \d calls? in flight: broken$/);
    check([...errors, ...bed.heard]);
  });
}

Deno.test("a server calls a connection without an address the connection, too", async () => {
  await using bed = await inFlight();
  // A frame that is cut off is an error, of which the server tells.
  await bed.near.write(new Uint8Array([0, 0, 0, 9, 0]));
  bed.near.close();
  await until(() => bed.errors.length > 0);
  check(bed.errors);
});

Deno.test("a connection of a dialer without a name is said to be to a dialer", async () => {
  const ends: ByteConnection[] = [];
  const dial = () => {
    const [near, far] = createConnectionPair();
    ends.push(far);
    return Promise.resolve(near);
  };
  const client = await connect({ dial });
  equal(client.address, "a dialer");
  ends[0]!.close();
  await client.finished;
  const error = await client.service(TestService).nothing({}).catch((error) => error);
  equal(error.code, Code.UNAVAILABLE);
  match(error.rawMessage, /a dialer/);
});
