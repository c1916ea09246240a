// deno run --allow-net=unix:/run/containerd/containerd.sock.ttrpc --allow-read=/run/containerd/containerd.sock.ttrpc --allow-write=/run/containerd/containerd.sock.ttrpc examples/containerd_events.ts unix:///run/containerd/containerd.sock.ttrpc
//
// A client of containerd: publishes an event, as shims do when they have started a container.
// `ctr events` shows it, if it has been started before. It takes the right to write to the socket.

import { connect } from "@ttrpc/ttrpc";
import { create, toBinary } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { TaskStartSchema } from "../gen/containerd/events/task_pb.ts";
import { Events } from "../gen/containerd/services/events/ttrpc/v1/events_ttrpc.ts";

const [address = "unix:///run/containerd/containerd.sock.ttrpc"] = Deno.args;

const task = create(TaskStartSchema, { containerId: "an-example", pid: Deno.pid });
// This is none of containerd's own topics, so that nothing acts on the event.
const topic = "/example/started";

await using client = await connect(address, { connectTimeoutMs: 5_000 });
const events = client.service(Events, { timeoutMs: 5_000 });
await events.forward({
  envelope: {
    timestamp: timestampNow(),
    namespace: "example",
    topic,
    // What anyPack() makes has "type.googleapis.com/" before the name, which containerd does not
    // look for.
    event: { typeUrl: TaskStartSchema.typeName, value: toBinary(TaskStartSchema, task) },
  },
});
console.log(`published ${topic}`);
