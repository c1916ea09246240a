import { deepEqual, throws } from "node:assert/strict";
import { type Limits, resolveLimits } from "../limits.ts";

Deno.test("resolveLimits() gives the documented defaults", () => {
  deepEqual(resolveLimits(), {
    messageBytes: 4_194_304,
    decodeFactor: 16,
    concurrentCalls: 10_000,
    serverCalls: 20_000,
    connections: 10_000,
    heldBytes: 64 << 20,
    serverHeldBytes: 512 << 20,
    frameTimeoutMs: 30_000,
    idleTimeoutMs: 0,
    streamQueueBytes: 1_048_576,
    connectionQueueBytes: 8_388_608,
    stallTimeoutMs: 5_000,
  });
});

Deno.test("resolveLimits() takes what is set and leaves out what is undefined", () => {
  const limits = { messageBytes: 16_777_215, stallTimeoutMs: 0, concurrentCalls: undefined };
  deepEqual(resolveLimits(limits), {
    ...resolveLimits(),
    messageBytes: 16_777_215,
    stallTimeoutMs: 0,
  });
});

Deno.test("resolveLimits() names a limit that is out of range", () => {
  throws(() => resolveLimits({ messageBytes: 16_777_216 }), {
    name: "RangeError",
    message: 'Cannot set limit "messageBytes" to 16777216: ' +
      "it takes a whole number from 1 to 16777215",
  });
  for (const value of [0, -1, 1.5, NaN, Infinity]) {
    throws(() => resolveLimits({ concurrentCalls: value }), RangeError);
  }
});

Deno.test("resolveLimits() takes what timers and stream ids can count to, and not one more", () => {
  const most = { concurrentCalls: 2_147_483_648, stallTimeoutMs: 2_147_483_647 };
  deepEqual(resolveLimits(most), { ...resolveLimits(), ...most });
  throws(() => resolveLimits({ concurrentCalls: 2_147_483_649 }), {
    message: 'Cannot set limit "concurrentCalls" to 2147483649: ' +
      "it takes a whole number from 1 to 2147483648",
  });
  throws(() => resolveLimits({ stallTimeoutMs: 2_147_483_648 }), {
    message: 'Cannot set limit "stallTimeoutMs" to 2147483648: ' +
      "it takes a whole number from 0 to 2147483647",
  });
});

Deno.test("resolveLimits() takes a factor for decoding that is a whole number, from 1", () => {
  deepEqual(resolveLimits({ decodeFactor: 1 }), { ...resolveLimits(), decodeFactor: 1 });
  const most = { decodeFactor: 2_147_483_648 };
  deepEqual(resolveLimits(most), { ...resolveLimits(), ...most });
  for (const decodeFactor of [0, 0.5, 2_147_483_649]) {
    throws(() => resolveLimits({ decodeFactor }), {
      name: "RangeError",
      message: `Cannot set limit "decodeFactor" to ${decodeFactor}: ` +
        "it takes a whole number from 1 to 2147483648",
    });
  }
});

Deno.test("resolveLimits() names a limit that there is not", () => {
  throws(() => resolveLimits({ messages: 1 } as unknown as Partial<Limits>), {
    name: "TypeError",
    message: 'Cannot set limit "messages": there is no limit of that name',
  });
});
