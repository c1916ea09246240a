/** What stands for the neighbours of one part of the engine, in tests of that part alone. */

import { Backlog } from "../engine/backlog.ts";
import { bytesCodec } from "../codec.ts";
import { type Frame, FrameDecoder } from "../framing.ts";
import { HeldBytes } from "../engine/held_bytes.ts";
import { type Limits, resolveLimits } from "../limits.ts";
import { Method, type MethodKind } from "../engine/method.ts";
import { Code, type Status } from "../status.ts";
import { Stream, type StreamHost } from "../engine/stream.ts";
import { type Timer, Timers, turn } from "../async/timer.ts";
import { type ByteSink, WriteQueue } from "../engine/write_queue.ts";

export const KINDS = ["unary", "server_streaming", "client_streaming", "bidi_streaming"] as const;

/** A method of bytes. */
export function methodOf(kind: MethodKind): Method {
  return new Method("pkg.Svc", {
    name: "Do",
    methodKind: kind,
    input: bytesCodec,
    output: bytesCodec,
  });
}

/** Lets everything run that waits for nothing but its turn. */
export async function settle(): Promise<void> {
  for (let turns = 0; turns < 3; turns++) await turn(); // a part may take some itself
  await new Promise((resolve) => setImmediate(resolve));
}

/** Whether a promise has settled, once everything has run that can. */
export async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const done = () => void (settled = true);
  promise.then(done, done);
  await settle();
  return settled;
}

/** The frames that some bytes are. */
export function framesOf(chunks: readonly Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder();
  for (let chunk of chunks) {
    while (chunk.length > 0) {
      const space = decoder.space();
      const part = chunk.subarray(0, space.length);
      space.set(part);
      decoder.push(part.length, {
        frame: (streamId, type, flags, data) => void frames.push({ streamId, type, flags, data }),
        oversized: () => {
          throw new Error("a frame is too long");
        },
      });
      chunk = chunk.subarray(part.length);
    }
  }
  if (decoder.partial) throw new Error("the bytes end inside a frame");
  return frames;
}

/** Takes bytes as a socket does; as one that is full while it is held. */
export class Sink implements ByteSink {
  readonly writes: Uint8Array[] = [];
  #held: PromiseWithResolvers<void> | undefined;

  hold(): void {
    this.#held = Promise.withResolvers();
  }

  resume(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  async write(bytes: Uint8Array): Promise<number> {
    await this.#held?.promise;
    this.writes.push(bytes.slice());
    return bytes.length;
  }
}

/** The connection of streams. */
export class Host implements StreamHost {
  readonly limits: Readonly<Limits>;
  readonly cancels: boolean = true;
  readonly sink = new Sink();
  readonly queue: WriteQueue;
  readonly backlog: Backlog<Stream>;
  readonly held = new HeldBytes(Infinity, new HeldBytes(1 << 30));
  readonly forgotten: Stream[] = [];

  constructor(limits?: Partial<Limits>) {
    this.limits = resolveLimits(limits);
    this.backlog = new Backlog(this.limits, this.held);
    this.queue = new WriteQueue(this.sink, (cause) => {
      throw cause;
    });
  }

  forget(stream: Stream): void {
    this.forgotten.push(stream);
  }

  /** What was sent so far. */
  async frames(): Promise<Frame[]> {
    await this.queue.flushed();
    return framesOf(this.sink.writes);
  }

  /** Fills the write queue, until the sink is resumed. */
  congest(): void {
    this.sink.hold();
    this.queue.writer.bytes(new Uint8Array(1 << 18));
    this.queue.send(1 << 18);
  }
}

export const LOST: Status = { code: Code.UNAVAILABLE, message: "lost" };

/** A stream that notes what it is told. */
export class TestStream extends Stream {
  /** Every end that it was told of. */
  readonly ends: Status[] = [];
  /** How often it was told that it holds up others. */
  overruns = 0;
  /** How often it was told that nobody takes more. */
  releases = 0;

  constructor(role: "client" | "server", kind: MethodKind = "bidi_streaming") {
    super(role, methodOf(kind), Infinity);
  }

  expire(): void {
    this.end({ code: Code.DEADLINE_EXCEEDED, message: "" });
  }

  release(): void {
    this.releases++;
    this.ignore();
  }

  overrun(): void {
    this.overruns++;
    if (this.status) this.lose(LOST);
    else this.abandon(LOST);
  }

  protected ended(status: Status): void {
    this.ends.push(status);
  }
}

interface FakeTimer {
  due: number;
  readonly every: number | undefined;
  readonly callback: () => void;
}

/** Timers whose time passes when a test says so. */
export class FakeTimers extends Timers {
  readonly #timers = new Set<FakeTimer>();
  #now = 0;

  /** How many were started and have neither fired nor been stopped. */
  get running(): number {
    return this.#timers.size;
  }

  override start(ms: number, callback: () => void): Timer {
    return this.#add({ due: this.#now + ms, every: undefined, callback });
  }

  override repeat(ms: number, callback: () => void): Timer {
    return this.#add({ due: this.#now + ms, every: ms, callback });
  }

  #add(timer: FakeTimer): Timer {
    if (timer.due !== Infinity) this.#timers.add(timer);
    return { stop: () => void this.#timers.delete(timer) };
  }

  /** Lets time pass, and then everything run that waits for nothing more. */
  async pass(ms: number): Promise<void> {
    await settle();
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.due - b.due);
      if (!next || next.due > end) break;
      this.#now = next.due;
      if (next.every === undefined) this.#timers.delete(next);
      else next.due += next.every;
      next.callback();
      await settle();
    }
    this.#now = end;
  }
}
