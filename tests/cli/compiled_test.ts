// What the command is compiled to. Whether that runs is tested by `deno task test:compiled`.

import { equal, match, ok } from "node:assert/strict";
import { compile } from "./compile.ts";

Deno.test("cli: the compiled binary holds every command, and of npm only what it needs", async () => {
  const place = await Deno.makeTempDir({ prefix: "ttrpc-compiled-" });
  try {
    // Any runtime does to see what is put into it.
    const env = { DENORT_BIN: await Deno.realPath(Deno.execPath()), NO_COLOR: "1" };
    const { code, stderr } = await compile(`${place}/ttrpc`, env);
    equal(code, 0, stderr);
    match(stderr, /commander\/14/);
    match(stderr, /@bufbuild\/protobuf/);
    ok(!/buf-linux|typescript|grpc-js|fast-check/.test(stderr), stderr);
    const [{ size: runtime }, { size: binary }] = await Promise.all([
      Deno.stat(env.DENORT_BIN),
      Deno.stat(`${place}/ttrpc`),
    ]);
    ok(binary - runtime < 10_000_000, `${binary - runtime} bytes`);
  } finally {
    await Deno.remove(place, { recursive: true });
  }
});
