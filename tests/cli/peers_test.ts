// The command and Go's own ttrpc.

import { deepEqual, equal, match } from "node:assert/strict";
import { go } from "../interop/peer.ts";
import { OurServer } from "../interop/services.ts";
import { run, Running, SchemaFolder, SERVICE } from "./command.ts";

/** Cases of Go's client: of all kinds of calls, with long messages and with many at once. */
const CASES = [
  ...["echo", "metadata", "error-with-details", "request-limit", "reply-limit", "concurrent"],
  ...["count", "sum", "chat", "chat-limit", "stream-fails", "streams-concurrent"],
];

go.test("cli: call makes calls of all kinds", async () => {
  await using server = await go.serve();
  using folder = new SchemaFolder();
  const call = (method: string, json: string, ...rest: string[]) =>
    run(["call", server.address, `${SERVICE}/${method}`, json, "-d", folder.set, ...rest]);
  const [echo, count, sum, chat, fail, none] = await Promise.all([
    call("Echo", `{"text":"hi"}`, "-m", "x-key=value"),
    call("Count", `{"count":2}`),
    call("Sum", `{"value":1}\n{"value":2}`),
    call("Chat", `{"text":"a"}\n{"text":"b"}`),
    call("Fail", `{"code":5,"message":"no such task"}`),
    run(["call", server.address, "no.Service/Method", "--raw"]),
  ]);
  deepEqual(JSON.parse(echo.stdout), {
    text: "hi",
    metadata: [{ key: "x-key", value: "value" }],
  });
  equal(count.stdout, `{}\n{"value":"1"}\n`);
  deepEqual(JSON.parse(sum.stdout), { value: "3" });
  equal(chat.stdout, `{"text":"a"}\n{"text":"b"}\n`);
  deepEqual([fail.code, fail.stderr], [69, `error: ${SERVICE}/Fail: NOT_FOUND: no such task\n`]);
  equal(none.code, 76);
  match(none.stderr, /UNIMPLEMENTED: service no\.Service; the server does not implement this/);
});

go.test("cli: a tap between Go's client and our server changes nothing", async () => {
  await using ours = new OurServer();
  using folder = new SchemaFolder();
  await using tap = new Running(["tap", folder.path, ours.path, "-d", folder.set]);
  await tap.told(/tapping/);
  for (const name of CASES) await go.call(folder.path, name);
  await tap.printed(new RegExp(`${CASES.length}: closed`));
  const { stdout } = await tap.stop();
  equal(stdout.includes("???"), false, stdout);
  equal(stdout.includes("does not speak ttrpc"), false);
});

go.test("cli: a tap between our client and Go's server changes nothing, and is replayed", async () => {
  await using server = await go.serve();
  using folder = new SchemaFolder();
  const recording = `${folder.folder}/calls.rec`;
  await using tap = new Running(["tap", folder.path, server.address, "--record", recording]);
  await tap.told(/tapping/);
  const call = (method: string, json: string) =>
    run(["call", folder.path, `${SERVICE}/${method}`, json, "-d", folder.set]);
  equal((await call("Echo", `{"text":"hi"}`)).stdout, `{\n  "text": "hi"\n}\n`);
  equal((await call("Chat", `{"text":"a"}\n{"text":"b"}`)).stdout, `{"text":"a"}\n{"text":"b"}\n`);
  equal((await call("Fail", `{"code":5}`)).code, 69);
  await tap.printed(/3: closed/);
  await tap.stop();
  const { code, stderr } = await run(["replay", recording, server.address]);
  equal(stderr, "3 calls replayed: 3 ended as recorded, 0 differently\n");
  equal(code, 0);
});

go.test("cli: bench measures a server", async () => {
  await using server = await go.serve();
  using folder = new SchemaFolder();
  const args = ["bench", server.address, `${SERVICE}/Echo`, `{"text":"x"}`, "-n", "1000", "--json"];
  const { stdout } = await run([...args, "-d", folder.set]);
  const { calls, errors } = JSON.parse(stdout);
  deepEqual({ calls, errors }, { calls: 1_000, errors: {} });
});
