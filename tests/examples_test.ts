// Every example runs as its first line says, with no other permissions, and needs each of them.

import { connect, serve } from "@ttrpc/ttrpc";
import { fromBinary } from "@bufbuild/protobuf";
import { deepEqual, equal, ok } from "node:assert/strict";
import { type TaskStart, TaskStartSchema } from "../gen/containerd/events/task_pb.ts";
import { Events } from "../gen/containerd/services/events/ttrpc/v1/events_ttrpc.ts";
import { Status, Task, type TaskHandlers } from "../gen/containerd/task/v2/shim_ttrpc.ts";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";
import { type Ended, ROOT, run, Running } from "./cli/command.ts";
import { Containerd, containerdTest } from "./containerd/containerd.ts";
import { taskService } from "./containerd/task.ts";
import { SocketFolder } from "./fixture.ts";

const DENO = Deno.execPath();
const env = { NO_COLOR: "1" };
const PATIENCE_MS = 20_000;

/** The examples that are run. */
const tested = new Set<string>();

/** A test that runs some examples. */
function exampleTest(files: readonly string[], name: string, fn: () => Promise<void>): void {
  for (const file of files) tested.add(file);
  Deno.test(`examples: ${name}`, fn);
}

/** What a command allows: the name of the flag, and its value. */
interface Permission {
  readonly flag: string;
  /** What it allows of that; `undefined` for all. */
  readonly value: string | undefined;
}

function permissionsOf(args: readonly string[]): Permission[] {
  return args.filter((arg) => arg.startsWith("--allow-")).flatMap((arg) => {
    const [flag, values] = arg.split("=");
    return (values?.split(",") ?? [undefined]).map((value) => ({ flag: flag!, value }));
  });
}

/** The same command with other permissions. */
function allowing(args: readonly string[], permissions: readonly Permission[]): string[] {
  const groups = Map.groupBy(permissions, ({ flag }) => flag);
  const flags = Array.from(groups, ([flag, group]) => {
    const values = group.flatMap(({ value }) => value ?? []);
    return values.length > 0 ? `${flag}=${values}` : flag;
  });
  const [command, ...rest] = args.filter((arg) => !arg.startsWith("--allow-"));
  return [command!, ...flags, ...rest];
}

/** An example, and the command in its first line. */
class Example {
  readonly #file: string;
  /** What follows the name of Deno. */
  readonly args: readonly string[];

  constructor(file: string, places: Readonly<Record<string, string>> = {}) {
    this.#file = `examples/${file}`;
    ok(tested.has(file), `no exampleTest() names ${file}`);
    const [line] = Deno.readTextFileSync(ROOT + this.#file).split("\n");
    const [slashes, deno, ...args] = line!.split(" ");
    deepEqual([slashes, deno], ["//", "deno"]);
    ok(args.includes(this.#file), line ?? this.#file);
    this.args = args.map((arg) =>
      Object.entries(places).reduce((arg, [name, place]) => arg.replaceAll(name, place), arg)
    );
  }

  /** Runs it to its end. */
  async run(args = this.args): Promise<Ended> {
    return await run(noPrompt(args), { program: [DENO], env });
  }

  /** Starts it. */
  start(): Running {
    return new Running(noPrompt(this.args), { program: [DENO], env });
  }

  /** Runs it to its end, which is to be a good one. */
  async prints(...lines: string[]): Promise<void> {
    deepEqual(await this.run(), { code: 0, stdout: lines.join("\n") + "\n", stderr: "" });
  }
}

/** Instead of asking for a permission that it does not have, it fails. */
function noPrompt([command, ...args]: readonly string[]): string[] {
  return [command!, "--no-prompt", ...args];
}

/** A folder of its own in the place of /tmp. */
class Place extends SocketFolder {
  example(file: string, places: Readonly<Record<string, string>> = {}): Example {
    return new Example(file, { ...places, "/tmp": this.folder });
  }

  /** Leaves a socket as a run does that was killed, if there is none. */
  leaveStaleAt(path: string): void {
    if (isSocket(path)) return;
    this.leaveStale();
    Deno.renameSync(this.path, path);
  }

  /** Checks that nothing was left. */
  isEmpty(): void {
    deepEqual([...Deno.readDirSync(this.folder)], []);
  }
}

function isSocket(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSocket ?? false;
  } catch {
    return false;
  }
}

exampleTest(
  ["greeter_server.ts", "greeter_client.ts"],
  "the greeter's server greets its client, and ends when it is interrupted",
  async () => {
    using place = new Place();
    const client = place.example("greeter_client.ts");
    await using server = place.example("greeter_server.ts").start();
    await server.printed(/^listening on unix:.*\n/);
    await client.prints("Hello Ada");
    deepEqual(await client.run(client.args.slice(0, -1)), {
      code: 1,
      stdout: "",
      stderr: "greeter.v1.Greeter/SayHello: INVALID_ARGUMENT: give a name\n",
    });
    equal((await server.stop()).code, 0);
    place.isEmpty();
    const { code, stderr } = await client.run();
    equal(code, 1);
    ok(/^UNAVAILABLE: .*greeter\.sock.*\n$/.test(stderr), stderr);
  },
);

Deno.test("examples: the greeter's server and client say how they are used", async () => {
  using place = new Place();
  for (const file of ["greeter_server.ts", "greeter_client.ts", "proxy.ts", "shim.ts"]) {
    const { code, stderr } = await place.example(file).run(["run", `examples/${file}`]);
    equal(code, 2);
    ok(stderr.startsWith(`usage: ${file} `), stderr);
  }
});

exampleTest(["streaming.ts"], "the example of streaming shows all four kinds", async () => {
  using place = new Place();
  place.leaveStaleAt(`${place.folder}/streaming.sock`);
  const { code, stdout, stderr } = await place.example("streaming.ts").run();
  deepEqual({ code, stderr }, { code: 0, stderr: "" });
  const [server, client] = ["server", ""].map((side) =>
    stdout.trim().split("\n").filter((line) => line.startsWith("server") === (side === "server"))
  );
  deepEqual(server, ["server: nobody watches any more"]);
  deepEqual(client, [
    "read: 12 °C",
    "watch: 20 °C",
    "watch: 21 °C",
    "watch: 22 °C",
    "average: 19.5 °C of 2 readings",
    "convert: 53.6 °F",
    "convert: 68 °F",
  ]);
  place.isEmpty();
});

exampleTest(
  ["proxy.ts"],
  "the proxy passes on a call with its metadata and deadline, and its answer",
  async () => {
    using place = new Place();
    const calls: unknown[] = [];
    await using _server = serve(
      { path: `${place.folder}/greeter.sock` },
      (router) =>
        router.service(Greeter, {
          sayHello: ({ name }, { metadata, timeoutMs }) => {
            calls.push([name, [...metadata], timeoutMs! > 50_000 && timeoutMs! < 60_000]);
            return { message: `Hello ${name}` };
          },
        }),
    );
    await using proxy = place.example("proxy.ts").start();
    await proxy.printed(/^unix:.*proxy\.sock leads to unix:.*greeter\.sock\n/);
    {
      await using client = await connect({ path: `${place.folder}/proxy.sock` });
      const options = { metadata: { "x-trace": "1" }, timeoutMs: 60_000 };
      const { message } = await client.service(Greeter).sayHello({ name: "Ada" }, options);
      equal(message, "Hello Ada");
    }
    deepEqual(calls, [["Ada", [["x-trace", "1"]], true]]);
    await proxy.printed(/SayHello: 60 s left, metadata: \[\["x-trace","1"\]\]\n/);
    const { code, stderr } = await proxy.stop();
    deepEqual({ code, stderr }, { code: 0, stderr: "" });
  },
);

Deno.test("examples: the proxy stands between the greeter's client and server", async () => {
  using place = new Place();
  await using server = place.example("greeter_server.ts").start();
  await server.printed(/^listening/);
  await using proxy = place.example("proxy.ts").start();
  await proxy.printed(/leads to/);
  await place.example("greeter_client.ts", { "/greeter.sock": "/proxy.sock" }).prints("Hello Ada");
  equal((await proxy.stop()).code, 0);
  equal((await server.stop()).code, 0);
  place.isEmpty();
});

exampleTest(
  ["authenticate.ts"],
  "the example of authentication refuses calls without a token that it knows",
  async () => {
    using place = new Place();
    place.leaveStaleAt(`${place.folder}/authenticate.sock`);
    const refused = "greeter.v1.Greeter/SayHello: UNAUTHENTICATED: a valid token is needed";
    await place.example("authenticate.ts").prints("Hello you, you are Ada", refused, refused);
    place.isEmpty();
  },
);

exampleTest(["codec.ts"], "the example of codecs speaks without protobuf-es", async () => {
  using place = new Place();
  place.leaveStaleAt(`${place.folder}/codec.sock`);
  await place.example("codec.ts").prints("no", "protobuf", "here", "[ 2, 8, 4 ]");
  place.isEmpty();
});

exampleTest(
  ["without_socket_test.ts"],
  "the example of tests without a socket needs no permissions",
  async () => {
    const example = new Example("without_socket_test.ts");
    deepEqual(permissionsOf(example.args), []);
    const { code, stdout } = await example.run();
    equal(code, 0, stdout);
    ok(/^ok \| 3 passed \| 0 failed /m.test(stdout), stdout);
  },
);

exampleTest(["demo.ts"], "the demo is what `deno task demo` runs", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const example = new Example("demo.ts");
  equal(tasks.demo.command, ["deno", ...example.args].join(" "));
  const { code, stdout, stderr } = await example.run();
  deepEqual({ code, stderr }, { code: 0, stderr: "" });
  const told = stdout.split("\n").filter((line) => /^ {2}(client|server): /.test(line));
  deepEqual(told.map((line) => line.slice(2).replace(/\d+ ms$/, "N ms")), [
    "client: Hello Deno",
    "client: Welcome Deno",
    "client: RpcError: thermometer.v1.Thermometer/Read: NOT_FOUND: no such room: attic",
    "client: 20",
    "client: 21",
    "server: nobody waits any more",
    "client: RpcError: thermometer.v1.Thermometer/Watch: DEADLINE_EXCEEDED: " +
    "the deadline of 100 ms has passed",
    "server: nobody waits any more",
    "client: 50",
    "client: 32",
    "client: 212",
    "client: took N ms",
  ]);
});

const EVENTS_SOCKET = "/run/containerd/containerd.sock.ttrpc";

exampleTest(
  ["containerd_events.ts"],
  "the example of events publishes one, as containerd takes them",
  async () => {
    using place = new Place();
    const published: unknown[] = [];
    await using _server = serve({ path: place.path }, (router) =>
      router.service(Events, {
        forward: ({ envelope }) => {
          const { event, namespace, timestamp, topic } = envelope!;
          const { containerId }: TaskStart = fromBinary(TaskStartSchema, event!.value);
          const age = Date.now() - Number(timestamp!.seconds) * 1_000;
          published.push([namespace, topic, event!.typeUrl, containerId, age < 60_000]);
          return {};
        },
      }));
    const example = new Example("containerd_events.ts", { [EVENTS_SOCKET]: place.path });
    await example.prints("published /example/started");
    const typeName = "containerd.events.TaskStart";
    deepEqual(published, [["example", "/example/started", typeName, "an-example", true]]);
  },
);

containerdTest("ctr shows the event that the example publishes", async () => {
  await using containerd = await Containerd.start();
  const example = new Example("containerd_events.ts", { [EVENTS_SOCKET]: containerd.ttrpcPath });
  const events = ["--address", containerd.grpcAddress, "events"];
  await using ctr = new Running(events, { program: ["ctr"] });
  let done = false;
  const shown = ctr.printed(/.*\/example\/started.*\n/).finally(() => done = true);
  shown.catch(() => {}); // it is awaited later
  // ctr does not say when it has begun to listen, and it shows nothing from before.
  const end = performance.now() + PATIENCE_MS;
  while (!done && performance.now() < end) await example.prints("published /example/started");
  if (!done) ctr.signal("SIGKILL");
  ok(/ example \/example\/started {"container_id":"an-example","pid":\d+}\n$/.test(await shown));
});

const SHIM_SOCKET = "/run/containerd/s/0a1b";

exampleTest(
  ["shim.ts"],
  "the example of shims asks the service of the version that it is given",
  async () => {
    using place = new Place();
    const handlers = (bundle: string): TaskHandlers => ({
      state: ({ id }, { metadata }) => ({
        id,
        bundle: `${bundle}/${metadata.get("containerd-namespace-ttrpc")}`,
        pid: 42,
        status: Status.PAUSED,
      }),
      pids: () => ({ processes: [{ pid: 42 }, { pid: 43 }] }),
    });
    await using _server = serve({ path: place.path }, (router) => {
      router.service(Task, handlers("/two"));
      router.service({ ...Task, typeName: "containerd.task.v3.Task" }, handlers("/three"));
    });
    const example = new Example("shim.ts", { [SHIM_SOCKET]: place.path });
    for (const [version, bundle] of [[], ["3"]].entries()) {
      const { code, stdout, stderr } = await example.run([...example.args, ...bundle]);
      deepEqual({ code, stderr }, { code: 0, stderr: "" });
      const folder = version === 0 ? "/two/default" : "/three/default";
      equal(
        stdout,
        `ID is PAUSED, its first process is 42, its bundle is ${folder}\nprocess 42\nprocess 43\n`,
      );
    }
  },
);

containerdTest("the example of shims tells of a container that runs", async () => {
  await using containerd = await Containerd.start();
  await using shim = await containerd.startShim(["/bin/busybox", "sleep", "600"]);
  const { address, bundle, id, namespace, version } = shim;
  await using client = await connect(address);
  const task = await taskService(client, shim);
  const { pid } = await task.create({ id, bundle });
  await task.start({ id });
  const path = address.slice("unix://".length);
  const example = new Example("shim.ts", { [SHIM_SOCKET]: path, default: namespace, ID: id });
  deepEqual(await example.run([...example.args, `${version}`]), {
    code: 0,
    stdout: `${id} is RUNNING, its first process is ${pid}, its bundle is ${bundle}\n` +
      `process ${pid}\n`,
    stderr: "",
  });
});

for (const file of tested) {
  Deno.test(`examples: ${file} needs each permission that it asks for`, async () => {
    using place = new Place();
    const example = place.example(file);
    const permissions = permissionsOf(example.args);
    // The proxy connects before it listens.
    const target = { path: `${place.folder}/greeter.sock` };
    await using _server = file === "proxy.ts" ? serve(target, () => {}) : undefined;
    // A server that finds a socket connects to it, to learn whether it may replace it.
    const values = permissions.map(({ value }) => value ?? "");
    const served = values.filter((value) => values.includes(`${value}.new`));
    for (const left of permissions) {
      served.forEach((path) => place.leaveStaleAt(path));
      const rest = permissions.filter((permission) => permission !== left);
      const { code, stderr } = await example.run(allowing(example.args, rest));
      equal(code, 1, `without ${left.flag}=${left.value}`);
      ok(stderr.includes("NotCapable"), stderr);
    }
  });
}

Deno.test("examples: each of them is run by a test", () => {
  const files = Array.from(Deno.readDirSync(`${ROOT}examples`), ({ name }) => name);
  deepEqual(files.sort(), [...tested].sort());
});
