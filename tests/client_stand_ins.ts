/** What stands for a client and its server, in tests of calls and of connections alone. */

import { type CallSettings, takeOptions } from "../engine/call_options.ts";
import { type CallRequest, ClientCall, type ClientKeeper } from "../engine/client_call.ts";
import { ClientConnection } from "../engine/client_connection.ts";
import { encodeResponse, type Response } from "../wire/envelope.ts";
import { type Frame, FrameFlag, FrameType } from "../framing.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import { type Limits, resolveLimits } from "../limits.ts";
import type { MethodKind } from "../engine/method.ts";
import { Tally } from "../stats.ts";
import type { Status } from "../status.ts";
import { frameBytes, ScriptedConnection } from "./scripted_connection.ts";
import { NotedDeadlines } from "./server_stand_ins.ts";
import { FakeTimers, methodOf, settle } from "./stand_ins.ts";

/** A client's calls. */
export class TestKeeper implements ClientKeeper {
  readonly deadlines = new NotedDeadlines();
  readonly tally = new Tally();
  readonly waiting = new Set<ClientCall>();
}

/** A call that is not sent yet. */
export function clientCall(
  kind: MethodKind = "unary",
  settings: Partial<CallSettings> = {},
  request: Partial<CallRequest> = {},
  keeper: ClientKeeper = new TestKeeper(),
): ClientCall {
  const all = { ...takeOptions(undefined, undefined), ...settings };
  const nothing = { payload: new Uint8Array(0), metadata: undefined, messages: undefined };
  return new ClientCall(methodOf(kind), all, { ...nothing, ...request }, keeper);
}

/** A Response frame. */
export function responseBytes(streamId: number, response: Partial<Response> = {}): Uint8Array {
  const data = encodeResponse({ status: undefined, payload: new Uint8Array(0), ...response });
  return frameBytes({ streamId, type: FrameType.Response, data });
}

/** The Data frame that ends a stream without a message. */
export function lastBytes(streamId: number): Uint8Array {
  return frameBytes({ streamId, flags: FrameFlag.RemoteClosed | FrameFlag.NoData });
}

/** Frames without what a test does not look at. */
export function outline(frames: readonly Frame[]): [id: number, type: number, flags: number][] {
  return frames.map(({ streamId, type, flags }) => [streamId, type, flags]);
}

/** A client's side of a connection, whose server is the test. */
export class TestClientConnection {
  readonly conn = new ScriptedConnection();
  readonly timers = new FakeTimers();
  readonly keeper = new TestKeeper();
  /** The calls for which there was no id. */
  readonly exhausted: ClientCall[] = [];
  /** What it ended with. */
  readonly ends: (Status | undefined)[] = [];
  readonly client: ClientConnection;
  readonly running: Promise<void>;

  constructor(
    options: { name?: string | undefined; limits?: Partial<Limits>; firstId?: number } = {},
  ) {
    this.client = new ClientConnection({
      conn: this.conn,
      name: "server.sock",
      firstId: undefined,
      ...options,
      limits: resolveLimits(options.limits),
      timers: this.timers,
      held: new HeldBytes(Infinity),
      deadlines: this.keeper.deadlines,
      extension: { keepalive: undefined },
      onExhausted: (call) => void this.exhausted.push(call),
      onEnd: (failure) => void this.ends.push(failure),
    });
    this.running = this.client.connection.run();
  }

  /** Starts a call. */
  open(
    kind: MethodKind = "unary",
    settings: Partial<CallSettings> = {},
    request: Partial<CallRequest> = {},
  ): ClientCall {
    const call = clientCall(kind, settings, request, this.keeper);
    this.client.open(call);
    return call;
  }

  /** Lets the server send something. */
  async receive(...parts: Uint8Array[]): Promise<void> {
    this.conn.feed(...parts);
    await settle();
  }

  /** The frames that the server has got so far. */
  async frames(): Promise<Frame[]> {
    await settle();
    return this.conn.frames();
  }
}
