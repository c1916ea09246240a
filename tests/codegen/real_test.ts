// Protos of the wild: containerd's whole API, and the streaming service that Go's ttrpc is tested
// with, read from where Go keeps its modules.

import { equal, ok } from "node:assert/strict";
import { allEnded } from "../machine.ts";
import { BUF, deno, filesIn, Folder, PLUGIN, projectConfig, ROOT, run, testWith } from "./tools.ts";

const MODULES = {
  "github.com/containerd/containerd/api": "v1.8.0",
  "github.com/containerd/ttrpc": "v1.2.8",
};

/** What containerd's API imports, and its Go module does not have. */
const STATUS = `syntax = "proto3";
package google.rpc;
import "google/protobuf/any.proto";
message Status {
  int32 code = 1;
  string message = 2;
  repeated google.protobuf.Any details = 3;
}
`;

const TEMPLATE = {
  version: "v2",
  plugins: [
    {
      local: ["deno", "run", "--allow-all", "npm:@bufbuild/protoc-gen-es@2.17.0"],
      out: "gen",
      strategy: "all",
      opt: ["target=ts", "import_extension=ts"],
    },
    { local: ["deno", "run", "--no-prompt", PLUGIN], out: "gen", strategy: "all" },
  ],
};

/** A program that calls a shim, and what the tests of containerd take generated clients for. */
const PROGRAM = `import { type Client, serve } from "@ttrpc/ttrpc";
import { Task, type TaskClient } from "./gen/github.com/containerd/containerd/api/runtime/task/v2/shim_ttrpc.ts";
import { Status } from "./gen/github.com/containerd/containerd/api/runtime/task/v2/shim_ttrpc.ts";
import { Streaming } from "./gen/integration/streaming/test_ttrpc.ts";
import type { TaskClient as Task3Client } from "./gen/github.com/containerd/containerd/api/runtime/task/v3/shim_ttrpc.ts";
import type { EventsClient } from "./gen/github.com/containerd/containerd/api/services/ttrpc/events/v1/events_ttrpc.ts";
import type * as tested from "TASK";

export const shim = (client: TaskClient): tested.Task => client;
export const shim3 = (client: Task3Client): tested.Task => client;
export const events = (client: EventsClient): tested.Events => client;

export async function start(client: Client): Promise<boolean> {
  const task = client.service(Task);
  await task.create({ id: "a", bundle: "/b", rootfs: [{ type: "bind", source: "/" }] });
  const { pid } = await task.start({ id: "a" });
  const { status } = await task.state({ id: "a" }, { timeoutMs: 1_000 });
  return pid > 0 && status === Status.RUNNING;
}

export const server = (proxied: Client, path: string) =>
  serve({ path }, (router) => {
    router.service(Task, proxied.service(Task));
    router.service(Streaming, {
      ...proxied.service(Streaming),
      echo: ({ seq, msg }) => ({ seq: seq + 1, msg }),
      async sumStream(parts) {
        let sum = 0;
        for await (const { add } of parts) sum += add;
        return { sum };
      },
    });
  });
`;

testWith(
  "go",
  "containerd's whole API and Go's streaming service are generated, and sound",
  async () => {
    using place = new Folder();
    const roots = await allEnded(
      Object.entries(MODULES).map(async ([module, version]) => {
        const args = ["mod", "download", "-json", `${module}@${version}`];
        const { code, stdout, stderr } = await run("go", args, { cwd: place.path });
        equal(code, 0, stderr);
        return JSON.parse(new TextDecoder().decode(stdout)).Dir as string;
      }),
    );
    // The files of the first import each other by the path of their module.
    const api = "protos/github.com/containerd/containerd/api";
    copyProtos(roots[0]!, `${place.path}/${api}`);
    place.write("protos/google/rpc/status.proto", STATUS);
    copyProtos(`${roots[1]}/integration/streaming`, `${place.path}/protos/integration/streaming`);
    place.write("buf.yaml", { version: "v2", modules: [{ path: "protos" }] });
    place.write("buf.gen.yaml", TEMPLATE);
    await deno([...BUF, "generate"], place.path);

    const protos = filesIn(`${place.path}/protos`);
    const written = [...filesIn(`${place.path}/gen`).keys()];
    const expected = [...protos].filter(([, text]) => /^service /m.test(text)).map(([name]) =>
      name.replace(/\.proto$/, "_ttrpc.ts")
    );
    ok(expected.length > 15, `${expected.length} files have services`);
    equal(written.filter((name) => name.endsWith("_ttrpc.ts")).join("\n"), expected.join("\n"));

    place.write("deno.json", await projectConfig());
    place.write("program.ts", PROGRAM.replace("TASK", `file://${ROOT}/tests/containerd/task.ts`));
    await deno(["check", "."], place.path);
    await deno(["lint", ...expected.map((name) => `gen/${name}`)], place.path);
  },
);

function copyProtos(from: string, to: string): void {
  Deno.mkdirSync(to, { recursive: true });
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyProtos(`${from}/${name}`, `${to}/${name}`);
    // What Go keeps may not be written to, nor may a copy of it as a file.
    else if (name.endsWith(".proto")) {
      Deno.writeTextFileSync(`${to}/${name}`, Deno.readTextFileSync(`${from}/${name}`));
    }
  }
}
