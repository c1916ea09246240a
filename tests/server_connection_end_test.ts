// How a server's side of one connection ends: by its client, by drain() and by force().

import { deepEqual, equal } from "node:assert/strict";
import { Code, type RpcError } from "../status.ts";
import { isSettled, settle } from "./stand_ins.ts";
import { Bed, LAST_WORDS_MS, NEVER, PROBE_MS, waiting } from "./server_connection_bed.ts";

Deno.test("calls of a client that has half-closed are finished while it is there to read", async () => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  await using bed = new Bed({ get: () => promise });
  await bed.request(1);
  bed.conn.end();
  await bed.timers.pass(3 * PROBE_MS);
  equal(bed.connection.connection.closed, false);
  equal(bed.conn.sink.writes.length, 4); // the server has asked whether the client is there
  bed.conn.sink.writes.length = 0;
  resolve(new Uint8Array([9]));
  await bed.reading;
  deepEqual(bed.answers(), [[1, 9]]);
  deepEqual(bed.reported, []);
});

Deno.test("calls of a client that is gone are ended within a second", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  const { signal } = bed.streams.get(1)!;
  bed.conn.end();
  await settle();
  bed.conn.writeError = new Deno.errors.BrokenPipe("gone");
  await bed.timers.pass(PROBE_MS - 1);
  equal(signal.aborted, false);
  await bed.timers.pass(1);
  equal(signal.reason.rawMessage, "the connection has ended");
  equal(bed.connection.connection.closed, true);
});

Deno.test("what is answered leaves before a connection without calls ends", async () => {
  await using bed = new Bed();
  bed.conn.sink.hold();
  await bed.request(1);
  bed.conn.end();
  equal(await isSettled(bed.reading), false);
  bed.conn.sink.resume();
  await bed.reading;
  deepEqual(bed.answers(), [[1]]);
});

Deno.test("a connection that is lost is reported, with its address and its calls", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  bed.conn.fail(new Deno.errors.ConnectionReset("reset"));
  await bed.reading;
  const [[error, method]] = bed.reported as [[RpcError, undefined]];
  equal(error.message, "UNAVAILABLE: connection to unix:///s lost with 1 call in flight: reset");
  equal(method, undefined);
  equal(bed.disconnections, 1);
});

Deno.test("drain() refuses new calls, and ends when those in flight have", async () => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  await using bed = new Bed({ get: () => promise });
  await bed.request(1);
  const drained = bed.connection.drain();
  await bed.request(3);
  deepEqual(bed.answers(), [[3, Code.UNAVAILABLE, "server is shutting down"]]);
  equal(await isSettled(drained), false);
  deepEqual(bed.conn.called, []);
  resolve(new Uint8Array([9]));
  await settle();
  deepEqual(bed.answers(), [[1, 9]]);
  deepEqual(bed.conn.called, ["closeWrite"]);
  bed.conn.end();
  await drained;
  await bed.reading;
});

Deno.test("force() ends all calls with a status that their callers still get", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  await bed.request(3);
  const forced = bed.connection.force();
  await settle();
  deepEqual(bed.answers(), [
    [1, Code.UNAVAILABLE, "server is shutting down"],
    [3, Code.UNAVAILABLE, "server is shutting down"],
  ]);
  bed.conn.end();
  await forced;
  await bed.reading;
});

Deno.test("drain() waits for the answers to refused calls, too", async () => {
  const { bed, waits } = waiting();
  await using _bed = bed;
  await bed.request(1, { method: "No" });
  const drained = bed.connection.drain();
  await settle();
  deepEqual(bed.conn.called, []);
  waits[0]!.resolve();
  await settle();
  deepEqual(bed.answers(), [[1, Code.UNIMPLEMENTED, "method No"]]);
  bed.conn.end();
  await drained;
});

Deno.test("force() answers refused calls whose interceptors wait, too", async () => {
  const { bed, waits } = waiting();
  await using _bed = bed;
  await bed.request(1, { method: "No" });
  const forced = bed.connection.force();
  await settle();
  deepEqual(bed.answers(), [[1, Code.UNAVAILABLE, "server is shutting down"]]);
  waits[0]!.resolve();
  bed.conn.end();
  await forced;
});

Deno.test("force() waits a moment, not for ever, for a client that does not read", async () => {
  await using bed = new Bed({ get: NEVER });
  await bed.request(1);
  bed.conn.sink.hold();
  const forced = bed.connection.force();
  await bed.timers.pass(LAST_WORDS_MS - 1);
  equal(bed.connection.connection.closed, false);
  await bed.timers.pass(1);
  await forced;
  equal(bed.connection.connection.closed, true);
  bed.conn.sink.resume();
});

Deno.test("nothing is sent on a connection that has ended", async () => {
  const bed = new Bed({ get: NEVER });
  await bed.request(1);
  const call = bed.streams.get(1)!;
  bed.connection.connection.close();
  await bed.reading;
  call.expire();
  equal(call.status?.code, Code.CANCELLED);
  deepEqual(bed.answers(), []);
});
