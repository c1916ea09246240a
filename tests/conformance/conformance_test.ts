// The suite itself, against our server and our client, which pass all of it, and against the other
// implementations, whose failures are written down in known.json.

import { deepEqual, equal, match, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { SocketFolder } from "../fixture.ts";
import {
  type Answer,
  type ClientUnderTest,
  CommandClient,
  type Instruction,
  LineClient,
} from "./client.ts";
import { obey } from "./our_client.ts";
import { serveTests } from "./our_server.ts";
import { checkPeer, SUBJECTS } from "./peers.ts";
import { type Report, report, table } from "./report.ts";
import { type Result, runAgainstClient, runAgainstServer } from "./run.ts";
import { chooseCases, loadCases } from "./vector.ts";
import { dial } from "./wire.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
const OUR_CLIENT = fileURLToPath(new URL("our_client.ts", import.meta.url));

/** Our client in this process. */
const ourClient: ClientUnderTest = {
  run: (told: Instruction) => obey(told),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

function failures(results: Result[]): string {
  return table(report(results.filter(({ passed }) => !passed)));
}

function allPass(results: Result[]): void {
  ok(results.every(({ passed }) => passed), failures(results));
}

function suite(...args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-all", MAIN, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs the command line to its end. */
async function ran(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = suite(...args);
  await child.stdin.close();
  const [{ code }, stdout, stderr] = await Promise.all([
    child.status,
    child.stdout.text(),
    child.stderr.text(),
  ]);
  return { code, stdout, stderr };
}

Deno.test("our server passes every case", async () => {
  using socket = new SocketFolder();
  const server = serveTests(socket.path);
  const cases = chooseCases(loadCases(), {
    role: "server",
    tags: ["+panic", "+drain", "+extension"],
  });
  allPass(await runAgainstServer(cases, (until) => dial(socket.path, until)));
  server.close();
  await server.finished;
});

Deno.test("our client passes every case", async () => {
  using socket = new SocketFolder();
  const cases = chooseCases(loadCases(), { role: "client", tags: ["+extension"] });
  allPass(await runAgainstClient(cases, ourClient, socket.path));
});

const known = JSON.parse(
  Deno.readTextFileSync(new URL("known.json", import.meta.url)),
) as Record<string, Record<string, string>>;

for (const subject of SUBJECTS) {
  subject.peer.test("its server fails the known musts of the suite, and no other", async () => {
    const results = await checkPeer(subject, { level: "must" });
    const failed = results.filter(({ passed }) => !passed);
    const ids = failed.map(({ id }) => id).sort();
    deepEqual(ids, Object.keys(known[subject.name]!).sort(), failures(results));
  });
}

Deno.test("the command line checks a client command, and reports as JSON", async () => {
  const only = "--only=c-unary,c-status,c-split-bytes";
  const command = [Deno.execPath(), "run", "--allow-all", OUR_CLIENT];
  const { code, stdout } = await ran("--json", only, "--client", ...command);
  const { must, may, results } = JSON.parse(stdout) as Report;
  deepEqual([code, must, may], [0, { passed: 3, failed: 0 }, { passed: 0, failed: 0 }]);
  deepEqual(results.map(({ id }) => id), ["c-unary", "c-status", "c-split-bytes"]);
});

Deno.test("the command line can be the child of the client that it checks", async () => {
  using socket = new SocketFolder();
  await using child = suite("--listen", `unix://${socket.path}`, "--only", "c-unary,c-metadata");
  let rest = "";
  const writer = child.stdin.getWriter();
  for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const answer = await obey(JSON.parse(line) as Instruction);
      await writer.write(new TextEncoder().encode(JSON.stringify(answer) + "\n"));
    }
  }
  await writer.close().catch(() => {});
  match(await child.stderr.text(), /must: 2 passed, 0 failed; may: 0 passed, 0 failed/);
  equal((await child.status).code, 0);
});

Deno.test("the command line fails with what was expected and what came", async () => {
  using socket = new SocketFolder();
  using listener = Deno.listen({ transport: "unix", path: socket.path });
  const accepting = (async () => {
    const conn = await listener.accept();
    await conn.write(new Uint8Array([0, 0, 0, 2, 0, 0, 0, 1, 3, 5, 8, 7]));
    await conn.read(new Uint8Array(1));
    conn.close();
  })();
  const { code, stdout } = await ran("--target", `unix://${socket.path}`, "--only", "s-unary");
  await accepting;
  match(stdout, /FAIL must s-unary .*\[PROTOCOL.md, Response Flags\]/);
  match(stdout, /expected Response on stream 1, flags 0, .*"payload":"120178"/);
  match(stdout, /received Data on stream 1, flags 5: 0807/);
  equal(code, 1);
});

Deno.test("the command line refuses what it cannot do, and lists what it can", async () => {
  for (const args of [[], ["--what"], ["--target", "x", "--only", "none"], ["--client"]]) {
    const { code, stderr } = await ran(...args);
    equal(code, 2, stderr);
  }
  const { code, stdout } = await ran("--list");
  equal(code, 0);
  equal(stdout.trim().split("\n").length, loadCases().length);
});

Deno.test("a server that says nothing fails every case, each in its time", async () => {
  using socket = new SocketFolder();
  const listener = Deno.listen({ transport: "unix", path: socket.path });
  const conns: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const conn of listener) conns.push(conn);
  })();
  const cases = chooseCases(loadCases(), { role: "server" });
  const results = await runAgainstServer(cases, (until) => dial(socket.path, until), 100);
  deepEqual(results.filter(({ passed }) => passed), []);
  ok(results.every(({ milliseconds }) => milliseconds < 3_000), table(report(results)));
  listener.close();
  await accepting;
  for (const conn of conns) conn.close();
});

Deno.test("a client that says nothing fails in time, whether or not it connects", async () => {
  using socket = new SocketFolder();
  const cases = chooseCases(loadCases(), { role: "client", only: ["c-unary", "c-closed"] });
  const silent = new TransformStream<Uint8Array>();
  await using lines = new LineClient(new WritableStream(), silent.readable);
  const absent = await runAgainstClient(cases, lines, socket.path, 300);
  deepEqual(absent.map(({ received }) => received), ["none in time", "none in time"]);
  await silent.writable.abort();
  const mute: ClientUnderTest = {
    async run(): Promise<Answer> {
      using conn = await Deno.connect({ transport: "unix", path: socket.path });
      while (await conn.read(new Uint8Array(1)) !== null);
      throw new Error("the server has closed");
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const results = await runAgainstClient(cases, mute, socket.path, 300);
  deepEqual(results.map(({ received }) => received), ["nothing in time", "nothing in time"]);
});

Deno.test("a client command that cannot be run, or ends at once, fails at once", async () => {
  using socket = new SocketFolder();
  const cases = chooseCases(loadCases(), { role: "client", only: ["c-unary", "c-ids"] });
  for (const command of [["/no/such/command"], [Deno.execPath(), "eval", ""]]) {
    await using client = new CommandClient(command);
    const results = await runAgainstClient(cases, client, socket.path, 60_000);
    deepEqual(results.map(({ expected }) => expected), [
      "an answer of the client",
      "an answer of the client",
    ]);
  }
});

Deno.test("a client that lies about an outcome is found out", async () => {
  using socket = new SocketFolder();
  const liar: ClientUnderTest = {
    async run(told): Promise<Answer> {
      const { id, outcomes } = await obey(told);
      return { id, outcomes: outcomes.map((outcome) => ({ ...outcome, code: 0 })) };
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const cases = chooseCases(loadCases(), { role: "client", only: ["c-status"] });
  const [result] = await runAgainstClient(cases, liar, socket.path);
  equal(result!.received, "OK after 0 messages: ");
});
