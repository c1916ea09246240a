import { connect, serve, type ServeAddress, type ServeOptions } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { Greeter } from "../gen/greeter/v1/greeter_pb.ts";
import { SocketFolder } from "./fixture.ts";
import { missingOfLinux, testUnless } from "./machine.ts";
import { RawServer } from "./raw_peer.ts";

const routes = (router: Parameters<Parameters<typeof serve>[1]>[0]) =>
  router.service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) });

async function greet(address: Parameters<typeof connect>[0]): Promise<string> {
  await using client = await connect(address);
  return (await client.service(Greeter).sayHello({ name: "you" }, { timeoutMs: 5_000 })).message;
}

function modeOf(path: string): number {
  return Deno.lstatSync(path).mode! & 0o777;
}

Deno.test("serve() on a path makes a socket for its user only, and removes it at the end", async () => {
  using socket = new SocketFolder();
  {
    await using server = serve({ path: socket.path }, routes);
    equal(modeOf(socket.path), 0o600);
    equal((server.addr as Deno.UnixAddr).path, socket.path);
    equal(await greet({ path: socket.path }), "Hello you");
  }
  throws(() => Deno.lstatSync(socket.path), Deno.errors.NotFound);
});

Deno.test("serve() gives a socket the mode it is told, and leaves the umask as it was", async () => {
  const umask = Deno.umask();
  for (const mode of [0o660, 0o666, 0o777, 0o200]) {
    using socket = new SocketFolder();
    await using _server = serve({ path: socket.path, mode }, routes);
    equal(modeOf(socket.path), mode);
    equal(Deno.umask(), umask);
  }
  using socket = new SocketFolder();
  await using _server = serve({ path: socket.path, mode: "umask" }, routes);
  equal(modeOf(socket.path), 0o777 & ~umask);
});

Deno.test("serve() refuses a mode that is none, by the name of the socket", () => {
  using socket = new SocketFolder();
  throws(() => serve({ path: socket.path, mode: 0o1777 }, routes), {
    name: "RangeError",
    message: `Cannot listen on unix:${socket.path}: ` +
      "the mode is 1023, not a whole number from 0 to 0o777",
  });
});

Deno.test("serve() replaces a socket that nobody listens on", async () => {
  using socket = new SocketFolder();
  socket.leaveStale();
  const listening = Promise.withResolvers<Deno.Addr>();
  await using server = serve({ path: socket.path, onListen: listening.resolve }, routes);
  equal((await listening.promise as Deno.UnixAddr).path, socket.path);
  equal(await greet({ path: socket.path }), "Hello you");
  equal(modeOf(socket.path), 0o600);
  ok(server.addr);
});

Deno.test("serve() leaves a live server alone, and says so", async () => {
  using socket = new SocketFolder();
  await using _first = serve({ path: socket.path }, routes);
  const message = `Cannot listen on unix:${socket.path}: another server listens there`;
  const heard: unknown[] = [];
  const second = serve({ path: socket.path, onError: (error) => void heard.push(error) }, routes);
  await rejects(second.finished, { name: "AddrInUse", message });
  equal(heard.length, 1);
  await second.shutdown();
  equal(await greet({ path: socket.path }), "Hello you");
});

Deno.test("serve() leaves a live server of another kind alone, too", async () => {
  using socket = new SocketFolder();
  using _other = new RawServer(socket.path);
  await rejects(serve({ path: socket.path }, routes).finished, Deno.errors.AddrInUse);
  ok(Deno.lstatSync(socket.path).isSocket);
});

Deno.test("serve() refuses an ordinary file in the way at once, and keeps it", () => {
  using socket = new SocketFolder();
  Deno.writeTextFileSync(socket.path, "precious");
  throws(() => serve({ path: socket.path }, routes), {
    name: "AddrInUse",
    message: `Cannot listen on unix:${socket.path}: ` +
      "there is a file that is not a socket",
  });
  equal(Deno.readTextFileSync(socket.path), "precious");
});

Deno.test("serve() refuses a folder in the way, and a folder that is missing", () => {
  using socket = new SocketFolder();
  throws(() => serve({ path: socket.folder }, routes), {
    name: "AddrInUse",
    message: /not a socket/,
  });
  throws(() => serve({ path: `${socket.folder}/none/x.sock` }, routes), {
    name: "NotFound",
    message: `Cannot listen on unix:${socket.folder}/none/x.sock: its folder does not exist`,
  });
});

Deno.test("serve() refuses a path that is too long at once", () => {
  throws(() => serve({ path: "/tmp/" + "x".repeat(200) }, routes), RangeError);
});

Deno.test("serve() can be shut down while it looks at a stale socket", async () => {
  using socket = new SocketFolder();
  socket.leaveStale();
  const server = serve({ path: socket.path }, routes);
  await server.shutdown();
  await server.finished;
  equal(server.addr, undefined);
});

Deno.test("serve() listens on TCP", async () => {
  await using server = serve({ hostname: "127.0.0.1", port: 0 }, routes);
  const { port } = server.addr as Deno.NetAddr;
  equal(await greet(`tcp://127.0.0.1:${port}`), "Hello you");
  throws(() => serve({ port }, routes), {
    name: "AddrInUse",
    message: new RegExp(`Cannot listen on tcp://127.0.0.1:${port}: `),
  });
});

testUnless(
  missingOfLinux("abstract sockets"),
  "serve() listens on an abstract socket",
  async () => {
    const address = `unix-abstract:ttrpc-test-${crypto.randomUUID()}`;
    await using _server = serve({ address }, routes);
    equal(await greet(address), "Hello you");
    throws(() => serve({ address }, routes), {
      name: "AddrInUse",
      message: `Cannot listen on ${address}: another server listens there`,
    });
  },
);

Deno.test("serve() takes connections from a listener, and closes it", async () => {
  using socket = new SocketFolder();
  const listener = Deno.listen({ transport: "unix", path: socket.path });
  const server = serve({ listener }, routes);
  equal(await greet({ path: socket.path }), "Hello you");
  await server.shutdown();
  await server.finished;
  throws(() => listener.close(), Deno.errors.BadResource);
});

Deno.test("serve() takes connections from any async iterable", async () => {
  using socket = new SocketFolder();
  const listener = Deno.listen({ transport: "unix", path: socket.path });
  async function* two() {
    yield await listener.accept();
    yield await listener.accept();
  }
  const server = serve({ listener: two() }, routes);
  equal(await greet({ path: socket.path }), "Hello you");
  equal(await greet({ path: socket.path }), "Hello you");
  await server.finished;
  listener.close();
});

Deno.test("serve() serves one open connection, and is finished when it ends", async () => {
  using socket = new SocketFolder();
  const listener = Deno.listen({ transport: "unix", path: socket.path });
  const [near, far] = await Promise.all([
    Deno.connect({ transport: "unix", path: socket.path }),
    listener.accept(),
  ]);
  const server = serve({ connection: far }, routes);
  equal(await greet(near), "Hello you");
  await server.finished;
  listener.close();
});

Deno.test("serve() refuses routes that come too late", () => {
  throws(() => serve({ path: "x" }, async () => {}), TypeError);
});

for (
  const [name, options] of [
    ["a bad address", { address: "nowhere" }],
    ["no address", {}],
    ["a connection that is none", { connection: undefined }],
    ["a listener that is none", { listener: undefined }],
    ["a signal that is none", { path: "x", signal: {} }],
    ["a bad limit", { path: "x", limits: { concurrentCalls: 0 } }],
  ] as unknown as [string, ServeOptions & ServeAddress][]
) {
  Deno.test(`serve() refuses ${name} at once`, () => {
    throws(() => serve(options, routes), (error) => {
      return error instanceof TypeError || error instanceof RangeError;
    });
  });
}

Deno.test("serve() reports what onListen throws, and goes on", async () => {
  using socket = new SocketFolder();
  const errors: unknown[] = [];
  const bug = new Error("cannot write the pid file");
  await using server = serve({
    path: socket.path,
    onError: (error) => void errors.push(error),
    onListen: () => {
      ok(server.addr); // it is there
      throw bug;
    },
  }, routes);
  equal(await greet({ path: socket.path }), "Hello you");
  deepEqual(errors, [bug]);
});

Deno.test("serve() tells when it listens, also in place of a stale socket", async () => {
  using socket = new SocketFolder();
  {
    await using server = serve({ path: socket.path }, routes);
    await server.listening;
    const second = serve({ path: socket.path, onError: () => {} }, routes);
    await rejects(second.listening, Deno.errors.AddrInUse);
  }
  socket.leaveStale();
  await using server = serve({ path: socket.path }, routes);
  await server.listening;
  equal(await greet({ path: socket.path }), "Hello you");
});

Deno.test("serve() can be shut down although its listener cannot be closed", async () => {
  async function* never(): AsyncGenerator<Deno.Conn> {
    await new Promise(() => {});
    yield* [];
  }
  const server = serve({ listener: never() }, routes);
  await server.shutdown();
  await server.finished;
});

Deno.test("serve() goes on when accepting fails, and stops when it is told to", async () => {
  using socket = new SocketFolder();
  const inner = Deno.listen({ transport: "unix", path: socket.path });
  const errors: unknown[] = [];
  let failures = 3;
  const listener = {
    accept: () => {
      if (failures-- > 0) return Promise.reject(new Deno.errors.ConnectionReset("gone already"));
      return inner.accept();
    },
    close: () => inner.close(),
    async *[Symbol.asyncIterator]() {},
  };
  const server = serve({ listener, onError: (error) => void errors.push(error) }, routes);
  equal(await greet({ path: socket.path }), "Hello you");
  equal(errors.length, 3);
  await server.shutdown();
  await server.finished;
});

Deno.test("two servers that find the same stale socket do not remove each other's", async () => {
  for (let i = 0; i < 10; i++) {
    using socket = new SocketFolder();
    socket.leaveStale();
    const onError = () => {};
    const servers = [1, 2].map(() => serve({ path: socket.path, onError }, routes));
    const starts = await Promise.allSettled(servers.map((server) => server.listening));
    deepEqual(starts.map(({ status }) => status).toSorted(), ["fulfilled", "rejected"]);
    equal(await greet({ path: socket.path }), "Hello you");
    for (const server of servers) await server.shutdown();
  }
});
