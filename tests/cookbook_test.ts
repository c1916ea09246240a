// docs/cookbook.md: what cannot run as a test by itself, because it needs containerd or a socket of
// systemd's, is done here as the page says it.

import { connect } from "@ttrpc/ttrpc";
import { equal, match, ok } from "node:assert/strict";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";
import { BUF, deno, Folder, linked, ROOT, testWith } from "./codegen/tools.ts";
import { Containerd, containerdTest } from "./containerd/containerd.ts";
import { kill } from "./containerd/programs.ts";
import { taskService } from "./containerd/task.ts";

/** The files of a page, by the names that it gives them. */
async function filesOf(page: string): Promise<Map<string, string>> {
  const text = await Deno.readTextFile(`${ROOT}/${page}`);
  // The paragraph before a block begins, or ends, with its name.
  const blocks = text.matchAll(
    /`([\w./]+\.(?:json|proto|ts|yaml))`(?:(?!```|\n\n)[^])*\n\n```[^\n]*\n(.*?)^```$/gms,
  );
  return new Map(Array.from(blocks, ([, name, content]) => [name!, content!]));
}

/** A project with some files of the cookbook, and code generated as the README does it. */
async function project(
  names: readonly string[],
  change: (text: string) => string = (text) => text,
): Promise<Folder> {
  const [readme, cookbook] = [await filesOf("README.md"), await filesOf("docs/cookbook.md")];
  const place = new Folder();
  for (const name of ["buf.yaml", "buf.gen.yaml"]) place.write(name, readme.get(name)!);
  place.write("deno.json", { ...JSON.parse(readme.get("deno.json")!), ...linked });
  for (const name of names) {
    ok(cookbook.has(name), `the cookbook has no ${name}`);
    place.write(name, change(cookbook.get(name)!));
  }
  await deno([...BUF, "generate"], place.path);
  await deno(["check", "."], place.path);
  return place;
}

containerdTest("the cookbook's client of a shim tells of a container", async () => {
  await using containerd = await Containerd.start();
  await using shim = await containerd.startShim(["/bin/busybox", "sleep", "600"]);
  const { address, bundle, id, namespace, version } = shim;
  await using client = await connect(address);
  const task = await taskService(client, shim);
  const { pid } = await task.create({ id, bundle });
  await task.start({ id });
  using place = await project(
    ["proto/task.proto", "shim.ts"],
    (text) => text.replace("task.v2;", `task.v${version};`),
  );
  const allowed = ["--allow-net", "--allow-read", "--allow-write"];
  equal(
    await deno(["run", ...allowed, "shim.ts", address, namespace, id], place.path),
    `${bundle}: RUNNING\nprocesses: ${pid}\n`,
  );
});

containerdTest("the cookbook's event reaches those who listen to containerd", async () => {
  await using containerd = await Containerd.start();
  using place = await project(["proto/events.proto", "proto/event.proto", "forward.ts"]);
  await using ctr = new Deno.Command("ctr", {
    args: ["--address", containerd.grpcAddress, "events"],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = ctr.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let shown: string | undefined;
  const line = reader.read().then(({ value }) => shown = value ?? "");
  try {
    // ctr does not say when it has begun to listen, and it shows nothing from before.
    const allowed = ["--allow-net", "--allow-read", "--allow-write"];
    for (let attempt = 1; shown === undefined && attempt <= 20; attempt++) {
      await deno(["run", ...allowed, "forward.ts", containerd.ttrpcPath], place.path);
    }
  } finally {
    kill(ctr.pid);
    await line;
    await reader.cancel();
  }
  match(shown ?? "", /default \/example\/hello {"name":"Deno"}/);
});

/** Opens a socket as systemd does, and becomes the program that is to have it. */
const ACTIVATE = `
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.write(1, b"open")
os.execvp(sys.argv[2], sys.argv[2:])
`;

testWith("python3", "the cookbook's server takes a socket that is open already", async () => {
  using place = await project([
    "proto/greeter/v1/greeter.proto",
    "inherited.ts",
    "activated.ts",
  ]);
  const path = `${place.path}/x.sock`;
  await using server = new Deno.Command("python3", {
    args: ["-c", ACTIVATE, path, Deno.execPath(), "run", "--no-prompt", "activated.ts"],
    cwd: place.path,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const stdout = server.stdout.getReader();
  equal(new TextDecoder().decode((await stdout.read()).value), "open");
  // The calls of many connections that come at once, before the server has started.
  const greetings = await Promise.all(Array.from({ length: 20 }, async (_, index) => {
    await using client = await connect({ path });
    const greeter = client.service(Greeter, { timeoutMs: 60_000 });
    const name = `${index} ${"x".repeat(index * 5_000)}`;
    return (await greeter.sayHello({ name })).message === `Hello ${name}`;
  }));
  ok(greetings.every((right) => right));
  server.kill("SIGTERM");
  equal((await server.status).code, 0);
  await stdout.cancel();
});
