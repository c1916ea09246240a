// The service that containerd's ttrpc tests its streams with: one method of each kind, and more.

import { Code, RpcError, type ServiceHandlers } from "@ttrpc/ttrpc";
import type {
  EchoPayload,
  Streaming,
} from "../../gen/ttrpc/integration/streaming/streaming_ttrpc.ts";

/** The only text that EchoNull and EchoNullStream take. */
export const NULL_TEXT = "non-empty empty";

/** How often EchoNullStream answers each message. */
export const NULLS_PER_MESSAGE = 10;

/** Behaves as the service in containerd's own tests does. */
export const streamingHandlers: ServiceHandlers<typeof Streaming> = {
  echo: ({ seq, msg }) => ({ seq: seq + 1, msg }),

  async *echoStream(payloads) {
    for await (const { seq, msg } of payloads) yield { seq: seq + 1, msg };
  },

  async sumStream(parts) {
    const total = { sum: 0, num: 0 };
    for await (const { add } of parts) {
      total.sum += add;
      total.num++;
    }
    return total;
  },

  *divideStream({ sum, num }) {
    for (let i = 0; i < num; i++) {
      // The first and the last part are empty messages; the one before the last makes up the sum.
      const add = i === 0 || i === num - 1 ? 0 : i === num - 2 ? sum : 1000 - 77 * i;
      sum -= add;
      yield { add };
    }
  },

  async echoNull(payloads) {
    let next = 0;
    for await (const payload of payloads) expectNull(payload, next++);
    return {};
  },

  async *echoNullStream(payloads) {
    let next = 0;
    for await (const payload of payloads) {
      expectNull(payload, next++);
      for (let i = 0; i < NULLS_PER_MESSAGE; i++) yield {};
    }
  },

  *emptyPayloadStream() {
    yield { seq: 1 };
    yield { seq: 2 };
  },
};

function expectNull({ seq, msg }: EchoPayload, next: number): void {
  if (seq === next && msg === NULL_TEXT) return;
  throw new RpcError(Code.INVALID_ARGUMENT, `expected message ${next}, got ${seq}, "${msg}"`);
}
