// What a server does about a socket that is there already: only one that nobody listens on is removed.

import { connect, serve } from "@ttrpc/ttrpc";
import { equal, ok, rejects } from "node:assert/strict";
import { Greeter } from "../gen/greeter/v1/greeter_pb.ts";
import { SocketFolder } from "./fixture.ts";
import { missingOfLinux, testUnless } from "./machine.ts";

const routes = (router: Parameters<Parameters<typeof serve>[1]>[0]) =>
  router.service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) });

/** Has Deno's functions do something else while a test runs. */
function instead(functions: Partial<typeof Deno>): Disposable {
  const names = Object.keys(functions) as (keyof typeof Deno)[];
  const before = Object.fromEntries(names.map((name) => [name, Deno[name]]));
  Object.assign(Deno, functions);
  return { [Symbol.dispose]: () => void Object.assign(Deno, before) };
}

/** Has so many probes of a socket fail, each after something else has happened. */
function failing(times: number, error: Error, meanwhile?: () => void): Disposable {
  const { connect } = Deno;
  let probes = 0;
  return instead({
    connect: ((options: Deno.UnixConnectOptions) => {
      if (++probes > times) return connect(options);
      meanwhile?.();
      return Promise.reject(error);
    }) as typeof connect,
  });
}

Deno.test("serve() looks again at a socket that is closed while it looks", async () => {
  for (const times of [1, 9]) {
    using socket = new SocketFolder();
    socket.leaveStale();
    using _probes = failing(times, new Deno.errors.ConnectionReset("Connection reset by peer"));
    await using server = serve({ path: socket.path }, routes);
    await server.listening;
    equal((server.addr as Deno.UnixAddr).path, socket.path);
  }
});

Deno.test("serve() leaves alone what another server has put where it looked", async () => {
  using socket = new SocketFolder();
  await using _other = serve({ path: socket.path }, routes);
  {
    using _probes = failing(1, new Deno.errors.ConnectionReset("Connection reset by peer"));
    const server = serve({ path: socket.path, onError: () => {} }, routes);
    await rejects(server.listening, Deno.errors.AddrInUse);
  }
  await using client = await connect({ path: socket.path });
  equal((await client.service(Greeter).sayHello({ name: "you" })).message, "Hello you");
});

Deno.test("serve() does not look for ever", async () => {
  using socket = new SocketFolder();
  socket.leaveStale();
  {
    let probes = 0;
    const reset = new Deno.errors.ConnectionReset("Connection reset by peer");
    using _probes = failing(Infinity, reset, () => probes++);
    const server = serve({ path: socket.path, onError: () => {} }, routes);
    await rejects(server.listening, {
      name: "AddrInUse",
      message: `Cannot listen on unix:${socket.path}: another server listens there`,
    });
    equal(probes, 10);
  }
  ok(Deno.lstatSync(socket.path).isSocket);
});

Deno.test("serve() takes a socket for free that goes away while it looks", async () => {
  for (const error of [Deno.errors.NotFound, Deno.errors.ConnectionRefused]) {
    using socket = new SocketFolder();
    socket.leaveStale();
    using _probes = failing(1, new error("gone"), () => Deno.removeSync(socket.path));
    await using server = serve({ path: socket.path }, routes);
    await server.listening;
  }
});

Deno.test("serve() does not mind that somebody else removes the same stale socket", async () => {
  using socket = new SocketFolder();
  socket.leaveStale();
  const { removeSync } = Deno;
  using _removal = instead({
    removeSync: (path, options) => {
      if (path === socket.path) removeSync(path); // the other one was faster
      removeSync(path, options);
    },
  });
  await using server = serve({ path: socket.path }, routes);
  await server.listening;
});

Deno.test("serve() says where it could not find out whether a server listens", async () => {
  using socket = new SocketFolder();
  socket.leaveStale();
  using _probes = failing(1, new Deno.errors.PermissionDenied("Permission denied (os error 13)"));
  const server = serve({ path: socket.path, onError: () => {} }, routes);
  await rejects(server.listening, {
    name: "PermissionDenied",
    message: `Cannot listen on unix:${socket.path}: Permission denied (os error 13)`,
  });
  ok(Deno.lstatSync(socket.path).isSocket);
});

testUnless(
  missingOfLinux("an error of its own for a full queue"),
  "serve() leaves alone a server that has more clients waiting than the system lets",
  async () => {
    using socket = new SocketFolder();
    const { path } = socket;
    const listener = Deno.listen({ transport: "unix", path });
    const waiting: Deno.Conn[] = [];
    // Full after about a thousand; the error is another one where so many files cannot be open.
    const full = await (async () => {
      for (;;) waiting.push(await Deno.connect({ transport: "unix", path }));
    })().catch((error) => error);
    const server = serve({ path, onError: () => {} }, routes);
    if (full instanceof Deno.errors.WouldBlock) {
      await rejects(server.listening, {
        name: "AddrInUse",
        message: `Cannot listen on unix:${path}: another server listens there`,
      });
    }
    await server.shutdown();
    ok(Deno.lstatSync(path).isSocket);
    for (const conn of waiting) conn.close();
    listener.close();
  },
);

Deno.test("serve() on a path that another process takes and leaves listens, or says AddrInUse", async () => {
  using socket = new SocketFolder();
  const { path } = socket;
  const other = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `for (;;) {
        try {
          const listener = Deno.listen({ transport: "unix", path: ${JSON.stringify(path)} });
          console.log("listening");
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 2));
          listener.close();
        } catch (error) {
          if (!(error instanceof Deno.errors.AddrInUse)) throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, Math.random()));
      }`,
    ],
    stdout: "piped",
  }).spawn();
  const output = other.stdout.getReader();
  let refused = 0;
  for (let round = 0; round < 200 || refused === 0; round++) {
    if (round % 10 === 0) await output.read(); // it has listened meanwhile
    try {
      await using server = serve({ path, onError: () => {} }, routes);
      await server.listening;
    } catch (error) {
      ok(error instanceof Deno.errors.AddrInUse, String(error));
      refused++;
    }
  }
  other.kill("SIGKILL");
  await output.cancel();
  await other.status;
});
