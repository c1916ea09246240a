// What other tests rely on to be skipped where they cannot run, and to leave nothing to the next.

import { deepEqual, equal, rejects } from "node:assert/strict";
import { absentProgram, allEnded, missingProgram, outputOf } from "./machine.ts";

Deno.test("missingProgram() names the first program that is not there or does not work", () => {
  equal(missingProgram(), undefined);
  equal(absentProgram("sh", "no-such-program", "nor-this"), "there is no no-such-program");
  equal(missingProgram("no-such-program", "nor-this"), "there is no no-such-program");
  equal(missingProgram("false"), "false does not work");
});

Deno.test("outputOf() takes a program that cannot be started for one that has failed", () => {
  equal(outputOf("sh", "-c", "echo out").stdout, "out\n");
  equal(outputOf("sh", "-c", "echo err >&2; exit 3").stderr, "err\n");
  equal(outputOf("no-such-program").success, false);
});

Deno.test("allEnded() waits for all, and then fails with the first failure", async () => {
  deepEqual(await allEnded([Promise.resolve(1), Promise.resolve(2)]), [1, 2]);
  const slow = Promise.withResolvers<void>();
  let over = false;
  const failing = [Promise.reject(new Error("early")), slow.promise.then(() => over = true)];
  const all = allEnded<unknown>(failing);
  setTimeout(slow.resolve);
  await rejects(all, { message: "early" });
  equal(over, true);
});
