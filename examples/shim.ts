// deno run --allow-net=unix:/run/containerd/s/0a1b --allow-read=/run/containerd/s/0a1b --allow-write=/run/containerd/s/0a1b examples/shim.ts unix:///run/containerd/s/0a1b default ID
//
// A client of the shim of a running container, in the namespace `default`, with the id ID: prints
// how the container is doing, and each of its processes.
//
// The address is in /run/containerd/io.containerd.runtime.v2.task/NAMESPACE/ID, in the file
// `address`. Since containerd 2 that is `bootstrap.json`, which has the version of the service, too:
// if that is 3, give it as the last argument.

import { connect } from "@ttrpc/ttrpc";
import { Status, Task } from "../gen/containerd/task/v2/shim_ttrpc.ts";

const [address, namespace, id, version = "2"] = Deno.args;
if (address === undefined || namespace === undefined || id === undefined) {
  console.error("usage: shim.ts ADDRESS NAMESPACE ID [VERSION]");
  Deno.exit(2);
}

await using client = await connect(address, { connectTimeoutMs: 5_000 });
// What is called here is the same in both versions, but for the name of the service.
const service: typeof Task = { ...Task, typeName: `containerd.task.v${version}.Task` };
const task = client.service(service, {
  timeoutMs: 5_000,
  metadata: { "containerd-namespace-ttrpc": namespace },
});

const { bundle, pid, status } = await task.state({ id });
console.log(`${id} is ${Status[status]}, its first process is ${pid}, its bundle is ${bundle}`);

const { processes } = await task.pids({ id });
for (const { pid } of processes) console.log(`process ${pid}`);
