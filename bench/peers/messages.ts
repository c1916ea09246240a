import { fromBinary } from "@bufbuild/protobuf";
import {
  type CreateTaskRequest,
  CreateTaskRequestSchema,
  type Payload,
} from "../gen/ttrpc/bench/v1/bench_pb.ts";
import type { Plan } from "../workloads.ts";
import { payloadOf } from "./peer.ts";

/** The realistic message of a plan. */
export function realisticOf({ message }: Plan): CreateTaskRequest {
  const bytes = message.match(/../g)!.map((hex) => Number.parseInt(hex, 16));
  return fromBinary(CreateTaskRequestSchema, Uint8Array.from(bytes));
}

/** The messages of one stream, made as they are read. */
export async function* payloads(plan: Plan): AsyncGenerator<{ payload: Uint8Array }> {
  const payload = payloadOf(plan);
  for (let i = 0; i < plan.perStream; i++) yield { payload };
}

/** The messages of a server stream. */
export async function* produced(
  { count, bytes }: { count: number; bytes: number },
): AsyncGenerator<{ payload: Uint8Array }> {
  const payload = payloadOf({ bytes });
  for (let i = 0; i < count; i++) yield { payload };
}

/** Counts the messages of a client stream. */
export async function collected(requests: AsyncIterable<Payload>): Promise<{ count: number }> {
  let count = 0;
  for await (const _ of requests) count++;
  return { count };
}

/** Sends back each message. */
export async function* echoed(
  requests: AsyncIterable<Payload>,
): AsyncGenerator<{ payload: Uint8Array }> {
  for await (const { payload } of requests) yield { payload };
}

/** A stream that stays open without a message. */
export function none(): AsyncIterable<never> {
  return { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) };
}
