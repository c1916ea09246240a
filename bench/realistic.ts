import { create, toBinary } from "@bufbuild/protobuf";
import { CreateTaskRequestSchema } from "./gen/ttrpc/bench/v1/bench_pb.ts";

const ID = "5ba1b3c89a4f06e9b7d2f0c3e1d4a5b6";
const STATE = `/run/containerd/io.containerd.runtime.v2.task/k8s.io/${ID}`;
const LAYERS = "/var/lib/containerd/snapshots";

/**
 * The request of containerd to a shim to create a container on an overlay of two layers. All
 * contenders get it encoded, and decode it with their own generated code.
 */
export const realistic: Uint8Array = toBinary(
  CreateTaskRequestSchema,
  create(CreateTaskRequestSchema, {
    id: ID,
    bundle: STATE,
    rootfs: [{
      type: "overlay",
      source: "overlay",
      target: `${STATE}/rootfs`,
      options: [
        "index=off",
        `workdir=${LAYERS}/42/work`,
        `upperdir=${LAYERS}/42/fs`,
        `lowerdir=${LAYERS}/41/fs:${LAYERS}/7/fs`,
      ],
    }],
    stdout: "binary:///usr/bin/nerdctl?_NERDCTL_INTERNAL_LOGGING",
    options: {
      typeUrl: "containerd.runc.v1.Options",
      value: new TextEncoder().encode("\x3a\x04runc\x48\x01"),
    },
    annotations: {
      "io.kubernetes.cri.container-type": "container",
      "io.kubernetes.cri.sandbox-name": "web-0",
      "io.kubernetes.cri.sandbox-namespace": "shop",
    },
  }),
);

/** The same in hexadecimal, for the command line of the peers. */
export const realisticHex: string = realistic.toHex();
