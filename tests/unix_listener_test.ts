// A path belongs to one server, and to make its socket changes nothing else.

import { connect, serve } from "@ttrpc/ttrpc/core";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { SocketFolder } from "./fixture.ts";
import { missingOfLinux, testUnless } from "./machine.ts";

const ROUNDS = Number(Deno.env.get("TTRPC_ROUNDS") ?? 100);

/** Leaves a socket that nobody listens on. */
function leaveStale(path: string): void {
  const listener = Deno.listen({ transport: "unix", path: `${path}.other` });
  Deno.renameSync(`${path}.other`, path);
  listener.close();
}

function isSocket(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSocket === true;
  } catch {
    return false;
  }
}

/** A process that starts servers. */
class Starter implements AsyncDisposable {
  readonly #process = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-check", "--allow-all"],
      new URL("faults/starter.ts", import.meta.url).pathname,
    ],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  readonly #stdin = this.#process.stdin.getWriter();
  readonly #said = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();

  async tell(line: string): Promise<string> {
    await this.#stdin.write(new TextEncoder().encode(`${line}\n`));
    return (await this.#said.read()).value!.trim();
  }

  kill(): void {
    this.#process.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stdin.close().catch(() => {});
    await this.#said.cancel();
    await this.#process.status;
  }
}

Deno.test(`of three processes that start on one stale socket exactly one wins, ${ROUNDS} times`, async () => {
  using socket = new SocketFolder();
  await using one = new Starter();
  await using two = new Starter();
  await using three = new Starter();
  const starters = [one, two, three];
  for (let round = 0; round < ROUNDS; round++) {
    const path = `${socket.folder}/${round % 2 ? "stale" : `fresh${round}`}.sock`;
    if (round % 2) leaveStale(path);
    const said = await Promise.all(starters.map((starter) => starter.tell(path)));
    deepEqual([round, ...said.toSorted()], [round, "AddrInUse", "AddrInUse", "won"]);
    const client = await connect({ path });
    client.close();
    await client.finished;
    await Promise.all(starters.map((starter) => starter.tell("")));
    equal(isSocket(path), false);
  }
  deepEqual([...Deno.readDirSync(socket.folder)], []);
});

Deno.test("the socket of a killed server is replaced, and nothing else is left", async () => {
  using socket = new SocketFolder();
  {
    await using starter = new Starter();
    equal(await starter.tell(socket.path), "won");
    starter.kill();
  }
  ok(isSocket(socket.path));
  {
    await using server = serve({ path: socket.path }, () => {});
    await server.listening;
    (await connect({ path: socket.path })).close();
  }
  deepEqual([...Deno.readDirSync(socket.folder)], []);
});

Deno.test("what a server has left that died while it started is cleared away", async () => {
  using socket = new SocketFolder();
  Deno.mkdirSync(`${socket.path}.new`, { mode: 0o700 });
  leaveStale(`${socket.path}.new/s`);
  await using server = serve({ path: socket.path }, () => {});
  await server.listening;
  deepEqual([...Deno.readDirSync(socket.folder)].map(({ name }) => name), ["test.sock"]);
});

Deno.test("a server that ends leaves another one's socket on its path alone", async () => {
  using socket = new SocketFolder();
  const first = serve({ path: socket.path }, () => {});
  await first.listening;
  Deno.removeSync(socket.path);
  await using second = serve({ path: socket.path }, () => {});
  await second.listening;
  await first.shutdown();
  ok(isSocket(socket.path));
  (await connect({ path: socket.path })).close();
});

Deno.test("a server whose folder was made anew leaves the next one's socket alone", async () => {
  using socket = new SocketFolder();
  const folder = `${socket.folder}/run`;
  const path = `${folder}/x.sock`;
  Deno.mkdirSync(folder);
  const first = serve({ path }, () => {});
  Deno.removeSync(folder, { recursive: true });
  Deno.mkdirSync(folder);
  await using _second = serve({ path }, () => {});
  await first.shutdown();
  ok(isSocket(path));
});

Deno.test("a server removes its socket although its mode or owner was changed", async () => {
  using socket = new SocketFolder();
  const server = serve({ path: socket.path }, () => {});
  Deno.chmodSync(socket.path, 0o666);
  await server.shutdown();
  equal(isSocket(socket.path), false);
});

testUnless(
  missingOfLinux("an error of its own for a full queue"),
  "a live server is not taken for dead although it has more to accept than it can",
  async () => {
    using socket = new SocketFolder();
    const listener = Deno.listen({ transport: "unix", path: socket.path });
    const conns: Deno.Conn[] = [];
    for (;;) {
      try {
        conns.push(await Deno.connect({ transport: "unix", path: socket.path }));
      } catch (error) {
        ok(error instanceof Deno.errors.WouldBlock, String(error));
        break;
      }
    }
    const { ino } = Deno.lstatSync(socket.path);
    const second = serve({ path: socket.path, onError: () => {} }, () => {});
    await rejects(second.listening, { name: "AddrInUse" });
    equal(Deno.lstatSync(socket.path).ino, ino);
    for (const conn of conns) conn.close();
    listener.close();
  },
);

Deno.test("files that are made while a server starts have their own mode", async () => {
  using socket = new SocketFolder();
  const mask = Deno.umask();
  for (let round = 0; round < 20; round++) {
    const at = `${socket.folder}/${round}`;
    const files = Array.from({ length: 8 }, (_, i) => `${at}-${i}`);
    const made = files.map((file) => Deno.writeTextFile(file, "secret"));
    const server = serve({ path: `${at}.sock`, mode: 0o666 }, () => {});
    await Promise.all(made);
    equal(Deno.lstatSync(`${at}.sock`).mode! & 0o777, 0o666);
    for (const file of files) equal(Deno.statSync(file).mode! & 0o777, 0o666 & ~mask);
    await server.shutdown();
  }
});

Deno.test("a path that has no room for what a server adds is refused, in bytes", () => {
  using socket = new SocketFolder();
  const most = (Deno.build.os === "linux" ? 107 : 103) - 6;
  const name = "x".repeat(most - socket.folder.length);
  throws(() => serve({ path: `${socket.folder}/${name}` }, () => {}), {
    name: "RangeError",
    message: new RegExp(
      `its path has ${most + 1} bytes, more than the ${most} that a server's socket may have`,
    ),
  });
});

Deno.test("a folder that another server has locked is waited for", async () => {
  using socket = new SocketFolder();
  const folder = Deno.openSync(socket.folder);
  folder.lockSync(true);
  const server = serve({ path: socket.path }, () => {});
  equal(server.addr, undefined);
  folder.close();
  await server.listening;
  (await connect({ path: socket.path })).close();
  await server.shutdown();
});
