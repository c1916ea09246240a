/**
 * `ttrpc replay`: sends the calls of a recording again, and compares how they end.
 *
 * @module
 */

import { formatAddress, type ParsedAddress } from "../address.ts";
import { encodeFrame, type Frame, FrameDecoder, FrameType } from "../framing.ts";
import { MESSAGE_BYTES_MAX } from "../limits.ts";
import { type CallEvent, Calls } from "./calls.ts";
import { type ByteStream, dialBytes, readAddress } from "./connection.ts";
import { Exit, exitCodeOf, Failure, messageOf } from "./failure.ts";
import { codeName, decoderOf, Printer } from "./printer.ts";
import { readRecording } from "./record.ts";
import type { SchemaOptions } from "./schema.ts";
import { Interrupt, type Terminal } from "./terminal.ts";

const PATIENCE_MS = 30_000;

/** The options of `ttrpc replay`. */
export interface ReplayOptions extends SchemaOptions {
  /** Whether to print lines of JSON. */
  readonly json?: boolean;
  /** Whether to keep the pauses of the recording. */
  readonly timed?: boolean;
  /** How long to wait for each answer, in milliseconds. */
  readonly timeout?: number;
  /** Whether to print fields that have their default values. */
  readonly emitDefaults?: boolean;
}

/**
 * Replays a recording.
 *
 * A frame that was sent after an answer is sent again only after that answer has come again.
 *
 * @param terminal Where to print.
 * @param file The recording.
 * @param target The address of the server.
 * @param options The options of the command.
 * @returns The exit code: 1 if a call did not end as recorded.
 */
export async function replay(
  terminal: Terminal,
  file: string,
  target: string,
  options: ReplayOptions,
): Promise<number> {
  const address = readAddress(target);
  const recorded = await readRecording(file);
  const printer = new Printer(terminal.out, options.json === true, await decoderOf(options));
  const before = new Outcomes();
  const now = new Outcomes();
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  const connections = new Map<number, Replayed>();
  const start = performance.now();
  const past = new Map<number, Calls>();
  try {
    for (const line of recorded) {
      const { connection: number, from, frame, ms } = line;
      if (options.timed) await pause(start + ms - performance.now(), signal);
      signal.throwIfAborted();
      let connection = connections.get(number);
      if (!connection) {
        connection = await connectAgain(number, address, (event) => {
          now.event(event);
          printer.event(event);
        });
        connections.set(number, connection);
        past.set(number, new Calls(number, (event) => before.event(event)));
      }
      if (!frame) {
        connection.close();
        continue;
      }
      past.get(number)!.frame(from!, frame.streamId, frame.type, frame.flags, frame.data);
      if (from === "client") await connection.send(frame);
      else await connection.answered(frame, options.timeout ?? PATIENCE_MS, signal);
      await terminal.out.ready();
    }
  } finally {
    for (const connection of connections.values()) connection.close();
  }
  return await summary(terminal, before, now);
}

async function connectAgain(
  number: number,
  address: ParsedAddress,
  tell: (event: CallEvent) => void,
): Promise<Replayed> {
  let conn: ByteStream;
  try {
    conn = await dialBytes(address);
  } catch (error) {
    const reason = messageOf(error).replace(/ \(os error \d+\)/, "");
    throw new Failure(
      `Cannot connect to ${formatAddress(address)}: ${reason}; is the server running?`,
      exitCodeOf(14),
    );
  }
  return new Replayed(conn, new Calls(number, tell));
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
}

/** A connection on which a recorded one is replayed. */
class Replayed {
  readonly #conn: ByteStream;
  readonly #calls: Calls;
  // By stream: how many frames have come, and how many should have come by now.
  readonly #came = new Map<number, number>();
  readonly #expected = new Map<number, number>();
  readonly #over = new Set<number>();
  #lost = false;
  #closed = false;
  #changed = Promise.withResolvers<void>();

  constructor(conn: ByteStream, calls: Calls) {
    this.#conn = conn;
    this.#calls = calls;
    void this.#read();
  }

  /** Sends a frame, unless the connection is lost. */
  async send(frame: Frame): Promise<void> {
    const { streamId, type, flags, data } = frame;
    // A stream that has ended early takes nothing more.
    if (type === FrameType.Request) this.#over.delete(streamId);
    if (this.#lost || this.#over.has(streamId)) return;
    this.#calls.frame("client", streamId, type, flags, data);
    if (type === FrameType.Cancel) this.#over.add(streamId);
    try {
      let bytes = encodeFrame(frame);
      while (bytes.length > 0) bytes = bytes.subarray(await this.#conn.write(bytes));
    } catch {
      this.#lost = true;
    }
  }

  /** Waits for an answer like a recorded one, for the end of its stream, or for the timeout. */
  async answered({ streamId }: Frame, ms: number, signal: AbortSignal): Promise<void> {
    const expected = (this.#expected.get(streamId) ?? 0) + 1;
    this.#expected.set(streamId, expected);
    const end = performance.now() + ms;
    while (!this.#lost && !this.#over.has(streamId)) {
      if ((this.#came.get(streamId) ?? 0) >= expected || signal.aborted) return;
      const left = end - performance.now();
      if (left <= 0) {
        this.#over.add(streamId); // do not wait for this stream again
        return;
      }
      const waiting = new AbortController();
      const any = AbortSignal.any([signal, waiting.signal]);
      await Promise.race([this.#changed.promise, pause(left, any)]);
      waiting.abort();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#conn.close();
  }

  /** Never rejects. */
  async #read(): Promise<void> {
    const decoder = new FrameDecoder(MESSAGE_BYTES_MAX);
    try {
      for (;;) {
        const length = await this.#conn.read(decoder.space());
        if (length === null) break;
        decoder.push(length, {
          frame: (streamId, type, flags, data) => {
            this.#came.set(streamId, (this.#came.get(streamId) ?? 0) + 1);
            if (type === FrameType.Response || (flags & 1) !== 0) this.#over.add(streamId);
            this.#calls.frame("server", streamId, type, flags, data);
          },
          oversized: () => {},
        });
        this.#wake();
      }
    } catch {
      // The summary shows the calls that have no answer.
    }
    this.#lost = true;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

interface Outcome {
  method: string;
  status: string | undefined;
  messages: string[];
}

/** The statuses and messages of calls. */
class Outcomes {
  readonly calls = new Map<string, Outcome>();

  event(event: CallEvent): void {
    const key = `${event.connection}:${event.stream}`;
    if (event.event === "request") {
      const { method = "" } = event;
      this.calls.set(key, { method, status: undefined, messages: [] });
    }
    const call = this.calls.get(key);
    if (!call) return;
    if (event.event === "message" && event.from === "server") {
      call.messages.push(event.payload.toBase64());
    }
    if (event.event !== "end" || call.status !== undefined) return;
    if (event.payload) call.messages.push(event.payload.toBase64());
    call.status = codeName(event.code) + (event.message === "" ? "" : `: ${event.message}`);
  }
}

async function summary(
  { out, err }: Terminal,
  before: Outcomes,
  now: Outcomes,
): Promise<number> {
  let other = 0;
  let different = 0;
  for (const [key, { method, status, messages }] of before.calls) {
    const again = now.calls.get(key);
    // A call that has no end in the recording cannot be compared.
    if (status === undefined) continue;
    if (again?.status !== status) {
      different++;
      const then = again?.status ?? "no answer";
      out.line`${out.paint("red", `${key} ${method}: recorded ${status}, now ${then}`)}`;
    } else if (again.messages.join() !== messages.join()) other++;
  }
  await out.flushed(); // the summary goes to stderr, and comes last
  const total = before.calls.size;
  const messages = other === 0 ? "" : `, ${other} of these with other messages`;
  const calls = `${total} ${total === 1 ? "call" : "calls"}`;
  const same = `${total - different} ended as recorded${messages}`;
  err.line`${calls} replayed: ${same}, ${different} differently`;
  return different === 0 ? Exit.ok : Exit.failed;
}
