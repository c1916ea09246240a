// docs/command.md: every block of it is run against a real shim.

import { connect } from "@ttrpc/ttrpc";
import { equal, ok } from "node:assert/strict";
import { Containerd, containerdTest } from "../containerd/containerd.ts";
import { API_IMAGE, taskService } from "../containerd/task.ts";
import { ROOT, Running } from "./command.ts";
import { blocksOf, matches, Stage } from "./transcript.ts";

containerdTest("cli: the transcripts in docs/command.md are what the command prints", async () => {
  const blocks = blocksOf(await Deno.readTextFile(`${ROOT}docs/command.md`));
  ok(blocks.length >= 8);

  await using containerd = await Containerd.start();
  await using shim = await containerd.startShim(["/bin/busybox", "sleep", "600"]);
  {
    await using client = await connect(shim.address);
    const task = await taskService(client, shim);
    const { id, bundle } = shim;
    await task.create({ id, bundle });
    await task.start({ id });
  }
  using stage = new Stage(shim);
  for (const block of blocks) {
    const outputs = await stage.run(block);
    equal(outputs.length, block.length, outputs.join("\n"));
    for (const [at, { command, output }] of block.entries()) {
      const [is, promised] = [stage.steady(outputs[at]!), stage.steady(output)];
      ok(matches(is, promised), `$ ${command}\nprints\n${is}\nand not\n${promised}`);
    }
  }
});

containerdTest("cli: a call that waits for a container ends when it does", async () => {
  await using containerd = await Containerd.start();
  await using shim = await containerd.startShim(["/bin/busybox", "sleep", "600"]);
  await using client = await connect(shim.address);
  const task = await taskService(client, shim);
  const { id, bundle } = shim;
  await task.create({ id, bundle });
  await task.start({ id });
  const method = `containerd.task.v${shim.version}.Task/Wait`;
  const args = ["call", shim.address, method, JSON.stringify({ id }), "-d", API_IMAGE, "-v"];
  await using wait = new Running(args);
  await wait.told(/> message 1/);
  await task.kill({ id, signal: 9 });
  const { code, stdout } = await wait.ended();
  equal(code, 0);
  equal(JSON.parse(stdout).exitStatus, 137);
});
