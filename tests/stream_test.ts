// The states of one call, in either role.

import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { FrameFlag, FrameType, HEADER_LENGTH } from "../framing.ts";
import type { MethodKind } from "../engine/method.ts";
import { Code, OK, type Status } from "../status.ts";
import { Host, isSettled, KINDS, LOST, settle, TestStream } from "./stand_ins.ts";

const LAST = FrameFlag.RemoteClosed;
const EMPTY = FrameFlag.NoData;
const HALF_CLOSE = {
  streamId: 7,
  type: FrameType.Data,
  flags: LAST | EMPTY,
  data: new Uint8Array(0),
};

function bytes(...values: number[]): Uint8Array {
  return new Uint8Array(values);
}

/** A stream of id 7 on a connection. */
function opened(role: "client" | "server", kind?: MethodKind, host = new Host()) {
  const stream = new TestStream(role, kind);
  stream.attach(host);
  stream.open(7);
  return { stream, host };
}

/** All messages until there are none. */
async function drain(stream: TestStream): Promise<number[][]> {
  const messages: number[][] = [];
  for (;;) {
    const message = await stream.receive();
    if (!message) return messages;
    messages.push([...message]);
  }
}

Deno.test("a stream has no id and no status before it is open", () => {
  const stream = new TestStream("client");
  equal(stream.id, 0);
  equal(stream.status, undefined);
  equal(stream.sizes, undefined);
  equal(stream.deadline, Infinity);
  const { stream: open } = opened("client");
  equal(open.id, 7);
  equal(open.status, undefined);
});

for (const role of ["client", "server"] as const) {
  for (const kind of KINDS) {
    const streams = role === "client"
      ? kind === "server_streaming" || kind === "bidi_streaming"
      : kind === "client_streaming" || kind === "bidi_streaming";

    Deno.test(`data() of a ${kind} call is ${streams ? "" : "not "}for a ${role}`, async () => {
      const { stream } = opened(role, kind);
      equal(stream.data(0, bytes(1)), streams);
      equal(stream.data(LAST, bytes(2)), streams);
      stream.end(OK);
      deepEqual(await drain(stream), streams ? [[1], [2]] : []);
    });

    Deno.test(`data() is not for a ${role}'s ${kind} call that has ended`, () => {
      const { stream } = opened(role, kind);
      stream.end(OK);
      equal(stream.data(0, bytes(1)), false);
      equal(stream.data(LAST | EMPTY, bytes()), false);
      equal(stream.queuedBytes, 0);
      equal(stream.status, OK);
    });

    Deno.test(`end() leads from open to closed for a ${role}'s ${kind} call`, () => {
      const { stream, host } = opened(role, kind);
      stream.end(LOST);
      equal(stream.status, LOST);
      deepEqual(stream.ends, [LOST]);
      deepEqual(host.forgotten, [stream]);
    });
  }
}

for (
  const [role, kind] of [
    ["client", "bidi_streaming"],
    ["server", "client_streaming"],
    ["server", "bidi_streaming"],
  ] as const
) {
  Deno.test(`data() with the last flag is the last for a ${role}'s ${kind} call`, async () => {
    const { stream } = opened(role, kind);
    ok(stream.data(LAST, bytes(1)));
    equal(stream.data(0, bytes(2)), false);
    equal(stream.data(LAST, bytes(3)), false);
    equal(stream.status, undefined);
    deepEqual(await drain(stream), [[1]]);
  });
}

for (const kind of ["unary", "server_streaming"] as const) {
  Deno.test(`closeRemote() leaves a client's ${kind} call half-closed on its own side`, () => {
    const { stream } = opened("client", kind);
    stream.closeRemote();
    equal(stream.status, undefined);
    // Its status comes with the frame that closed it; until then it is not the peer's mistake.
    equal(stream.data(0, bytes(1)), kind === "server_streaming");
  });
}

Deno.test("data() tells no message from an empty one", async () => {
  const { stream } = opened("server");
  ok(stream.data(EMPTY, bytes()));
  equal(stream.ready, false);
  ok(stream.data(0, bytes()));
  ok(stream.data(LAST | EMPTY, bytes()));
  deepEqual(await drain(stream), [[]]);
});

Deno.test("data() takes other flags for what they are: nothing to a stream", async () => {
  const { stream } = opened("server");
  ok(stream.data(FrameFlag.RemoteOpen, bytes(1)));
  ok(stream.data(0xf8, bytes(2)));
  stream.closeRemote();
  deepEqual(await drain(stream), [[1], [2]]);
});

Deno.test("data() is for a client's call that it has half-closed itself", async () => {
  const { stream } = opened("client", "bidi_streaming");
  stream.halfClose();
  ok(stream.data(0, bytes(1)));
  ok(stream.data(LAST | EMPTY, bytes()));
  deepEqual(await drain(stream), [[1]]);
});

Deno.test("data() counts into the connection's backlog until it is taken", () => {
  const { stream, host } = opened("server");
  stream.data(0, bytes(1, 2, 3));
  ok(host.backlog.bytes >= 3);
  equal(host.backlog.bytes, stream.queuedBytes);
  stream.take();
  equal(host.backlog.bytes, 0);
});

Deno.test("closeRemote() tells who waits that there are no more messages", async () => {
  const { stream } = opened("server");
  const received = stream.receive();
  stream.closeRemote();
  equal(await received, undefined);
  equal(stream.data(0, bytes(1)), false);
});

Deno.test("complete is whether the peer has sent its last message", () => {
  const { stream } = opened("server");
  stream.data(0, bytes(1));
  equal(stream.complete, false);
  stream.data(LAST | EMPTY, bytes());
  equal(stream.complete, true);
  const { stream: ended } = opened("server");
  ended.end(LOST);
  equal(ended.complete, false);
});

Deno.test("closeRemote() changes nothing about a call that has ended", () => {
  const { stream } = opened("server");
  stream.end(LOST);
  stream.closeRemote();
  equal(stream.status, LOST);
});

Deno.test("halfClose() tells the server once, and only on a call of many requests", async () => {
  for (const kind of KINDS) {
    const { stream, host } = opened("client", kind);
    stream.halfClose();
    stream.halfClose();
    const many = kind === "client_streaming" || kind === "bidi_streaming";
    deepEqual(await host.frames(), many ? [HALF_CLOSE] : [], kind);
    equal(host.queue.total, many ? HEADER_LENGTH : 0);
    equal(stream.status, undefined);
  }
});

Deno.test("halfClose() of a client sends nothing before the call is open or after its end", async () => {
  const host = new Host();
  const idle = new TestStream("client");
  idle.attach(host);
  idle.halfClose();
  const { stream } = opened("client", "bidi_streaming", host);
  stream.end(OK);
  stream.halfClose();
  deepEqual(await host.frames(), []);
  equal(stream.status, OK);
});

Deno.test("halfClose() of a client sends nothing when the server has sent its last", async () => {
  const { stream, host } = opened("client");
  stream.data(LAST | EMPTY, bytes());
  stream.halfClose();
  deepEqual(await host.frames(), []);
});

Deno.test("halfClose() of a server is its last frame, whether the client has half-closed or not", async () => {
  for (const kind of ["server_streaming", "bidi_streaming"] as const) {
    const { stream, host } = opened("server", kind);
    stream.halfClose();
    deepEqual(await host.frames(), [HALF_CLOSE], kind);
    equal(stream.data(0, bytes(1)), kind === "bidi_streaming");
  }
});

Deno.test("halfClose() takes the messages before it along at once", async () => {
  const { stream, host } = opened("client");
  stream.send(bytes(1));
  stream.halfClose();
  await undefined;
  await undefined;
  equal(host.sink.writes.length, 1);
  deepEqual((await host.frames()).map(({ flags }) => flags), [0, LAST | EMPTY]);
});

Deno.test("send() writes a Data frame, which waits a moment for the next one", async () => {
  const { stream, host } = opened("client");
  stream.send(bytes(1, 2));
  await undefined;
  await undefined;
  equal(host.sink.writes.length, 0);
  stream.send(bytes());
  deepEqual(await host.frames(), [
    { streamId: 7, type: FrameType.Data, flags: 0, data: bytes(1, 2) },
    { streamId: 7, type: FrameType.Data, flags: 0, data: bytes() },
  ]);
  equal(host.sink.writes.length, 1);
  equal(host.queue.total, 2 * HEADER_LENGTH + 2);
});

Deno.test("send() takes a message of the limit, and none that is longer", async () => {
  const { stream, host } = opened("client", "bidi_streaming", new Host({ messageBytes: 4 }));
  throws(() => stream.send(new Uint8Array(5)), {
    code: Code.RESOURCE_EXHAUSTED,
    rawMessage: "message length 5 exceed maximum message size of 4",
  });
  deepEqual(await host.frames(), []);
  stream.send(new Uint8Array(4));
  equal((await host.frames()).length, 1);
});

Deno.test("writable() settles at once while there is room", async () => {
  const { stream } = opened("client");
  equal(stream.congested, false);
  await stream.writable();
});

Deno.test("writable() waits until the write queue has room", async () => {
  const { stream, host } = opened("client");
  host.congest();
  equal(stream.congested, true);
  const writable = stream.writable();
  equal(await isSettled(writable), false);
  host.sink.resume();
  await writable;
  equal(stream.congested, false);
});

Deno.test("writable() settles when the call ends, and leaves nothing in the write queue", async () => {
  const { stream, host } = opened("client");
  host.congest();
  const cancelled: (() => void)[] = [];
  const { queue } = host;
  queue.cancelWritable = (callback) => void cancelled.push(callback);
  const writable = stream.writable();
  stream.end(LOST);
  equal(await isSettled(writable), true);
  equal(queue.congested, true);
  equal(cancelled.length, 1);
  host.sink.resume();
});

Deno.test("end() has nothing to take back from the write queue when writable() has settled", async () => {
  const { stream, host } = opened("client");
  host.congest();
  let cancelled = 0;
  host.queue.cancelWritable = () => void cancelled++;
  const writable = stream.writable();
  host.sink.resume();
  await writable;
  stream.end(OK);
  equal(cancelled, 0);
});

Deno.test("end() counts once, and the first time", () => {
  const { stream, host } = opened("client");
  stream.end(OK);
  stream.end(LOST);
  stream.abandon(LOST);
  equal(stream.status, OK);
  deepEqual(stream.ends, [OK]);
  deepEqual(host.forgotten, [stream]);
});

Deno.test("end() is possible before there is a connection", () => {
  const stream = new TestStream("client");
  stream.end(LOST);
  equal(stream.status, LOST);
  deepEqual(stream.ends, [LOST]);
});

Deno.test("end() leaves the messages that wait to be taken, and tells who waits for more", async () => {
  const { stream } = opened("client");
  stream.data(0, bytes(1));
  stream.end(LOST);
  deepEqual(await drain(stream), [[1]]);

  const { stream: awaited } = opened("client");
  const received = awaited.receive();
  awaited.end(LOST);
  equal(await received, undefined);
});

Deno.test("end() tells the source of messages once that no more are wanted", () => {
  const { stream } = opened("client");
  let returned = 0;
  const statuses: (Status | undefined)[] = [];
  stream.source = {
    next: () => ({ done: true, value: undefined }),
    return: () => {
      returned++;
      statuses.push(stream.status);
      return { done: true, value: undefined };
    },
  };
  stream.end(LOST);
  equal(returned, 1);
  stream.end(OK);
  stream.stopSource();
  equal(returned, 1);
  deepEqual(statuses, [LOST]);
  equal(stream.source, undefined);
});

Deno.test("stopSource() waits for nothing, and hears no error of the source", async () => {
  const next = () => Promise.resolve({ done: true as const, value: undefined });
  for (
    const source of [
      { next },
      {
        next,
        return: () => {
          throw new Error("not now");
        },
      },
      { next, return: () => Promise.reject(new Error("never")) },
    ]
  ) {
    const { stream } = opened("client");
    stream.source = source;
    stream.stopSource();
    equal(stream.source, undefined);
  }
  await settle();
});

Deno.test("abandon() drops the messages that wait, also on a call that has ended", async () => {
  for (const before of [undefined, OK]) {
    const { stream, host } = opened("client");
    stream.data(0, bytes(1));
    if (before) stream.end(before);
    stream.abandon(LOST);
    equal(stream.status, before ?? LOST);
    equal(host.backlog.bytes, 0);
    deepEqual(await drain(stream), []);
  }
});

Deno.test("a call that has ended and loses messages says so to who comes for them", async () => {
  const { stream, host } = opened("client");
  stream.data(0, bytes());
  stream.end(OK);
  stream.overrun();
  equal(stream.status, LOST);
  equal(host.backlog.bytes, 0);
  deepEqual(await drain(stream), []);
  deepEqual(stream.ends, [OK]);
});

Deno.test("a call that has ended and has no messages to lose has ended as it did", () => {
  const { stream } = opened("client");
  stream.end(OK);
  stream.overrun();
  equal(stream.status, OK);
});
