import { type Client, Code, connect, RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { Containerd, containerdTest, type Shim } from "./containerd.ts";
import { type Task, taskService, TaskStatus } from "./task.ts";

const SIGKILL = 9;
const BUSYBOX = "/bin/busybox";
const SLEEP = [BUSYBOX, "sleep", "600"];

interface Running {
  client: Client;
  closings: (RpcError | undefined)[];
  shim: Shim;
  task: Task;
}

function shimTest(
  name: string,
  command: readonly string[],
  run: (running: Running) => Promise<void>,
): void {
  containerdTest(name, async () => {
    await using containerd = await Containerd.start();
    await using shim = await containerd.startShim(command);
    const closings: (RpcError | undefined)[] = [];
    await using client = await connect(shim.address, { onClose: (error) => closings.push(error) });
    await run({ client, closings, shim, task: await taskService(client, shim) });
  });
}

function fails(code: Code, message: RegExp): (error: unknown) => true {
  return (error) => {
    ok(error instanceof RpcError, String(error));
    equal(Code[error.code], Code[code]);
    match(error.message, message);
    return true;
  };
}

shimTest("a shim says who it is", SLEEP, async ({ shim, task }) => {
  const { shimPid, taskPid } = await task.connect({ id: shim.id });
  deepEqual(shim.processes(), [shimPid]);
  equal(taskPid, 0);
});

shimTest("the state of a task that is not there is NOT_FOUND", SLEEP, async ({ shim, task }) => {
  const call = /^containerd\.task\.v[23]\.Task\/State: NOT_FOUND: .*not found$/;
  await rejects(task.state({ id: shim.id }), fails(Code.NOT_FOUND, call));
});

shimTest(
  "a container is created, started, waited for and deleted",
  [BUSYBOX, "sh", "-c", "echo from the container; exit 7"],
  async ({ shim: { id, bundle }, task }) => {
    const output = `${bundle}/output`;
    // A shim of 1.6 panics if it is given only one of the two.
    const files = { stdout: `file://${output}`, stderr: `file://${output}` };
    const { pid } = await task.create({ id, bundle, ...files });
    const created = await task.state({ id });
    deepEqual(
      { id: created.id, bundle: created.bundle, pid: created.pid, status: created.status },
      { id, bundle, pid, status: TaskStatus.CREATED },
    );
    equal((await task.start({ id })).pid, pid);
    equal((await task.wait({ id })).exitStatus, 7);
    equal((await task.state({ id })).status, TaskStatus.STOPPED);
    const deleted = await task.delete({ id });
    deepEqual({ pid: deleted.pid, exitStatus: deleted.exitStatus }, { pid, exitStatus: 7 });
    ok(deleted.exitedAt!.seconds > 0n);
    equal(await Deno.readTextFile(output), "from the container\n");
    await rejects(task.state({ id }), fails(Code.NOT_FOUND, /not found/));
  },
);

shimTest(
  "a Wait that is pending learns that the container was killed",
  SLEEP,
  async ({ shim: { id, bundle }, task }) => {
    await task.create({ id, bundle });
    await task.start({ id });
    let ended = false;
    const wait = async () => {
      const { exitStatus } = await task.wait({ id });
      ended = true;
      return exitStatus;
    };
    const kill = async () => {
      equal((await task.state({ id })).status, TaskStatus.RUNNING);
      equal(ended, false);
      await task.kill({ id, signal: SIGKILL });
    };
    const [exitStatus] = await Promise.all([wait(), kill()]);
    equal(exitStatus, 128 + SIGKILL);
    equal((await task.delete({ id })).exitStatus, 128 + SIGKILL);
  },
);

containerdTest("a Wait that is given up, and pings, are nothing to a shim", async () => {
  await using containerd = await Containerd.start();
  await using shim = await containerd.startShim(SLEEP);
  const { id, bundle } = shim;
  const closings: unknown[] = [];
  await using client = await connect(shim.address, {
    keepalive: { intervalMs: 10, timeoutMs: 10 },
    onClose: (error) => closings.push(error),
  });
  const task = await taskService(client, shim);
  await task.create({ id, bundle });
  await task.start({ id });
  const controller = new AbortController();
  const given = task.wait({ id }, { signal: controller.signal });
  await task.state({ id });
  controller.abort();
  await rejects(given, fails(Code.CANCELLED, /the caller gave up/));
  await rejects(task.wait({ id }, { timeoutMs: 50 }), fails(Code.DEADLINE_EXCEEDED, /50 ms/));
  equal((await task.state({ id })).status, TaskStatus.RUNNING);
  const waiting = task.wait({ id });
  await task.kill({ id, signal: SIGKILL });
  equal((await waiting).exitStatus, 128 + SIGKILL);
  await task.delete({ id });
  deepEqual(closings, []);
});

shimTest(
  "a second process runs in a container, and ends on its own",
  SLEEP,
  async ({ shim: { id, bundle }, task }) => {
    const execId = "second";
    const { pid } = await task.create({ id, bundle });
    await task.start({ id });
    const process = { user: { uid: 0, gid: 0 }, args: [BUSYBOX, "sleep", "600"], cwd: "/" };
    const spec = {
      typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process",
      value: new TextEncoder().encode(JSON.stringify(process)),
    };
    await task.exec({ id, execId, spec });
    const second = await task.start({ id, execId });
    const pids = (await task.pids({ id })).processes.map((process) => process.pid);
    deepEqual(pids.toSorted(), [pid, second.pid].toSorted());
    await task.kill({ id, execId, signal: SIGKILL });
    equal((await task.wait({ id, execId })).exitStatus, 128 + SIGKILL);
    equal((await task.delete({ id, execId })).pid, second.pid);
    equal((await task.state({ id })).status, TaskStatus.RUNNING);
  },
);

shimTest(
  "a deadline ends a Wait at once and leaves the connection as it was",
  SLEEP,
  async ({ closings, shim: { id, bundle }, task }) => {
    await task.create({ id, bundle });
    await task.start({ id });
    const before = performance.now();
    await rejects(
      task.wait({ id }, { timeoutMs: 50 }),
      fails(Code.DEADLINE_EXCEEDED, /Task\/Wait: DEADLINE_EXCEEDED/),
    );
    const elapsed = performance.now() - before;
    ok(elapsed >= 49 && elapsed < 5_000, `${elapsed} ms`);
    equal((await task.state({ id })).status, TaskStatus.RUNNING);
    // The shim answers the abandoned Wait as well now: nobody is there to hear it.
    const [{ exitStatus }] = await Promise.all([
      task.wait({ id }),
      task.kill({ id, signal: SIGKILL }),
    ]);
    equal(exitStatus, 128 + SIGKILL);
    equal((await task.delete({ id })).exitStatus, 128 + SIGKILL);
    deepEqual(closings, []);
  },
);

shimTest(
  "Shutdown ends the shim, and the client sees the connection end",
  SLEEP,
  async ({ client, closings, shim, task }) => {
    try {
      await task.shutdown({ id: shim.id, now: true });
    } catch (error) {
      // The shim may be gone before it has answered, and then it says nothing.
      fails(Code.UNAVAILABLE, /Task\/Shutdown: UNAVAILABLE/)(error);
    }
    await client.finished;
    equal(closings.length, 1);
    await rejects(task.connect({ id: shim.id }), fails(Code.UNAVAILABLE, /Task\/Connect/));
    await shim.exited();
  },
);

shimTest(
  "a Wait that is pending learns that the shim was killed",
  SLEEP,
  async ({ client, closings, shim, shim: { id, bundle }, task }) => {
    await task.create({ id, bundle });
    await task.start({ id });
    const kill = async () => {
      equal((await task.state({ id })).status, TaskStatus.RUNNING);
      for (const pid of shim.processes()) Deno.kill(pid, "SIGKILL");
    };
    const lost = /UNAVAILABLE: connection to .* lost with 1 call in flight/;
    await Promise.all([rejects(task.wait({ id }), fails(Code.UNAVAILABLE, lost)), kill()]);
    await client.finished;
    equal(closings.length, 1);
    fails(Code.UNAVAILABLE, lost)(closings[0]);
  },
);
