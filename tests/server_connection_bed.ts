/** A server's side of one connection without a socket, and what its tests share. */

import { concat } from "@std/bytes/concat";
import { equal } from "node:assert/strict";
import { bytesCodec } from "../codec.ts";
import { decodeResponse, type Request } from "../wire/envelope.ts";
import { type Frame, FrameFlag, FrameType } from "../framing.ts";
import type { Interceptor } from "../interceptor.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import type { ExtensionSettings } from "../engine/keepalive.ts";
import { type Limits, resolveLimits } from "../limits.ts";
import { Router } from "../engine/router.ts";
import type { ServerCall } from "../engine/server_call.ts";
import { ServerConnection, type ServerHost } from "../engine/server_connection.ts";
import type { ServiceDescriptor, ServiceHandlers } from "../service.ts";
import { Tally } from "../stats.ts";
import { requestData } from "./raw_peer.ts";
import { frameBytes, ScriptedConnection } from "./scripted_connection.ts";
import { NotedDeadlines } from "./server_stand_ins.ts";
import { FakeTimers, settle } from "./stand_ins.ts";

const codecs = { input: bytesCodec, output: bytesCodec };

export const Svc = {
  typeName: "pkg.Svc",
  method: {
    get: { name: "Get", methodKind: "unary", ...codecs },
    list: { name: "List", methodKind: "server_streaming", ...codecs },
    sum: { name: "Sum", methodKind: "client_streaming", ...codecs },
    chat: { name: "Chat", methodKind: "bidi_streaming", ...codecs },
  },
} as const satisfies ServiceDescriptor;

export type Handlers = ServiceHandlers<typeof Svc>;

const handlers: Handlers = {
  get: (bytes) => bytes,
  list: (bytes) => [bytes, bytes],
  async sum(messages) {
    let sum = 0;
    for await (const [value] of messages) sum += value!;
    return new Uint8Array([sum]);
  },
  async *chat(messages) {
    yield* messages;
  },
};

export const LAST = FrameFlag.RemoteClosed;
export const OPEN = FrameFlag.RemoteOpen;
export const EMPTY = FrameFlag.NoData;
export const PROBE_MS = 1_000;
export const LAST_WORDS_MS = 250;
export const NEVER = () => new Promise<never>(() => {});

/** A connection of a server that serves nothing else. */
export class Bed implements ServerHost {
  readonly conn = new ScriptedConnection();
  readonly timers = new FakeTimers();
  readonly deadlines = new NotedDeadlines();
  readonly tally = new Tally();
  readonly limits: Readonly<Limits>;
  readonly held: HeldBytes;
  readonly extension: ExtensionSettings = { keepalive: undefined };
  readonly router: Router;
  readonly connection: ServerConnection;
  readonly reading: Promise<void>;
  running = 0;
  telling = 0;
  readonly reported: [error: unknown, method: string | undefined][] = [];
  disconnections = 0;

  constructor(own: Partial<Handlers> = {}, { limits = {}, interceptors }: {
    limits?: Partial<Limits>;
    interceptors?: Interceptor[];
  } = {}) {
    this.limits = resolveLimits(limits);
    this.held = new HeldBytes(this.limits.serverHeldBytes);
    this.router = new Router(interceptors).service(Svc, { ...handlers, ...own });
    this.connection = new ServerConnection(this.conn, "unix:///s", this);
    this.reading = this.connection.connection.run();
  }

  report(error: unknown, method?: string): void {
    this.reported.push([error, method]);
  }

  /** Which connection is to end, if it is not the one. */
  expected: ServerConnection | undefined;

  disconnected(connection: ServerConnection): void {
    if (this.expected) return equal(connection, this.expected);
    equal(connection, this.connection);
    this.disconnections++;
  }

  get streams(): ReadonlyMap<number, ServerCall> {
    return this.connection.connection.streams;
  }

  /** A Request comes. */
  async request(streamId: number, request: Partial<Request> = {}, flags = 0): Promise<void> {
    const data = requestData({ service: "pkg.Svc", method: "Get", ...request });
    await this.send({ streamId, type: FrameType.Request, flags, data });
  }

  /** A message comes. */
  async data(streamId: number, flags: number, ...bytes: number[]): Promise<void> {
    await this.send({ streamId, flags, data: new Uint8Array(bytes) });
  }

  async send(...frames: (Partial<Frame> | Uint8Array)[]): Promise<void> {
    const bytes = frames.map((frame) => frame instanceof Uint8Array ? frame : frameBytes(frame));
    this.conn.feed(concat(bytes)); // with one read
    await settle();
  }

  /** What was answered since the last time. */
  answers(): unknown[] {
    const answers = this.conn.frames().map(({ streamId, type, flags, data }) => {
      if (type === FrameType.Data) return [streamId, "data", flags, ...data];
      equal(type, FrameType.Response);
      equal(flags, 0);
      const { status, payload } = decodeResponse(data);
      return status ? [streamId, status.code, status.message] : [streamId, ...payload];
    });
    this.conn.sink.writes.length = 0;
    return answers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.connection.connection.close();
    await this.reading;
    equal(this.disconnections, 1);
    equal(this.timers.running, 0);
    equal(this.tally.stats([]).callsInFlight, 0);
  }
}

/** A server whose interceptors wait with refused calls. */
export function waiting(limits: Partial<Limits> = {}) {
  const waits: PromiseWithResolvers<void>[] = [];
  const interceptors: Interceptor[] = [(next) => async (request) => {
    const wait = Promise.withResolvers<void>();
    waits.push(wait);
    await wait.promise;
    return next(request);
  }];
  return { bed: new Bed({}, { interceptors, limits }), waits };
}
