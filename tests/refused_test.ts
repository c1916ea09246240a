// A server's interceptors see every call, also those that it refuses.

import {
  type InterceptedRequest,
  type Interceptor,
  Metadata,
  RpcError,
  type ServeOptions,
} from "@ttrpc/ttrpc";
import { type LogEntry, logger } from "@ttrpc/ttrpc/logger";
import { deepEqual, equal, ok } from "node:assert/strict";
import { FrameFlag, FrameType } from "../framing.ts";
import { Code } from "../status.ts";
import { handlersThat } from "./kinds.ts";
import { Place, type Transport, TRANSPORTS } from "./place.ts";
import { answer, RawPeer } from "./raw_peer.ts";
import { until } from "./wait.ts";

const SERVICE = "ttrpc.test.v1.TestService";

/** A call that is refused: how it is sent, how it is answered, and what interceptors see. */
interface Refusal {
  send(peer: RawPeer): Promise<void>;
  code: Code;
  message: RegExp;
  path: string;
  kind: string;
  /** Whether calls in flight have taken all there is, or the server is being shut down. */
  while?: "full" | "draining";
  /** Whether its messages may follow: they do, of a method that may take many. */
  streams?: false;
}

const metadata = new Metadata({ user: "ada" });
const bad = new Uint8Array([0xff]);

const REFUSALS: Readonly<Record<string, Refusal>> = {
  "of an unknown service": {
    send: (peer) => peer.request(5, { service: "no.Such", method: "Do", metadata }),
    code: Code.UNIMPLEMENTED,
    message: /^service no\.Such$/,
    path: "no.Such/Do",
    kind: "unary",
  },
  "of an unknown method": {
    send: (peer) => peer.request(5, { method: "Do", metadata }),
    code: Code.UNIMPLEMENTED,
    message: /^method Do$/,
    path: `${SERVICE}/Do`,
    kind: "unary",
  },
  "whose envelope cannot be decoded": {
    send: (peer) => peer.send({ streamId: 5, data: bad }),
    code: Code.INVALID_ARGUMENT,
    message: /^unmarshal request error: /,
    path: "/",
    kind: "unary",
  },
  "whose message cannot be decoded": {
    send: (peer) => peer.request(5, { method: "Echo", payload: bad, metadata }),
    code: Code.INTERNAL,
    message: /unmarshalling payload/,
    path: `${SERVICE}/Echo`,
    kind: "unary",
    streams: false,
  },
  "whose message for a stream cannot be decoded": {
    send: (peer) => peer.request(5, { method: "Count", payload: bad, metadata }),
    code: Code.INTERNAL,
    message: /unmarshalling payload/,
    path: `${SERVICE}/Count`,
    kind: "server_streaming",
    streams: false,
  },
  "over the limit of a message": {
    send: (peer) => peer.request(5, { method: "Echo", payload: new Uint8Array(2_000) }),
    code: Code.RESOURCE_EXHAUSTED,
    message: /2\d\d\d.*1000/,
    path: "/",
    kind: "unary",
  },
  "over the limit of concurrent calls": {
    send: (peer) => peer.request(5, { method: "Sum", metadata }),
    code: Code.RESOURCE_EXHAUSTED,
    message: /2 calls in flight/,
    path: `${SERVICE}/Sum`,
    kind: "client_streaming",
    while: "full",
  },
  "of a server that is being shut down": {
    send: (peer) => peer.request(5, { method: "Nothing", metadata }),
    code: Code.UNAVAILABLE,
    message: /^server is shutting down$/,
    path: `${SERVICE}/Nothing`,
    kind: "unary",
    while: "draining",
  },
  "of an unknown method of a server that is being shut down": {
    send: (peer) => peer.request(5, { method: "Do", metadata }),
    code: Code.UNAVAILABLE,
    message: /^server is shutting down$/,
    path: `${SERVICE}/Do`,
    kind: "unary",
    while: "draining",
  },
};

/** A server that refuses, with these interceptors, and a peer of it. */
async function refusing(transport: Transport, refusal: Refusal, interceptors: Interceptor[]) {
  const gate = Promise.withResolvers<void>();
  const place = new Place(transport);
  const limits = { messageBytes: 1_000, concurrentCalls: 2 };
  const settings: ServeOptions = { limits, interceptors };
  const server = await place.serve(handlersThat(() => gate.promise), settings);
  const peer = new RawPeer(await place.open() as Deno.Conn);
  if (refusal.while) {
    for (const streamId of [1, 3]) await peer.request(streamId, { method: "Echo" });
    await until(() => server.stats().callsInFlight === 2);
  }
  const down = refusal.while === "draining" ? server.shutdown() : undefined;
  return {
    place,
    server,
    peer,
    async [Symbol.asyncDispose]() {
      gate.resolve();
      if (refusal.while) { for (let i = 0; i < 2; i++) deepEqual((await answer(peer))[1], 0); }
      peer[Symbol.dispose]();
      await down;
      await place[Symbol.asyncDispose]();
    },
  };
}

/** Whether a request has no message, and would have one if it were not refused. */
function isRefused({ message }: InterceptedRequest): boolean {
  return message === undefined || Array.isArray(message) && message.length === 0;
}

/** Proves that the peer was sent nothing else: the next answer is that of another call. */
async function nothingElse(peer: RawPeer, server: { stats(): { callsStarted: number } }) {
  const before = server.stats().callsStarted;
  await peer.request(21, { method: "Missing" });
  deepEqual((await answer(peer))[0], 21);
  equal(server.stats().callsStarted, before + 1);
}

for (const transport of TRANSPORTS) {
  for (const [which, refusal] of Object.entries(REFUSALS)) {
    const { send, code, message, path, kind } = refusal;

    Deno.test(`interceptors see a call ${which} once, with its code, over ${transport}`, async () => {
      const seen: [InterceptedRequest, RpcError][] = [];
      const log: LogEntry[] = [];
      const watching: Interceptor = (next) => async (request) => {
        try {
          return await next(request);
        } catch (error) {
          seen.push([request, error as RpcError]);
          throw error;
        }
      };
      await using bed = await refusing(transport, refusal, [
        logger((entry) => void log.push(entry)),
        watching,
      ]);
      const { peer, server } = bed;
      const { callsStarted } = server.stats();
      await send(peer);
      const told = await answer(peer);
      deepEqual(told.slice(0, 2), [5, code]);
      ok(message.test(told[2]), told[2]);
      equal(seen.length, 1);
      const [request, error] = seen[0]!;
      ok(error instanceof RpcError);
      deepEqual([error.code, error.rawMessage], [code, told[2]]);
      const { method } = request;
      deepEqual([method.path, method.kind, request.kind], [path, kind, kind]);
      deepEqual([method.service, method.name], path.split("/"));
      if (request.kind !== "client_streaming") equal(request.message, undefined);
      else deepEqual(await Array.fromAsync(request.message), []);
      equal(request.metadata.get("user"), path === "/" ? undefined : "ada");
      ok(request.context);
      deepEqual(log.map((entry) => [entry.method, entry.kind, entry.code, entry.error?.code]), [
        [path, kind, code, code],
      ]);
      equal(server.stats().callsStarted, callsStarted + 1);
      deepEqual(server.stats().callsFailed, { [Code[code]!]: 1 });
      deepEqual(bed.place.errors, []);
      if (!refusal.while) await nothingElse(peer, server);
    });

    Deno.test(`an interceptor may answer another error to a call ${which}, over ${transport}`, async () => {
      const first: Interceptor = (next) => (request) => {
        if (!isRefused(request)) return next(request);
        throw new RpcError(Code.PERMISSION_DENIED, "who are you?");
      };
      const after: Interceptor = (next) => async (request) => {
        try {
          return await next(request);
        } catch (cause) {
          throw new RpcError(Code.PERMISSION_DENIED, "who are you?", { cause });
        }
      };
      for (const interceptor of [first, after]) {
        await using bed = await refusing(transport, refusal, [interceptor]);
        await send(bed.peer);
        deepEqual(await answer(bed.peer), [5, Code.PERMISSION_DENIED, "who are you?"]);
        deepEqual(bed.server.stats().callsFailed, { PERMISSION_DENIED: 1 });
      }
    });

    Deno.test(`a slow interceptor of a call ${which} delays its answer only, over ${transport}`, async () => {
      const gate = Promise.withResolvers<void>();
      let waiting = 0;
      const slow: Interceptor = (next) => async (request) => {
        if (isRefused(request) && waiting++ === 0) await gate.promise;
        return await next(request);
      };
      await using bed = await refusing(transport, refusal, [slow]);
      const { peer, server } = bed;
      await send(peer);
      await until(() => waiting === 1);
      if (refusal.streams ?? true) {
        // What follows a refused Request is no call of its own.
        for (const flags of [0, FrameFlag.RemoteClosed, FrameFlag.NoData]) {
          await peer.send({ streamId: 5, type: FrameType.Data, flags, data: new Uint8Array(9) });
        }
        await peer.send({ streamId: 5, type: FrameType.Data, data: new Uint8Array(2_000) });
      }
      await peer.request(7, { method: "Missing" });
      equal((await answer(peer))[0], 7);
      if (!refusal.while) {
        await peer.request(9, { method: "Nothing" });
        deepEqual(await answer(peer), [9, 0, ""]);
      }
      gate.resolve();
      deepEqual((await answer(peer)).slice(0, 2), [5, code]);
      equal(server.stats().callsInFlight, refusal.while ? 2 : 0);
      if (!refusal.while) await nothingElse(peer, server);
    });
  }
}
