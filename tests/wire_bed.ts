/** One side under test, and the test in the role of the other, frame by frame. */

import { type Client, connect, type ConnectOptions, type RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok } from "node:assert/strict";
import { type Frame, FrameType } from "../framing.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import type { ServeOptions } from "../server.ts";
import { decodeRequest, type Request } from "../wire/envelope.ts";
import { SocketFolder, TestBed, type TestHandlers } from "./fixture.ts";
import { answer, RawPeer, RawServer, requestData } from "./raw_peer.ts";
import type { TestClient } from "./kinds.ts";

/** What both roles have: the test's end of the connection. */
abstract class WireBed implements AsyncDisposable {
  readonly peer: RawPeer;
  readonly #parts: AsyncDisposableStack;

  constructor(peer: RawPeer, parts: AsyncDisposableStack) {
    this.peer = peer;
    this.#parts = parts;
  }

  /** Checks that these frames come next. */
  async expect(...frames: Frame[]): Promise<void> {
    for (const frame of frames) deepEqual(await this.peer.receive(), frame);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}

/** A client of the test service, and the test in the role of its server. */
export class ClientWire extends WireBed {
  readonly client: Client;
  readonly service: TestClient;
  readonly path: string;
  /** What the client's `onClose` heard. */
  readonly closed: readonly (RpcError | undefined)[];

  private constructor(
    client: Client,
    peer: RawPeer,
    path: string,
    closed: ClientWire["closed"],
    parts: AsyncDisposableStack,
  ) {
    super(peer, parts);
    this.client = client;
    this.service = client.service(TestService);
    this.path = path;
    this.closed = closed;
  }

  static async open(options: ConnectOptions = {}): Promise<ClientWire> {
    await using parts = new AsyncDisposableStack();
    const { path } = parts.use(new SocketFolder());
    const server = parts.use(new RawServer(path));
    const closed: (RpcError | undefined)[] = [];
    const onClose = (error?: RpcError) => void closed.push(error);
    const [client, peer] = await Promise.all([
      connect({ path }, { onClose, ...options }),
      server.accept(),
    ]);
    parts.use(peer);
    parts.use(client);
    return new ClientWire(client, peer, path, closed, parts.move());
  }

  /** The next frame, which is a Request. */
  async nextRequest(): Promise<Frame & Request> {
    const frame = await this.peer.receive();
    ok(frame, "the connection has ended");
    equal(frame.type, FrameType.Request);
    return { ...frame, ...decodeRequest(frame.data) };
  }

  /** Checks that the next frame gives a call up. */
  async expectCancel(streamId: number): Promise<void> {
    const { data: _why, ...frame } = (await this.peer.receive())!;
    deepEqual(frame, { streamId, type: FrameType.Cancel, flags: 0 });
  }
}

/** A server of the test service, and the test in the role of a client of it. */
export class ServerWire extends WireBed {
  readonly bed: TestBed;

  private constructor(bed: TestBed, peer: RawPeer, parts: AsyncDisposableStack) {
    super(peer, parts);
    this.bed = bed;
  }

  static async open(
    handlers: Partial<TestHandlers> = {},
    settings: ServeOptions = {},
  ): Promise<ServerWire> {
    await using parts = new AsyncDisposableStack();
    const bed = parts.use(new TestBed(handlers, settings));
    const peer = parts.use(await RawPeer.connect(bed.path));
    return new ServerWire(bed, peer, parts.move());
  }

  /** Calls a method with such flags, as a client does that opens a stream. */
  async openStream(
    streamId: number,
    method: string,
    flags: number,
    payload: number[] = [],
  ): Promise<void> {
    const data = requestData({ method, payload: new Uint8Array(payload) });
    await this.peer.send({ streamId, flags, data });
  }
}

/** Calls a method as a well-behaved client does, to show that the connection is in order. */
export async function works(peer: RawPeer, streamId: number): Promise<void> {
  await peer.request(streamId, {});
  deepEqual(await answer(peer), [streamId, 0, ""]);
}

/** The text "x" as the test service's messages have it. */
export const X = [18, 1, 120];
