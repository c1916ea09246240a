/** A connection without a socket, and what its tests share. */

import { Connection, type Role } from "../engine/connection.ts";
import type { Frame } from "../framing.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import { type Limits, resolveLimits } from "../limits.ts";
import { Code, type Status } from "../status.ts";
import { NotedDeadlines } from "./server_stand_ins.ts";
import { ScriptedConnection } from "./scripted_connection.ts";
import { FakeTimers, TestStream } from "./stand_ins.ts";

export const LINGER_MS = 1_000;
export const ENDED: Status = { code: Code.CANCELLED, message: "the connection has ended" };
export const OVER: Status = { code: Code.UNAVAILABLE, message: "over" };

/** A connection with a role that notes what it is told. */
export class Bed implements Role {
  readonly conn = new ScriptedConnection();
  readonly timers = new FakeTimers();
  readonly deadlines = new NotedDeadlines();
  readonly connection: Connection<TestStream>;
  readonly accepts: boolean;
  readonly begins = false;
  readonly frames: Frame[] = [];
  readonly tooLong: [streamId: number, type: number, flags: number, length: number][] = [];
  readonly ends: (Status | undefined)[] = [];
  inputs = 0;
  onFrame: (frame: Frame) => void = () => {};
  onEndOfInput: () => Promise<Status> = () => Promise.resolve(OVER);

  constructor({ accepts = false, name = "unix:///x", limits = {} }: {
    accepts?: boolean;
    name?: string | undefined;
    limits?: Partial<Limits>;
  } = {}) {
    this.accepts = accepts;
    const owner = {
      limits: resolveLimits(limits),
      timers: this.timers,
      held: new HeldBytes(Infinity),
      deadlines: this.deadlines,
      extension: { keepalive: undefined },
    };
    this.connection = new Connection(this.conn, name || undefined, owner, this);
  }

  frame(streamId: number, type: number, flags: number, data: Uint8Array): void {
    const frame = { streamId, type, flags, data };
    this.frames.push(frame);
    this.onFrame(frame);
  }

  oversized(streamId: number, type: number, flags: number, length: number): void {
    this.tooLong.push([streamId, type, flags, length]);
  }

  admits(): boolean {
    return true;
  }

  turned(): void {}

  overtaken(): void {}

  endOfInput(): Promise<Status> {
    this.inputs++;
    return this.onEndOfInput();
  }

  ended(failure: Status | undefined): void {
    this.ends.push(failure);
  }

  /** Adds a call. */
  call(id: number): TestStream {
    const call = new TestStream("client");
    call.attach(this.connection);
    call.open(id);
    this.connection.streams.set(id, call);
    return call;
  }

  /** Gives frames to the calls they are for. */
  deliver(): this {
    this.onFrame = ({ streamId, flags, data }) =>
      void this.connection.streams.get(streamId)?.data(flags, data);
    return this;
  }

  /** Sends so many bytes. */
  send(length: number): void {
    const { queue } = this.connection;
    queue.writer.bytes(new Uint8Array(length));
    queue.send(length);
  }

  /** How often something was called on the socket. */
  called(name: string): number {
    return this.conn.called.filter((called) => called === name).length;
  }
}
