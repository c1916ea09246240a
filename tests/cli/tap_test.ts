// `ttrpc tap` and `ttrpc replay`, between our own client and server.

import { Code, connect, RpcError, serve } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { TestBed, testHandlers } from "../fixture.ts";
import { CLI, run, Running, SchemaFolder, SERVICE } from "./command.ts";

const LISTENING = /tapping .*\n/;

/** A tap in front of a server. */
class TapBed implements AsyncDisposable {
  readonly bed: TestBed;
  readonly folder = new SchemaFolder();
  readonly path: string = `${this.folder.folder}/tap.sock`;
  readonly recording: string = `${this.folder.folder}/calls.rec`;
  readonly tap: Running;

  constructor(
    options: { args?: string[]; schema?: boolean; record?: boolean } = {},
    ...bed: ConstructorParameters<typeof TestBed>
  ) {
    this.bed = new TestBed(...bed);
    this.tap = new Running([
      ...["tap", this.path, this.bed.path, ...options.args ?? []],
      ...options.schema === false ? [] : ["-d", this.folder.set],
      ...options.record ? ["--record", this.recording] : [],
    ]);
  }

  /** Waits until it listens. */
  async ready(): Promise<this> {
    await this.tap.told(LISTENING);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tap[Symbol.asyncDispose]();
    await this.bed[Symbol.asyncDispose]();
    this.folder[Symbol.dispose]();
  }
}

/** Calls of all kinds. */
async function callAll(path: string): Promise<void> {
  await using client = await connect({ path });
  const service = client.service(TestService);
  await service.echo({ text: "hi" }, { metadata: { "x-key": "value" }, timeoutMs: 5_000 });
  await Array.fromAsync(service.count({ count: 2 }));
  await service.sum([{ value: 1n }, { value: 2n }]);
  await Array.fromAsync(service.chat([{ text: "a" }]));
  await rejects(service.fail({ code: Code.NOT_FOUND, message: "no such task" }), RpcError);
}

Deno.test("cli: tap prints calls with metadata, messages, sizes, status and time", async () => {
  await using bed = await new TapBed().ready();
  await callAll(bed.path);
  await bed.tap.printed(/1: closed/);
  const { code, stdout } = await bed.tap.stop();
  equal(code, 0);
  equal(
    stdout.replaceAll(/[\d.]+ (us|ms|s)\b/g, "TIME"),
    `1: connected
1:1 --> ${SERVICE}/Echo  4 B  deadline TIME
1:1     x-key: value
1:1     {"text":"hi"}
1:1 <-- OK  20 B  TIME  ${SERVICE}/Echo
1:1     {"text":"hi","metadata":[{"key":"x-key","value":"value"}]}
1:3 --> ${SERVICE}/Count  2 B
1:3     {"count":2}
1:3 <-  0 B
1:3     {}
1:3 <-  2 B
1:3     {"value":"1"}
1:3 <-- OK  TIME  ${SERVICE}/Count
1:5 --> ${SERVICE}/Sum
1:5 ->  2 B
1:5     {"value":"1"}
1:5 ->  2 B
1:5     {"value":"2"}
1:5 ->| no more messages
1:5 <-- OK  2 B  TIME  ${SERVICE}/Sum
1:5     {"value":"3"}
1:7 --> ${SERVICE}/Chat
1:7 ->  3 B
1:7     {"text":"a"}
1:7 ->| no more messages
1:7 <-  3 B
1:7     {"text":"a"}
1:7 <-- OK  TIME  ${SERVICE}/Chat
1:9 --> ${SERVICE}/Fail  16 B
1:9     {"code":5,"message":"no such task"}
1:9 <-- NOT_FOUND: no such task  TIME  ${SERVICE}/Fail
1: closed
`,
  );
});

Deno.test("cli: tap --json prints a line for each event, for programs", async () => {
  await using bed = await new TapBed({ args: ["--json"] }).ready();
  await callAll(bed.path);
  await bed.tap.printed(/"closed"/);
  const { stdout } = await bed.tap.stop();
  const events = stdout.trim().split("\n").map((line) => JSON.parse(line));
  for (const { time } of events) match(time, /^\d{4}-.*Z$/);
  deepEqual({ ...events[1], time: 0 }, {
    time: 0,
    connection: 1,
    stream: 1,
    method: `${SERVICE}/Echo`,
    event: "request",
    metadata: [["x-key", "value"]],
    timeoutMs: events[1].timeoutMs,
    bytes: 4,
    message: { text: "hi" },
  });
  const ends = events.filter(({ event }) => event === "end");
  deepEqual(ends.map(({ status }) => status), ["OK", "OK", "OK", "OK", "NOT_FOUND"]);
  equal(ends.every(({ ms }) => ms > 0), true);
});

Deno.test("cli: tap prints that a client gives calls up, and replay finds the same", async () => {
  await using bed = await new TapBed({ record: true }).ready();
  {
    await using client = await connect({ path: bed.path }, { keepalive: { intervalMs: 1e6 } });
    const service = client.service(TestService);
    const controller = new AbortController();
    const { signal } = controller;
    const calls = [
      service.sleep({ milliseconds: 3_600_000n }, { signal }),
      service.sum(new ReadableStream(), { signal }),
    ];
    await bed.tap.printed(/Sum/);
    controller.abort();
    for (const { status } of await Promise.allSettled(calls)) equal(status, "rejected");
    await rejects(service.sleep({ milliseconds: 3_600_000n }, { timeoutMs: 30 }), RpcError);
    await service.nothing({});
  }
  await bed.tap.printed(/1: closed/);
  const { stdout } = await bed.tap.stop();
  const lines = stdout.replaceAll(/[\d.]+ (us|ms|s)\b/g, "TIME").trim().split("\n");
  deepEqual(lines.filter((line) => !line.includes("    {")), [
    "1: connected",
    `1:1 --> ${SERVICE}/Sleep  5 B`,
    `1:3 --> ${SERVICE}/Sum`,
    `1:1 --> CANCELLED: given up by the client  TIME  ${SERVICE}/Sleep`,
    `1:3 --> CANCELLED: given up by the client  TIME  ${SERVICE}/Sum`,
    `1:5 --> ${SERVICE}/Sleep  5 B  deadline TIME`,
    `1:5 --> DEADLINE_EXCEEDED: given up by the client  TIME  ${SERVICE}/Sleep`,
    `1:7 --> ${SERVICE}/Nothing  0 B`,
    `1:7 <-- OK  0 B  TIME  ${SERVICE}/Nothing`,
    "1: closed",
  ]);
  const { code, stderr } = await run(["replay", bed.recording, bed.bed.path]);
  match(stderr, /4 calls replayed: 4 ended as recorded, 0 differently/);
  equal(code, 0);
});

Deno.test("cli: tap loses and reorders nothing of a thousand calls at once", async () => {
  await using bed = await new TapBed({ schema: false, args: ["--json"] }).ready();
  {
    await using client = await connect({ path: bed.path });
    const service = client.service(TestService);
    const big = new Uint8Array(300_000).fill(7);
    const calls = Array.from({ length: 1_000 }, async (_, at) => {
      const payload = at % 100 === 0 ? big : new Uint8Array(at);
      const response = await service.echo({ payload, text: `${at}` });
      equal(response.text, `${at}`);
      equal(response.payload.length, payload.length);
    });
    const counted = Array.fromAsync(service.count({ count: 5_000 }));
    await Promise.all(calls);
    deepEqual((await counted).map(({ value }) => Number(value)), [...Array(5_000).keys()]);
  }
  await bed.tap.printed(/"closed"/);
  const { stdout } = await bed.tap.stop();
  const events = stdout.trim().split("\n").map((line) => JSON.parse(line));
  equal(events.filter(({ event }) => event === "request").length, 1_001);
  equal(events.filter(({ event, code }) => event === "end" && code === 0).length, 1_001);
  equal(events.filter(({ event }) => event === "message").length, 5_000);
});

Deno.test("cli: tap passes on what is not ttrpc, and says so", async () => {
  using folder = new SchemaFolder();
  using listener = Deno.listen({ transport: "unix", path: folder.path });
  await using tap = new Running(["tap", `${folder.folder}/tap.sock`, folder.path]);
  await tap.told(LISTENING);
  const path = `${folder.folder}/tap.sock`;
  using client = await Deno.connect({ transport: "unix", path });
  using server = await listener.accept();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const buffer = new Uint8Array(64);
  for (const said of ["GET / HTTP/1.1", "more"]) {
    await client.write(new TextEncoder().encode(said));
    equal(text(buffer.subarray(0, (await server.read(buffer))!)), said);
  }
  await tap.printed(/the client does not speak ttrpc; its bytes are forwarded, not decoded/);
});

for (const transport of ["unix", "tcp"] as const) {
  Deno.test(`cli: tap passes on all that a server sent before it closed on a client that still writes, over ${transport}`, async () => {
    using folder = new SchemaFolder();
    using listener = Deno.listen({ transport: "unix", path: folder.path });
    using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = free.addr;
    free.close();
    const address = transport === "unix"
      ? { transport, path: `${folder.folder}/tap.sock` } as const
      : { hostname: "127.0.0.1", port };
    const text = transport === "unix"
      ? `unix:${folder.folder}/tap.sock`
      : `tcp://127.0.0.1:${port}`;
    await using tap = new Running(["tap", text, folder.path]);
    await tap.told(LISTENING);
    using client = transport === "unix"
      ? await Deno.connect(address as Deno.UnixConnectOptions)
      : await Deno.connect(address as Deno.ConnectOptions);
    const server = await listener.accept();
    const writing = (async () => {
      const some = new Uint8Array(1 << 16);
      for (;;) await client.write(some);
    })().catch(() => {}); // until the tap has closed
    const all = new Uint8Array(3_000_000);
    const sending = (async () => {
      for (let rest = all; rest.length > 0;) rest = rest.subarray(await server.write(rest));
      server.close();
    })();
    let received = 0;
    const buffer = new Uint8Array(1 << 16);
    for (let length; (length = await client.read(buffer).catch(() => null)) !== null;) {
      received += length;
    }
    equal(received, all.length);
    await sending;
    await writing;
  });
}

Deno.test("cli: tap survives that the server is not there, and goes, and comes back", async () => {
  using folder = new SchemaFolder();
  const path = `${folder.folder}/tap.sock`;
  await using tap = new Running(["tap", path, folder.path, "-d", folder.set]);
  await tap.told(LISTENING);
  {
    await using client = await connect({ path });
    await rejects(client.service(TestService).nothing({}), /UNAVAILABLE/);
  }
  await tap.printed(/1: closed: cannot connect to unix:\S+/);
  for (const round of [2, 3]) {
    const server = serve(
      { path: folder.path },
      (router) => router.service(TestService, testHandlers),
    );
    await using client = await connect({ path });
    const service = client.service(TestService);
    await service.nothing({});
    const asleep = service.sleep({ milliseconds: 60_000n });
    await tap.printed(new RegExp(`${round}:3 --> \\S+/Sleep`));
    server.close();
    await rejects(asleep, /UNAVAILABLE/);
    await client.finished;
    await server.finished;
    await tap.printed(new RegExp(`${round}: closed, 1 call in flight`));
  }
  equal((await tap.stop()).code, 0);
});

Deno.test("cli: replay sends what tap has recorded, and finds the same ends", async () => {
  await using bed = await new TapBed({ record: true }).ready();
  await Promise.all([callAll(bed.path), callAll(bed.path)]);
  await bed.tap.printed(/2: closed/);
  await bed.tap.stop();
  const again = ["replay", bed.recording, bed.bed.path, "-d", bed.folder.set];
  const { code, stdout, stderr } = await run(again);
  equal(stderr, "10 calls replayed: 10 ended as recorded, 0 differently\n");
  equal(code, 0);
  equal(stdout.match(/^\d:\d+ --> /gm)?.length, 10);
  equal((await run([...again, "--timed", "--json"])).code, 0);
  match(stdout, /1:9 <-- NOT_FOUND: no such task/);
});

Deno.test("cli: replay tells which calls end differently, and exits with 1", async () => {
  await using bed = await new TapBed({ record: true }).ready();
  await callAll(bed.path);
  await bed.tap.printed(/1: closed/);
  await bed.tap.stop();
  await using other = new TestBed({
    echo: () => {
      throw new RpcError(Code.ABORTED, "not again");
    },
    sum: async (requests) => {
      for await (const _ of requests);
      return { value: 77n };
    },
  });
  const { code, stdout, stderr } = await run(["replay", bed.recording, other.path]);
  equal(code, 1);
  match(stdout, /^1:1 \S+\/Echo: recorded OK, now ABORTED: not again$/m);
  equal(
    stderr,
    "5 calls replayed: 4 ended as recorded, 1 of these with other messages, 1 differently\n",
  );
});

/** The permission bits of a file. */
function modeOf(path: string): number {
  return Deno.statSync(path).mode! & 0o777;
}

/** Starts a tap that records, and stops it. */
async function record(path: string, folder: SchemaFolder): Promise<void> {
  const args = ["tap", `${folder.folder}/tap.sock`, folder.path, "--record", path];
  // With the widest umask there is.
  const program = ["sh", "-c", 'umask 0; exec "$@"', "sh", ...CLI] as const;
  await using tap = new Running(args, { program });
  await tap.told(LISTENING);
  equal((await tap.stop()).code, 0);
}

Deno.test("cli: a recording belongs to its user only, also where a file was that others could read", async () => {
  using folder = new SchemaFolder();
  const path = `${folder.folder}/calls.rec`;
  await record(path, folder);
  equal(modeOf(path), 0o600);
  await record(path, folder); // once more, over the first
  equal(modeOf(path), 0o600);

  Deno.writeTextFileSync(path, "old");
  Deno.chmodSync(path, 0o666);
  using open = Deno.openSync(path); // as somebody may have it
  const link = `${folder.folder}/link.rec`;
  Deno.symlinkSync(path, link);
  await record(link, folder);
  deepEqual([modeOf(path), Deno.lstatSync(link).isSymlink], [0o600, true]);
  equal(Deno.readTextFileSync(path), `{"ttrpc":1}\n`);
  const buffer = new Uint8Array(16);
  equal(new TextDecoder().decode(buffer.subarray(0, open.readSync(buffer)!)), "old");
});

Deno.test("cli: a recording can go to a device, which keeps its mode", async () => {
  using folder = new SchemaFolder();
  const before = modeOf("/dev/null");
  await record("/dev/null", folder);
  equal(modeOf("/dev/null"), before);
});

Deno.test("cli: tap and replay say what is wrong with their files and addresses", async () => {
  await using bed = new TestBed();
  using folder = new SchemaFolder();
  const here = `${folder.folder}/tap.sock`;
  const noRecording = folder.write("no.rec", "hello\n");
  const damaged = folder.write("damaged.rec", `{"ttrpc":1}\n{"ms":1}\n`);
  const fine = folder.write(
    "fine.rec",
    `{"ttrpc":1}\n{"ms":1,"connection":1,"from":"client","frame":"AAAAAAAAAAEBAA=="}\n`,
  );
  const cases: [string[], number, RegExp][] = [
    [
      ["tap", here, bed.path, "--record", "/nowhere/x"],
      1,
      /Cannot record to \/nowhere\/x: there is no such file or folder; name/,
    ],
    [["tap", bed.path, bed.path], 1, /another server listens there; choose another address/],
    [["tap", `${folder.folder}/no/x.sock`, bed.path], 1, /its folder does not exist; choose/],
    [["replay", "/nowhere", bed.path], 2, /Cannot read the recording \/nowhere/],
    [
      ["replay", noRecording, bed.path],
      2,
      /it is not a recording; make one with ttrpc tap --record/,
    ],
    [["replay", damaged, bed.path], 2, /line 2 is damaged/],
    [["replay", fine, `${folder.folder}/nobody.sock`], 78, /is the server running\?/],
  ];
  for (const [args, code, message] of cases) {
    const ended = await run(args);
    match(ended.stderr, message);
    equal(ended.code, code, ended.stderr);
    equal(ended.stderr.trim().split("\n").length, 1, ended.stderr);
  }
});
