// Frames that wait until there is room.

import { deepEqual, equal } from "node:assert/strict";
import { Admission, type AdmissionHost, type Admitting } from "../engine/admission.ts";
import { HeldBytes, SHARE } from "../engine/held_bytes.ts";
import { FakeTimers, isSettled, settle } from "./stand_ins.ts";

const NONE = new Uint8Array(0);
const SECOND = 1_000;
const GONE = "RpcError: UNAVAILABLE: the peer has gone";

/** A connection and its role, of which a test says what they admit. */
class Bed implements AdmissionHost, Admitting {
  readonly server = new HeldBytes(10);
  readonly held = new HeldBytes(10, this.server);
  readonly timers = new FakeTimers();
  readonly admission = new Admission(this, this, this.timers);
  readonly taken: string[] = [];
  readonly failures: unknown[] = [];
  readonly asked: [type: number, paidFor: boolean][] = [];
  closed = false;
  begins = false;
  turns = 0;
  reads: boolean | undefined = true;

  admits(_streamId: number, type: number, _data: Uint8Array, paidFor: boolean): boolean {
    this.asked.push([type, paidFor]);
    return paidFor ? this.held.hasRoom : this.held.mayBegin(() => 1 << 20);
  }

  turned(): void {
    this.turns++;
    this.begins = false;
    this.held.expect(-10);
  }

  /** What came with the frame that had to wait. */
  readonly behind: (() => void)[] = [];

  resume(): void {
    while (!this.admission.waiting && this.behind.length > 0) this.behind.shift()!();
  }

  during(wait: Promise<void>): Promise<void> {
    return wait;
  }

  stillHere(): void {}

  peerReads(): Promise<boolean | undefined> {
    return Promise.resolve(this.reads);
  }

  fail(cause: unknown): void {
    this.failures.push(cause);
    this.closed = true;
    this.admission.drop();
  }

  /** A frame comes, for which there is no room or that is behind such a one. */
  keep(name: string, take: () => unknown = () => this.taken.push(name)): void {
    const keep = () => this.admission.keep(1, 1, NONE, () => void take());
    if (this.admission.waiting) this.behind.push(keep);
    else keep();
  }
}

Deno.test("a frame is admitted as its role says", () => {
  const bed = new Bed();
  equal(bed.admission.admits(1, 1, NONE), true);
  bed.held.change(10);
  equal(bed.admission.admits(1, 2, NONE), false);
  equal(bed.admission.waiting, false);
  bed.keep("first");
  equal(bed.admission.waiting, true);
  deepEqual(bed.asked, [[1, false], [2, false]]);
});

Deno.test("frames are taken in order, each when there is room", async () => {
  const bed = new Bed();
  bed.held.change(10);
  for (const name of ["first", "second"]) bed.keep(name);
  bed.keep("large", () => bed.held.change(10));
  bed.keep("last");
  const released = bed.admission.release();
  equal(await isSettled(released), false);
  deepEqual(bed.taken, []);
  bed.held.change(-1);
  await settle();
  deepEqual(bed.taken, ["first", "second"]);
  equal(bed.admission.waiting, true);
  bed.held.change(-10);
  await released;
  deepEqual(bed.taken, ["first", "second", "last"]);
  equal(bed.admission.waiting, false);
  equal(bed.timers.running, 0);
});

Deno.test("what is begun in this turn is waited for until the next one", async () => {
  const bed = new Bed();
  bed.begins = true;
  bed.held.expect(10);
  bed.keep("first");
  await bed.admission.release();
  equal(bed.turns, 1);
  deepEqual(bed.taken, ["first"]);
});

Deno.test("a handler that answers without the event loop is not waited for longer", async () => {
  for (const [hops, turns] of [[3, 0], [20, 1]] as const) {
    const bed = new Bed();
    bed.begins = true;
    bed.held.expect(10);
    bed.keep("first");
    bed.keep("second");
    void (async () => {
      for (let i = 0; i < hops && bed.begins; i++) await undefined;
      if (!bed.begins) return;
      bed.begins = false;
      bed.held.expect(-10);
    })();
    await bed.admission.release();
    equal(bed.turns, turns);
    deepEqual(bed.taken, ["first", "second"]);
  }
});

Deno.test("a frame that is taken late says when it came", async () => {
  const bed = new Bed();
  const before = performance.now();
  bed.held.change(10);
  let arrival: number | undefined;
  bed.keep("first", () => arrival = bed.admission.arrival);
  const after = performance.now();
  while (performance.now() === after) await settle();
  const released = bed.admission.release();
  bed.held.change(-10);
  await released;
  equal(arrival! >= before && arrival! <= after, true);
  equal(bed.admission.arrival, undefined);
});

Deno.test("a long frame is paid for before it is read, and not again when it is taken", async () => {
  const bed = new Bed();
  await bed.admission.payFor(8);
  await bed.admission.payFor(8);
  equal(bed.server.bytes, 8);
  equal(bed.held.bytes, 0);
  equal(bed.admission.admits(1, 1, NONE), true);
  deepEqual(bed.asked, [[1, true]]);
  bed.admission.taken();
  bed.admission.taken();
  equal(bed.server.bytes, 0);
});

Deno.test("a long frame waits until the server has room, a shorter one does not", async () => {
  const bed = new Bed();
  bed.server.change(10);
  const long = bed.admission.payFor(SHARE + 1);
  equal(await isSettled(long), false);
  bed.server.change(-1);
  await long;
  equal(bed.server.bytes, 9 + SHARE + 1);
  equal(bed.timers.running, 0);
  bed.admission.taken();
  bed.server.change(1);
  await bed.admission.payFor(SHARE);
  equal(bed.server.bytes, 10 + SHARE);
});

Deno.test("a long frame may wait for what its connection holds itself", async () => {
  const bed = new Bed();
  bed.server.change(10);
  bed.held.change(1);
  const long = bed.admission.payFor(SHARE);
  equal(await isSettled(long), false);
  bed.held.change(-1);
  await long;
  equal(bed.admission.paid, SHARE);
});

Deno.test("a long frame that waits keeps what was paid for it", async () => {
  const bed = new Bed();
  await bed.admission.payFor(8);
  bed.held.change(10);
  bed.keep("first");
  bed.held.change(-10);
  equal(bed.server.bytes, 8);
  await bed.admission.release();
  equal(bed.server.bytes, 0);
  deepEqual(bed.asked, [[1, true]]);
  bed.keep("second"); // for which nothing is paid
  await bed.admission.release();
  deepEqual(bed.asked, [[1, true], [1, false]]);
});

Deno.test("drop() gives back what was paid, and ends the wait", async () => {
  const bed = new Bed();
  await bed.admission.payFor(8);
  bed.held.change(10);
  bed.keep("first");
  const released = bed.admission.release();
  await settle();
  bed.closed = true;
  bed.admission.drop();
  await released;
  equal(bed.server.bytes, 10);
  deepEqual(bed.taken, []);
  equal(bed.admission.waiting, false);
  equal(bed.timers.running, 0);
});

Deno.test("a peer that has gone meanwhile ends the connection, one that may be there does not", async () => {
  for (const reads of [true, undefined, false]) {
    const bed = new Bed();
    bed.held.change(10);
    bed.keep("first");
    const released = bed.admission.release();
    for (let i = 0; i < 3; i++) {
      await bed.timers.pass(SECOND / 2);
      bed.held.change(-1); // there is room for a moment, and another is faster
      bed.held.change(1);
    }
    bed.reads = reads;
    await bed.timers.pass(SECOND);
    deepEqual(bed.failures.map(String), reads === false ? [GONE] : []);
    bed.closed = true;
    bed.admission.drop();
    await released;
    equal(bed.timers.running, 0);
  }
});

Deno.test("look() has the first frame asked about again", async () => {
  const bed = new Bed();
  bed.held.change(10);
  bed.keep("first");
  const released = bed.admission.release();
  await settle();
  const asked = bed.asked.length;
  bed.admission.look();
  await settle();
  equal(bed.asked.length, asked + 1);
  bed.held.change(-1);
  await released;
  bed.admission.look();
});
