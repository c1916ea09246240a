// What proto/containerd/ has of containerd's interface is as containerd's own files have it.

import {
  createFileRegistry,
  type DescEnum,
  type DescMessage,
  type DescService,
  fromBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { deepEqual, ok } from "node:assert/strict";
import { file_containerd_events_task } from "../../gen/containerd/events/task_pb.ts";
import { file_containerd_services_events_ttrpc_v1_events } from "../../gen/containerd/services/events/ttrpc/v1/events_pb.ts";
import { file_containerd_task_v2_shim } from "../../gen/containerd/task/v2/shim_pb.ts";
import { file_containerd_types_event } from "../../gen/containerd/types/event_pb.ts";
import { file_containerd_v1_types_task } from "../../gen/containerd/v1/types/task_pb.ts";
import { isFile, missingProgram, testUnless } from "../machine.ts";
import { API_IMAGE, event } from "./task.ts";

const FILES = [
  file_containerd_events_task,
  file_containerd_services_events_ttrpc_v1_events,
  file_containerd_task_v2_shim,
  file_containerd_types_event,
  file_containerd_v1_types_task,
];

/** Lines for what is on the wire. */
function wireForm(type: DescService | DescMessage | DescEnum): string[] {
  switch (type.kind) {
    case "service":
      return type.methods.map(({ name, methodKind, input, output }) =>
        `${name} ${methodKind} ${input.typeName} ${output.typeName}`
      );
    case "message":
      return type.fields.map(({ name, number, fieldKind, proto }) =>
        `${name} ${number} ${fieldKind} ${proto.label} ${proto.type} ${proto.typeName}`
      );
    case "enum":
      return type.values.map(({ name, number }) => `${name} ${number}`);
  }
}

testUnless(
  isFile(API_IMAGE) ? undefined : missingProgram("go"),
  "containerd: names, numbers and types in proto/containerd/ are those of its own files",
  async () => {
    await event("containerd.events.TaskStart", {}); // makes the image, if it is not there
    const theirs = createFileRegistry(
      fromBinary(FileDescriptorSetSchema, await Deno.readFile(API_IMAGE)),
    );
    const names = new Set<string>();
    for (const { enums, messages, services } of FILES) {
      for (const ours of [...enums, ...messages, ...services]) {
        const their = theirs.get(ours.typeName);
        ok(their && their.kind !== "extension", ours.typeName);
        const lines = new Set(wireForm(their));
        deepEqual(wireForm(ours).filter((line) => !lines.has(line)), [], ours.typeName);
        names.add(ours.typeName);
      }
    }
    ok(names.has("containerd.task.v2.Task") && names.has("containerd.v1.types.Status"));

    // examples/shim.ts takes version 3 for version 2 under another name.
    for (const ours of [...file_containerd_task_v2_shim.messages]) {
      const their = theirs.getMessage(ours.typeName.replace(".v2.", ".v3."));
      deepEqual(wireForm(ours).filter((line) => !wireForm(their!).includes(line)), []);
    }
  },
);
