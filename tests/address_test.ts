import { type Address, connect, RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { formatAddress, nameOf, parseAddress, type ParsedAddress } from "../address.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { SocketFolder, testHandlers } from "./fixture.ts";
import { RawServer } from "./raw_peer.ts";

const LONGEST_PATH = Deno.build.os === "linux" ? 107 : 103;

const good: [Address, ParsedAddress, string][] = [
  ["unix:///run/x.sock", { transport: "unix", path: "/run/x.sock" }, "unix:/run/x.sock"],
  ["unix:/run/x.sock", { transport: "unix", path: "/run/x.sock" }, "unix:/run/x.sock"],
  ["unix:rel.sock", { transport: "unix", path: "rel.sock" }, "unix:rel.sock"],
  ["unix:./a b:c.sock", { transport: "unix", path: "./a b:c.sock" }, "unix:./a b:c.sock"],
  ["/run/x.sock", { transport: "unix", path: "/run/x.sock" }, "unix:/run/x.sock"],
  ["./x.sock", { transport: "unix", path: "./x.sock" }, "unix:./x.sock"],
  ["../x.sock", { transport: "unix", path: "../x.sock" }, "unix:../x.sock"],
  ["unix-abstract:name", { transport: "unix", path: "\0name" }, "unix-abstract:name"],
  ["unix://@name", { transport: "unix", path: "\0name" }, "unix-abstract:name"],
  [
    "tcp://localhost:80",
    { transport: "tcp", hostname: "localhost", port: 80 },
    "tcp://localhost:80",
  ],
  ["tcp://[::1]:80", { transport: "tcp", hostname: "::1", port: 80 }, "tcp://[::1]:80"],
  ["vsock://3:1024", { transport: "vsock", cid: 3, port: 1024 }, "vsock://3:1024"],
  [{ path: "x.sock" }, { transport: "unix", path: "x.sock" }, "unix:x.sock"],
  [{ transport: "unix", path: "\0n" }, { transport: "unix", path: "\0n" }, "unix-abstract:n"],
  [{ port: 0 }, { transport: "tcp", hostname: "127.0.0.1", port: 0 }, "tcp://127.0.0.1:0"],
  [
    { hostname: "::", port: 65_535 },
    { transport: "tcp", hostname: "::", port: 65_535 },
    "tcp://[::]:65535",
  ],
  [
    { transport: "vsock", cid: 4_294_967_295, port: 4_294_967_295 },
    { transport: "vsock", cid: 4_294_967_295, port: 4_294_967_295 },
    "vsock://4294967295:4294967295",
  ],
  [
    { path: "/" + "x".repeat(LONGEST_PATH - 1) },
    { transport: "unix", path: "/" + "x".repeat(LONGEST_PATH - 1) },
    "unix:/" + "x".repeat(LONGEST_PATH - 1),
  ],
];

for (const [address, parsed, text] of good) {
  Deno.test(`parseAddress() takes ${Deno.inspect(address).slice(0, 80)}`, () => {
    deepEqual(parseAddress(address), parsed);
    equal(formatAddress(parsed), text);
    deepEqual(parseAddress(text), parsed);
  });
}

const bad: [unknown, RegExp][] = [
  ["", /expected unix:/],
  ["x.sock", /expected unix:/],
  ["unix:", /the path is empty/],
  ["unix://", /the path is empty/],
  ["unix://@", /the path is empty/],
  ["unix-abstract:", /the path is empty/],
  ["unix://run/x.sock", /write a relative one as "unix:run\/x.sock"/],
  ["http://localhost:80", /expected unix:/],
  ["tcp://localhost", /expected tcp:\/\/host:port/],
  ["tcp:localhost:80", /expected tcp:\/\/host:port/],
  ["tcp://:80", /expected tcp:\/\/host:port/],
  ["tcp://localhost:http", /expected tcp:\/\/host:port/],
  ["tcp://localhost:65536", /the port is 65536, not a whole number from 0 to 65535/],
  ["tcp://::1:80", /an IPv6 host must be in brackets/],
  ["vsock://host:1024", /the cid must be a number/],
  ["vsock://3", /expected vsock:\/\/cid:port/],
  ["vsock://4294967296:1", /the cid is 4294967296/],
  [{ path: "" }, /the path is empty/],
  [{ path: "a\0b" }, /the path contains a NUL character/],
  [{ path: 1 }, /the path is empty/],
  [
    { path: "/" + "x".repeat(LONGEST_PATH) },
    /the path has \d+ bytes, and the path of a socket has at most \d+/,
  ],
  [{ path: "é".repeat(60) }, /the path has 120 bytes/],
  [{ transport: "tcp", path: "x" }, /an address with a path has the transport "unix"/],
  [{ transport: "udp", port: 1 }, /there is no transport "udp"/],
  [{ hostname: "localhost" }, /expected a path or a port/],
  [{ hostname: "", port: 1 }, /the host is empty/],
  [{ port: -1 }, /the port is -1/],
  [{ port: "80" }, /the port is 80, not a whole number/],
  [{ transport: "vsock", cid: -1, port: 1 }, /the cid is -1/],
  [{ transport: "vsock", cid: 1 }, /the port is undefined/],
  [null, /expected an object/],
  [undefined, /expected an object/],
  [42, /expected an object/],
];

for (const [address, message] of bad) {
  Deno.test(`parseAddress() refuses ${Deno.inspect(address).slice(0, 80)}`, () => {
    throws(() => parseAddress(address as Address), (error) => {
      ok(error instanceof TypeError || error instanceof RangeError);
      ok(error.message.startsWith("Cannot use address "), error.message);
      ok(message.test(error.message), error.message);
      return true;
    });
  });
}

Deno.test("nameOf() names a connection by whichever end has an address", () => {
  const conn = { read: () => Promise.resolve(null), write: () => Promise.resolve(0), close() {} };
  equal(nameOf(conn), undefined);
  const unix = { transport: "unix", path: "/x" } as Deno.UnixAddr;
  equal(nameOf({ ...conn, remoteAddr: unix }), "unix:/x");
  const unnamed = { transport: "unix" } as Deno.UnixAddr;
  equal(nameOf({ ...conn, remoteAddr: unnamed, localAddr: unix }), "unix:/x");
  // As the system goes on to call the socket of a server of ours.
  equal(nameOf({ ...conn, remoteAddr: { transport: "unix", path: "/x.new/s" } }), "unix:/x");
  const tcp: Deno.NetAddr = { transport: "tcp", hostname: "h", port: 1 };
  equal(nameOf({ ...conn, remoteAddr: tcp }), "tcp://h:1");
});

async function connectError(...parameters: Parameters<typeof connect>): Promise<RpcError> {
  try {
    const client = await connect(...parameters);
    client.close();
    await client.finished;
  } catch (error) {
    ok(error instanceof RpcError);
    return error;
  }
  throw new Error("connected");
}

Deno.test("connect() names a socket that is missing", async () => {
  using socket = new SocketFolder();
  const error = await connectError({ path: socket.path });
  equal(error.code, Code.UNAVAILABLE);
  equal(error.rawMessage, `cannot connect to unix:${socket.path}: there is no such socket`);
  ok(error.cause instanceof Deno.errors.NotFound);
});

Deno.test("connect() names a socket that nobody listens on", async () => {
  using socket = new SocketFolder();
  socket.leaveStale();
  const error = await connectError(`unix:${socket.path}`);
  equal(error.code, Code.UNAVAILABLE);
  equal(error.rawMessage, `cannot connect to unix:${socket.path}: no server listens there`);
  ok(error.cause instanceof Deno.errors.ConnectionRefused);
});

Deno.test("connect() names a TCP port that nobody listens on", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const error = await connectError(`tcp://127.0.0.1:${port}`);
  equal(error.rawMessage, `cannot connect to tcp://127.0.0.1:${port}: no server listens there`);
});

Deno.test("connect() tells bad addresses before it tries them", async () => {
  await rejects(connect("nowhere"), TypeError);
  await rejects(connect({ path: "x".repeat(200) }), RangeError);
  await rejects(connect({ path: "x" }, { limits: { messageBytes: 0 } }), RangeError);
});

Deno.test("connect() with waitForReady waits for a server that is not there yet", async () => {
  using socket = new SocketFolder();
  const connecting = connect({ path: socket.path }, {
    waitForReady: true,
    connectTimeoutMs: 30_000,
  });
  socket.leaveStale();
  Deno.removeSync(socket.path);
  using server = new RawServer(socket.path);
  using peer = await server.accept();
  await using client = await connecting;
  equal(client.address, `unix:${socket.path}`);
  ok(peer);
});

Deno.test("connect() with waitForReady gives up at its timeout and tells the last reason", async () => {
  using socket = new SocketFolder();
  const error = await connectError({ path: socket.path }, {
    waitForReady: true,
    connectTimeoutMs: 40,
  });
  equal(error.code, Code.DEADLINE_EXCEEDED);
  equal(
    error.rawMessage,
    `cannot connect to unix:${socket.path}: the connectTimeoutMs of 40 ms has passed; ` +
      "the last attempt: there is no such socket",
  );
});

Deno.test("connect() with waitForReady gives up when its signal is aborted", async () => {
  using socket = new SocketFolder();
  const controller = new AbortController();
  const connecting = connectError({ path: socket.path }, {
    waitForReady: true,
    signal: controller.signal,
  });
  controller.abort(new Error("no more"));
  const error = await connecting;
  equal(error.code, Code.CANCELLED);
  ok(/the caller gave up: no more/.test(error.rawMessage), error.rawMessage);
});

Deno.test("connect() does not try with a signal that is aborted or a timeout of zero", async () => {
  using socket = new SocketFolder();
  using _server = new RawServer(socket.path);
  const { path } = socket;
  const signal = AbortSignal.abort();
  equal((await connectError({ path }, { signal })).code, Code.CANCELLED);
  const late = AbortSignal.abort(new DOMException("late", "TimeoutError"));
  equal((await connectError({ path }, { signal: late })).code, Code.DEADLINE_EXCEEDED);
  equal((await connectError({ path }, { connectTimeoutMs: 0 })).code, Code.DEADLINE_EXCEEDED);
});

Deno.test("connect() takes an infinite timeout for none, and refuses NaN", async () => {
  using socket = new SocketFolder();
  using server = new RawServer(socket.path);
  const client = await connect({ path: socket.path }, { connectTimeoutMs: Infinity });
  using _peer = await server.accept();
  client.close();
  await client.finished;
  await rejects(connect({ path: socket.path }, { connectTimeoutMs: NaN }), RangeError);
});

Deno.test("connect() without waitForReady does not wait", async () => {
  using socket = new SocketFolder();
  const error = await connectError({ path: socket.path }, { connectTimeoutMs: 60_000 });
  equal(error.code, Code.UNAVAILABLE);
});

Deno.test("connect() takes an address as serve() does, as one of its options", async () => {
  using socket = new SocketFolder();
  const where = { address: `unix://${socket.path}` };
  const server = serve(where, (router) => router.service(TestService, testHandlers));
  await server.listening;
  await using client = await connect(where);
  await client.service(TestService).nothing({});
  await client[Symbol.asyncDispose]();
  await server.shutdown();
});
