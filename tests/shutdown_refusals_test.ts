// Calls that are refused while a server shuts down do not cost others their answers, whenever the
// refusals are sent: a server that did not half-close would take back what its client has not read.

import { Code, type Interceptor, serve } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok } from "node:assert/strict";
import { decodeResponse } from "../wire/envelope.ts";
import { Controlled, requestFrame } from "./controlled.ts";
import { Bytes } from "./everywhere.ts";
import { soon, turn, until } from "./wait.ts";

const X = new Uint8Array([120]);

/** What has happened to a connection, in one word. */
function stateOf({ halfClosed, closed }: Controlled): string {
  return closed ? halfClosed ? "both" : "closed" : halfClosed ? "half-closed" : "open";
}

/** A server whose call waits for a gate, and whose interceptor does for calls that are refused. */
function gated() {
  const connection = new Controlled();
  const [answer, refusal] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  let seen = 0;
  const hold: Interceptor = (next) => async (request) => {
    if (seen++ > 0) await refusal.promise;
    return await next(request);
  };
  const server = serve(
    { connection, onError, interceptors: [hold] },
    (router) =>
      router.service(Bytes, {
        one: async (bytes) => {
          await answer.promise;
          return bytes;
        },
        down: (bytes) => [bytes],
        up: () => X,
        both: (requests) => requests,
      }),
  );
  return {
    connection,
    server,
    errors,
    answer: answer.resolve,
    refuse: refusal.resolve,
    seen: (count: number) => until(() => seen >= count, `${count} calls`),
  };
}

/** The codes of the responses that were sent, by the id of the call. */
function codesOf({ sent }: Controlled): Record<number, number> {
  return Object.fromEntries(
    sent.map(({ streamId, data }) => [streamId, decodeResponse(data).status?.code ?? Code.OK]),
  );
}

Deno.test("a refusal at any moment around the last answer does not make the server close at once", async () => {
  for (let microtasks = 0; microtasks < 60; microtasks++) {
    const { connection, server, errors, answer, refuse, seen } = gated();
    connection.deliver(requestFrame(1, "One", X));
    await seen(1);
    const down = server.shutdown({ timeoutMs: 5_000 });
    connection.deliver(requestFrame(3, "One", X));
    await seen(2);
    connection.stickWrites();
    answer();
    await turn(); // the answer waits for the socket
    connection.releaseWrites();
    for (let i = 0; i < microtasks; i++) await undefined;
    refuse();
    await until(() => stateOf(connection) !== "open", "the half-close");
    equal(stateOf(connection), "half-closed", `after ${microtasks} microtasks`);
    equal(codesOf(connection)[1], Code.OK);
    connection.end();
    await soon(down, "the shutdown");
    deepEqual(errors, []);
    equal(stateOf(connection), "both");
  }
});

Deno.test("a call that came before the shutdown and is refused later hears why", async () => {
  const { connection, server, errors, answer, refuse, seen } = gated();
  connection.deliver(requestFrame(1, "One", X));
  await seen(1);
  connection.deliver(requestFrame(2, "One", X)); // an even id is refused
  await seen(2);
  const down = server.shutdown({ timeoutMs: 5_000 });
  answer();
  await connection.frame(0);
  await turn();
  equal(stateOf(connection), "open"); // it waits for the interceptor
  refuse();
  await connection.frame(1);
  await until(() => stateOf(connection) !== "open", "the half-close");
  equal(stateOf(connection), "half-closed");
  deepEqual(codesOf(connection), { 1: Code.OK, 2: Code.INVALID_ARGUMENT });
  connection.end();
  await soon(down, "the shutdown");
  deepEqual(errors, []);
});

Deno.test("a peer that sends requests all the time is refused, and gets its answers", async () => {
  for (let round = 0; round < 20; round++) {
    const { connection, server, errors, answer, refuse, seen } = gated();
    refuse();
    connection.deliver(requestFrame(1, "One", X));
    await seen(1);
    let id = 3;
    connection.deliverAlways(() => requestFrame((id += 2) - 2, "One", X));
    const down = server.shutdown({ timeoutMs: 5_000 });
    await seen(3 + round);
    answer();
    await until(() => stateOf(connection) !== "open", "the half-close");
    equal(stateOf(connection), "half-closed");
    const { 1: code, ...others } = codesOf(connection);
    equal(code, Code.OK);
    ok(Object.values(others).every((code) => code === Code.UNAVAILABLE));
    connection.stopDelivering();
    await soon(down, "the shutdown");
    deepEqual(errors, []);
  }
});
