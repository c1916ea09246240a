// The small version of `deno task soak`: the same work, less often. It runs in a process of its
// own, where nobody else takes memory or opens files.

import { equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";

async function script(name: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--allow-all",
      "--v8-flags=--expose-gc",
      fileURLToPath(new URL(name, import.meta.url)),
      ...args,
    ],
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  equal(code, 0, text + new TextDecoder().decode(stderr));
  return text;
}

Deno.test("20,000 calls, 2,000 streams and 300 connections leave nothing", async () => {
  const output = await script("leaks.ts", [
    "--calls",
    "20000",
    "--streams",
    "2000",
    "--connections",
    "300",
  ]);
  match(output, /^ok \| nothing is left$/m);
});

Deno.test("three seconds of everything at once, with faults, leave nothing", async () => {
  const output = await script("main.ts", ["--seconds", "3", "--seed", "1", "--small"]);
  match(output, /^ok \| /m);
});
