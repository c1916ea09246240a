/**
 * `ttrpc tap`: forwards connections from clients to a server, and prints their calls.
 *
 * @module
 */

import { formatAddress, type ParsedAddress, type UnixAddress } from "../address.ts";
import { FrameDecoder, type FrameSink } from "../framing.ts";
import { listen, listenLater } from "../net/listen.ts";
import { MESSAGE_BYTES_MAX } from "../limits.ts";
import { Calls, type Side } from "./calls.ts";
import { type ByteStream, dialBytes, readAddress } from "./connection.ts";
import { Failure, isBrokenPipe, messageOf } from "./failure.ts";
import { Lookout } from "./lookout.ts";
import { decoderOf, Printer } from "./printer.ts";
import { Recording } from "./record.ts";
import type { SchemaOptions } from "./schema.ts";
import { Interrupt, Output, type Terminal } from "./terminal.ts";

/** The options of `ttrpc tap`. */
export interface TapOptions extends SchemaOptions {
  /** Whether to print lines of JSON. */
  readonly json?: boolean;
  /** A file to record to. */
  readonly record?: string;
  /** Whether to print fields that have their default values. */
  readonly emitDefaults?: boolean;
}

/**
 * Taps until it is interrupted.
 *
 * @param terminal Where to print.
 * @param listenAt The address to listen on.
 * @param target The address of the server.
 * @param options The options of the command.
 * @throws {Failure} If it cannot listen, or its output cannot be written.
 */
export async function tap(
  terminal: Terminal,
  listenAt: string,
  target: string,
  options: TapOptions,
): Promise<void> {
  const here = readAddress(listenAt);
  const there = readAddress(target);
  const decoder = await decoderOf(options);
  const out = new Output(Deno.stdout);
  const printer = new Printer(out, options.json === true, decoder);
  using interrupt = new Interrupt();
  await using recording = options.record === undefined
    ? undefined
    : await Recording.create(options.record);
  const listener = await startListening(here);
  const stopped = Promise.withResolvers<void>();
  const stop = () => stopped.resolve();
  interrupt.signal.addEventListener("abort", stop);
  const lookout = new Lookout();
  const outputs = recording ? [out, recording] : [out];
  const ready = async () => {
    try {
      for (const output of outputs) await output.ready();
    } catch (error) {
      // The reader has closed the output, or the disk is full: without output, tap is of no use.
      const failure = new Failure(
        `Cannot write the output: ${messageOf(error)}; free disk space, and start tap again`,
      );
      stopped.reject(isBrokenPipe(error) ? error : failure);
    }
  };
  const busy = () => outputs.some((output) => output.busy);
  terminal.err.line`tapping ${formatAddress(here)}, which leads to ${formatAddress(there)}`;
  const taps = new Set<Tap>();
  let connections = 0;
  const accepting = (async () => {
    for await (const conn of listener as AsyncIterable<ByteStream>) {
      const tap = new Tap(++connections, conn, { printer, recording, lookout, busy, ready });
      taps.add(tap);
      void tap.run(there).finally(() => taps.delete(tap));
    }
  })();
  try {
    await Promise.race([stopped.promise, accepting]);
  } finally {
    listener.close();
    for (const tap of taps) tap.close();
    await accepting.catch(() => {});
  }
  lookout.now();
  await out.flushed();
}

async function startListening(
  address: ParsedAddress,
): Promise<NonNullable<ReturnType<typeof listen>>> {
  try {
    return listen(address, 0o600) ?? await listenLater(address as Required<UnixAddress>, 0o600);
  } catch (error) {
    throw new Failure(
      `${messageOf(error).replace(/ \(os error \d+\)/, "")}; choose another address`,
    );
  }
}

interface Observers {
  readonly printer: Printer;
  readonly recording: Recording | undefined;
  readonly lookout: Lookout;
  /** Whether too much output is waiting to be written. */
  busy(): boolean;
  /** Waits while too much output is waiting to be written. Never rejects. */
  ready(): Promise<void>;
}

/** How long a failed connection may forward nothing before it is closed, in milliseconds. */
const LINGER_MS = 1_000;

/** One tapped connection. */
class Tap {
  readonly #number: number;
  readonly #client: ByteStream;
  readonly #observers: Observers;
  readonly #calls: Calls;
  #server: ByteStream | undefined;
  #closed = false;
  #error = "";
  #passed = 0; // bytes forwarded, in both directions
  #ending: ReturnType<typeof setInterval> | undefined;

  constructor(number: number, client: ByteStream, observers: Observers) {
    this.#number = number;
    this.#client = client;
    this.#observers = observers;
    this.#calls = new Calls(number, (event) => observers.printer.event(event));
  }

  /** Connects to the server, and forwards until both sides are done. Never rejects. */
  async run(target: ParsedAddress): Promise<void> {
    const { printer, recording, lookout } = this.#observers;
    const connection = this.#number;
    lookout.later(
      0,
      () => printer.note(`${connection}: connected`, { connection, event: "connected" }),
    );
    try {
      const server = this.#server = await dialBytes(target);
      await Promise.all([
        this.#pump("client", this.#client, server),
        this.#pump("server", server, this.#client),
      ]);
    } catch (reason) {
      this.#fail(`cannot connect to ${formatAddress(target)}: `, reason);
    }
    this.close();
    const at = performance.now();
    const error = this.#error;
    lookout.later(0, () => {
      recording?.closed(connection, at);
      const open = this.#calls.open;
      const left = open === 0 ? "" : `, ${open} ${open === 1 ? "call" : "calls"} in flight`;
      const why = error === "" ? "" : `: ${error}`;
      const fields = { connection, event: "closed", inFlight: open, ...error ? { error } : {} };
      printer.note(`${connection}: closed${left}${why}`, fields);
    });
  }

  /** Closes both ends. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#ending);
    for (const conn of [this.#client, this.#server]) {
      try {
        conn?.close();
      } catch {
        // It is closed already.
      }
    }
  }

  /** Notes the first failure. The connection is closed once no more bytes are forwarded. */
  #fail(what: string, reason: unknown): void {
    if (this.#closed || this.#error !== "") return;
    this.#error = what + messageOf(reason).replace(/ \(os error \d+\)/, "");
    let passed = this.#passed;
    this.#ending = setInterval(() => {
      if (this.#passed === passed) this.close();
      passed = this.#passed;
    }, LINGER_MS);
  }

  /**
   * Forwards what one side sends, and then its half-close. A failure ends this direction only,
   * since there may be answers in the other one. Never rejects.
   */
  async #pump(from: Side, source: ByteStream, destination: ByteStream): Promise<void> {
    try {
      await this.#copy(from, source, destination);
    } catch (reason) {
      this.#fail("", reason);
    }
    try {
      await destination.closeWrite();
    } catch {
      // The destination is gone.
    }
  }

  async #copy(from: Side, source: ByteStream, destination: ByteStream): Promise<void> {
    const { busy, ready } = this.#observers;
    const look = this.#observer(from);
    let spare: Uint8Array<ArrayBuffer> | undefined;
    let writable = true;
    for (;;) {
      const space = look.space() ?? (spare ??= new Uint8Array(1 << 15));
      const length = await source.read(space);
      if (length === null) return;
      // Keep reading: closing with unread bytes resets the connection, and the source would lose
      // answers that it has not read yet.
      if (!writable) continue;
      try {
        // Deno writes at the end of this turn of the event loop, so nothing else is done in it.
        await writeAll(destination, space.subarray(0, length));
      } catch (reason) {
        this.#fail("", reason);
        writable = false;
        continue;
      }
      this.#passed += length;
      look.push(length);
      if (busy()) await ready();
    }
  }

  /** Decodes the bytes of one direction, as long as they are ttrpc. */
  #observer(from: Side): { space(): Uint8Array<ArrayBuffer> | undefined; push(n: number): void } {
    const { printer, recording, lookout } = this.#observers;
    const connection = this.#number;
    // Longer than any frame can be: the peers decide which messages are too long.
    const decoder = new FrameDecoder(MESSAGE_BYTES_MAX);
    let readable = true;
    const sink: FrameSink = {
      frame: (streamId, type, flags, data) => {
        const at = performance.now();
        lookout.later(data.length, () => {
          recording?.frame(connection, from, { streamId, type, flags, data }, at);
          this.#calls.frame(from, streamId, type, flags, data, at);
        });
      },
      oversized: () => {},
    };
    return {
      space: () => readable ? decoder.space() : undefined,
      push: (length) => {
        if (!readable) return;
        try {
          decoder.push(length, sink);
        } catch {
          readable = false;
          const error = `the ${from} does not speak ttrpc; its bytes are forwarded, not decoded`;
          const fields = { connection, event: "strange", from, error };
          lookout.later(0, () => printer.note(`${connection}: ${error}`, fields));
        }
      },
    };
  }
}

async function writeAll(conn: ByteStream, bytes: Uint8Array): Promise<void> {
  while (bytes.length > 0) bytes = bytes.subarray(await conn.write(bytes));
}
