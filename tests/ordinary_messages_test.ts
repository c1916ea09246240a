// Messages as real programs send them, which have many parts, pass with the limits as they come.

import {
  create,
  createFileRegistry,
  type DescMessage,
  fromJson,
  type JsonObject,
  type JsonValue,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  StructSchema,
} from "@bufbuild/protobuf/wkt";
import { ok } from "node:assert/strict";
import { DECODE_BYTES, MESSAGE_BYTES, resolveLimits } from "../limits.ts";
import { MessageCost } from "../codecs/message_cost.ts";

const MANY = { label: Label.REPEATED };
const samples = { ...MANY, type: Type.MESSAGE, typeName: ".Sample" };
const object = { label: Label.OPTIONAL, type: Type.MESSAGE, typeName: ".google.protobuf.Struct" };
const structs = StructSchema.file.proto;

const registry = createFileRegistry(
  create(FileDescriptorProtoSchema, {
    name: "ordinary.proto",
    syntax: "proto3",
    dependency: [structs.name],
    messageType: [
      { name: "Histogram", field: [{ name: "counts", number: 1, type: Type.UINT64, ...MANY }] },
      { name: "Series", field: [{ name: "values", number: 1, type: Type.INT32, ...MANY }] },
      { name: "Profile", field: [{ name: "samples", number: 1, ...samples }] },
      {
        name: "Sample",
        field: [
          { name: "location_id", number: 1, type: Type.UINT64, ...MANY },
          { name: "value", number: 2, type: Type.INT64, ...MANY },
        ],
      },
      { name: "Event", field: [{ name: "data", number: 1, ...object }] },
    ],
  }),
  (name) => name === structs.name ? structs : undefined,
);

interface Ordinary {
  schema: DescMessage;
  bytes: Uint8Array;
}

function message(typeName: string, fields: Record<string, unknown>): Ordinary {
  const schema = registry.getMessage(typeName)!;
  return {
    schema,
    bytes: toBinary(schema, create(schema, fields as MessageInitShape<DescMessage>)),
  };
}

function items(count: number, item: (at: number) => JsonValue): JsonObject {
  return { items: Array.from({ length: count }, (_, at) => item(at)) };
}

function struct(object: JsonObject): Ordinary {
  return { schema: StructSchema, bytes: toBinary(StructSchema, fromJson(StructSchema, object)) };
}

function pod(at: number): JsonObject {
  return {
    metadata: {
      name: `pod-${at}`,
      namespace: "default",
      uid: `6f1c2a52-0000-4000-8000-${`${at}`.padStart(12, "0")}`,
      labels: { app: "web", tier: "front", v: "1" },
      ownerReferences: [{ kind: "ReplicaSet", name: "rs", controller: true }],
    },
    spec: {
      containers: [{
        name: "c",
        image: "nginx:1.25",
        ports: [{ containerPort: 80 }],
        resources: { limits: { cpu: "1", memory: "1Gi" } },
        env: [{ name: "A", value: "1" }, { name: "B", value: "2" }],
      }],
      nodeName: "node-1",
    },
    status: { phase: "Running", podIP: "10.0.0.1", ready: true, restarts: 3 },
  };
}

/** The files that protobuf comes with, again and again, as far as a message may be long. */
function fileSet(): Ordinary {
  const schema = FileDescriptorSetSchema;
  const one = { file: [FileDescriptorProtoSchema.file.proto, structs] };
  const part = toBinary(schema, create(schema, one));
  const count = Math.floor(4_050_000 / part.length);
  const bytes = new Uint8Array(count * part.length);
  for (let at = 0; at < bytes.length; at += part.length) bytes.set(part, at);
  return { schema, bytes };
}

const rows = items(5_000, (at) => [at, "ab", true, null]);
const pods = items(1_000, pod);
const numbers = items(100_000, (at) => at / 3);

const ordinary: Record<string, () => Ordinary> = {
  "a Struct of 5,000 rows": () => struct(rows),
  "a Struct of 5,000 rows, in a field": () => message("Event", { data: rows }),
  "a Struct of 1,000 pods": () => struct(pods),
  "a Struct of 1,000 pods, in a field": () => message("Event", { data: pods }),
  "a Struct of 100,000 numbers": () => struct(numbers),
  "a Struct of 100,000 numbers, in a field": () => message("Event", { data: numbers }),
  "a histogram of 60,000 small counts": () =>
    message("Histogram", { counts: Array.from({ length: 60_000 }, (_, at) => BigInt(at % 100)) }),
  "a profile of 5,000 samples": () => {
    const sample = (at: number) => ({
      locationId: Array.from({ length: 20 }, (_, depth) => BigInt((at * depth) % 3_000)),
      value: [1n, 10_000_000n],
    });
    return message("Profile", { samples: Array.from({ length: 5_000 }, (_, at) => sample(at)) });
  },
  "a set of 4 MB of file descriptors": fileSet,
  "a list of 2,000,000 packed numbers": () =>
    message("Series", { values: new Array(2_000_000).fill(5) }),
};

for (const [name, make] of Object.entries(ordinary)) {
  Deno.test(`${name} is decoded with the default limits`, () => {
    const { schema, bytes } = make();
    ok(bytes.length > 50_000 && bytes.length < MESSAGE_BYTES, `${bytes.length} bytes`);
    const most = resolveLimits().decodeFactor * bytes.length + DECODE_BYTES;
    const cost = new MessageCost(schema).count(bytes, most);
    ok(cost <= most, `${cost} of ${most} bytes`);
  });
}
