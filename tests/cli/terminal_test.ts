// What differs on a terminal: colours, the progress bar, and who is asked to type.

import { Code, RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { TestBed } from "../fixture.ts";
import { CLI, needing, type Program, run, Running, SchemaFolder, SERVICE } from "./command.ts";

const ESCAPE = "\x1b[";

/** With something to see for each escape. */
function visible(text: string): string {
  return text.replaceAll(ESCAPE, "<").replaceAll("\r", "^");
}

// Runs a command under a pseudo-terminal, and exits as it does.
const PTY = `import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))`;

const ON_TERMINAL: Program = ["python3", "-c", PTY, ...CLI];

function terminalTest(name: string, fn: () => Promise<void>): void {
  needing(["python3"], name, fn);
}

terminalTest("errors are coloured on a terminal, without NO_COLOR, and nowhere else", async () => {
  const env = { TERM: "xterm", NO_COLOR: "" };
  const [terminal, plain, piped] = await Promise.all([
    run(["cal"], { program: ON_TERMINAL, env }),
    run(["cal"], { program: ON_TERMINAL, env: { ...env, NO_COLOR: "1" } }),
    run(["cal"], { env }),
  ]);
  match(visible(terminal.stdout), /^<31merror:<0m unknown command/);
  equal(terminal.code, 2);
  match(plain.stdout, /^error: unknown command/);
  match(piped.stderr, /^error: unknown command/);
});

terminalTest("tap colours what it prints on a terminal", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const args = ["tap", `${folder.folder}/tap.sock`, bed.path];
  const env = { TERM: "xterm", NO_COLOR: "" };
  await using tap = new Running(args, { program: ON_TERMINAL, env });
  await tap.printed(/tapping/);
  const call = ["call", `${folder.folder}/tap.sock`, `${SERVICE}/Nothing`, "{}", "-d", folder.set];
  equal((await run(call)).code, 0);
  await tap.printed(/\[32mOK/);
  await tap.printed(/1: closed/);
  await tap.type("\x03");
  equal((await tap.ended()).code, 0);
});

terminalTest("bench shows how far it is on a terminal, and nowhere else", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const args = ["bench", bed.path, `${SERVICE}/Echo`, "{}", "-d", folder.set, "--duration", "1s"];
  const env = { TERM: "xterm", NO_COLOR: "" };
  const [terminal, piped] = await Promise.all([
    run(args, { program: ON_TERMINAL, env }),
    run(args, { env }),
  ]);
  match(visible(terminal.stdout), /\^\[<32m=+ +<0m\] \d+ calls, \d+ calls\/s<K/);
  match(visible(terminal.stdout), /\^<Kmethod +ttrpc/); // the bar is gone before the result
  deepEqual([piped.stderr, piped.stdout.includes(ESCAPE)], ["", false]);
});

terminalTest("call asks nobody to type a single request", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const args = ["call", bed.path, `${SERVICE}/Echo`, "-d", folder.set];
  await using call = new Running(args, { program: ON_TERMINAL });
  const { code, stdout } = await call.ended();
  deepEqual([code, stdout], [0, "{}\r\n"]);
});

terminalTest("a conversation is typed on a terminal, and Ctrl-C ends it", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const args = ["call", bed.path, `${SERVICE}/Chat`, "-d", folder.set];
  await using call = new Running(args, { program: ON_TERMINAL, env: { NO_COLOR: "1" } });
  await call.type(`{"text":"hello"}`);
  // Once as the terminal's echo, once as the answer.
  await call.printed(/{"text":"hello"}\r\n{"text":"hello"}\r\n/);
  await call.type("\x03");
  const { code, stdout } = await call.ended();
  equal(code, 65);
  ok(stdout.includes(`error: ${SERVICE}/Chat: CANCELLED: the caller gave up: interrupted`), stdout);
});

terminalTest("call --raw prints bytes to a terminal as base64", async () => {
  await using bed = new TestBed({ echo: () => ({ text: "\x1b[31m" }) });
  const args = ["call", bed.path, `${SERVICE}/Echo`, "", "--raw"];
  deepEqual(await run(args, { program: ON_TERMINAL }), {
    code: 0,
    stdout: "EgUbWzMxbQ==\r\n",
    stderr: "",
  });
});

terminalTest("what a peer says is coloured by us only", async () => {
  await using bed = new TestBed({
    echo: () => {
      throw new RpcError(Code.NOT_FOUND, "\x1b[32mOK");
    },
  });
  const args = ["call", bed.path, `${SERVICE}/Echo`, "", "--raw"];
  const env = { TERM: "xterm", NO_COLOR: "" };
  const { stdout } = await run(args, { program: ON_TERMINAL, env });
  equal(visible(stdout), `<31merror:<0m ${SERVICE}/Echo: NOT_FOUND: \\x1b[32mOK^\n`);
});
