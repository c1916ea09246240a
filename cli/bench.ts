/**
 * `ttrpc bench`: makes the same call repeatedly, as fast as the server answers.
 *
 * @module
 */

import { formatAddress } from "../address.ts";
import { type Client, RpcError } from "../core.ts";
import { openClient, otherProtocol, readAddress } from "./connection.ts";
import { Exit, exitCodeOf } from "./failure.ts";
import { Histogram } from "./histogram.ts";
import { Input } from "./input.ts";
import { jsonMessages, type MessageOptions, type Messages, rawMessages } from "./messages.ts";
import { type Pair, showTime } from "./options.ts";
import { codeName } from "./printer.ts";
import { Interrupt, type Output, type Painted, type Terminal } from "./terminal.ts";

/** The options of `ttrpc bench`. */
export interface BenchOptions extends MessageOptions {
  /** Calls in flight at any time. */
  readonly concurrency: number;
  /** How long to measure, in milliseconds. */
  readonly duration: number;
  /** Stop after this many calls, instead of after the duration. */
  readonly count?: number;
  /** The number of connections that the calls are spread over. */
  readonly connections: number;
  /** The metadata of each request. */
  readonly metadata?: readonly Pair[];
  /** The timeout of each call, in milliseconds. */
  readonly timeout?: number;
  /** Whether to wait until the server listens. */
  readonly wait?: boolean;
  /** Whether the request is given as bytes, not as JSON. */
  readonly raw?: boolean;
  /** Whether to print JSON. */
  readonly json?: boolean;
}

const PERCENTILES = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999];
const BARS = 10;
const BAR_WIDTH = 40;
const PROGRESS_MS = 200;

/**
 * Measures a method.
 *
 * @param terminal Where to print.
 * @param address The address of the server.
 * @param method The method, such as `pkg.Service/Method`.
 * @param argument The request, `@FILE`, or `-` for stdin.
 * @param options The options of the command.
 * @returns The exit code: that of the most frequent error if no call succeeded.
 */
export async function bench(
  terminal: Terminal,
  address: string,
  method: string,
  argument: string | undefined,
  options: BenchOptions,
): Promise<number> {
  readAddress(address);
  const input = new Input(argument);
  const messages = options.raw
    ? await rawMessages(method, input, undefined, options)
    : await jsonMessages(method, input, options);
  const requests = messages.clientStreaming
    ? await Array.fromAsync(messages.requests())
    : await messages.request();
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  const clients: Client[] = [];
  try {
    for (let i = 0; i < Math.min(options.connections, options.concurrency); i++) {
      const { wait } = options;
      clients.push(await openClient(address, { wait, signal, timeout: options.timeout }));
    }
    const result = new Result();
    const bar = new ProgressBar(terminal.err, options, result);
    await load(clients, messages, requests, options, signal, result);
    bar.end();
    await report(terminal, address, messages.path, result, options);
    return result.exitCode;
  } finally {
    for (const client of clients) client.close();
  }
}

/** The latencies and errors that were measured. */
class Result {
  readonly times = new Histogram();
  readonly errors = new Map<number, { count: number; error: RpcError }>();
  readonly start: number = performance.now();
  #end: number | undefined;

  /** How long the measurement has taken so far, in milliseconds. */
  get ms(): number {
    return (this.#end ?? performance.now()) - this.start;
  }

  /** The number of failed calls. */
  get failed(): number {
    return Array.from(this.errors.values()).reduce((sum, { count }) => sum + count, 0);
  }

  get exitCode(): number {
    const [most] = Array.from(this.errors).toSorted(([, a], [, b]) => b.count - a.count);
    return most && this.times.count === 0 ? exitCodeOf(most[0]) : Exit.ok;
  }

  fail(error: RpcError): void {
    const known = this.errors.get(error.code);
    if (known) known.count++;
    else this.errors.set(error.code, { count: 1, error });
  }

  end(): void {
    this.#end = performance.now();
  }
}

/** Keeps `options.concurrency` calls in flight until the duration or the count is reached. */
async function load(
  clients: readonly Client[],
  messages: Messages,
  request: Uint8Array | Uint8Array[],
  options: BenchOptions,
  signal: AbortSignal,
  result: Result,
): Promise<void> {
  const { metadata, timeout: timeoutMs, count = Infinity } = options;
  const callOptions = { metadata, timeoutMs };
  const [service, method] = messages.name;
  const end = result.start + (options.count === undefined ? options.duration : Infinity);
  let started = 0;
  const over = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => over.resolve());
  // Calls that are still in flight then are not counted, so a call that hangs cannot block the end.
  const timer = end === Infinity ? undefined : setTimeout(over.resolve, options.duration);
  let running = true;
  const run = async (client: Client) => {
    while (running && started < count) {
      started++;
      const start = performance.now();
      try {
        if (messages.serverStreaming) {
          const stream = client.streamRaw(service, method, request, callOptions);
          while (!(await stream.next()).done);
        } else await client.callRaw(service, method, request, callOptions);
        if (running) result.times.add(performance.now() - start);
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        if (!running) return;
        result.fail(error);
        // The client does not reconnect: further calls would only count the same error.
        if (client.stats().connections === 0) return;
      }
    }
  };
  const runs = Array.from(
    { length: options.concurrency },
    (_, at) => run(clients[at % clients.length]!),
  );
  await Promise.race([over.promise, Promise.all(runs)]);
  running = false;
  result.end();
  clearTimeout(timer);
}

/** Shows the progress on a terminal. */
class ProgressBar {
  readonly #err: Output;
  readonly #timer: ReturnType<typeof setInterval> | undefined;

  constructor(err: Output, options: BenchOptions, result: Result) {
    this.#err = err;
    if (!err.isTerminal) return;
    this.#timer = setInterval(() => {
      const calls = result.times.count + result.failed;
      const done = options.count === undefined
        ? result.ms / options.duration
        : calls / options.count;
      const filled = Math.min(BAR_WIDTH, Math.floor(done * BAR_WIDTH));
      const bar = "=".repeat(filled).padEnd(BAR_WIDTH);
      const rate = Math.round(calls / result.ms * 1e3);
      err.show`\r[${err.paint("green", bar)}] ${calls} calls, ${rate} calls/s\x1b[K`;
    }, PROGRESS_MS);
  }

  end(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#err.show`\r\x1b[K`;
  }
}

async function report(
  { out, err }: Terminal,
  address: string,
  path: string,
  result: Result,
  options: BenchOptions,
): Promise<void> {
  const { times, errors, ms } = result;
  const { fastest, mean, slowest } = times.summary;
  const perSecond = times.count / ms * 1e3;
  if (options.json) {
    const round = (value: number) => Math.round(value * 1e3) / 1e3;
    out.json({
      method: path,
      concurrency: options.concurrency,
      connections: options.connections,
      seconds: round(ms / 1e3),
      calls: times.count,
      callsPerSecond: round(perSecond),
      errors: Object.fromEntries(
        Array.from(errors, ([code, { count }]) => [codeName(code), count]),
      ),
      ms: {
        fastest: round(fastest),
        mean: round(mean),
        slowest: round(slowest),
        ...Object.fromEntries(PERCENTILES.map((p) => [label(p), round(times.quantile(p))])),
      },
      histogram: times.bars(BARS).map(({ upTo, count }) => ({ upTo: round(upTo), count })),
    });
  } else {
    const row = (name: string, ...value: (string | Painted)[]) => {
      out.show`${name.padEnd(13)} `;
      for (const part of value) out.show`${part}`;
      out.line``;
    };
    row("method", path);
    row("in flight", `${options.concurrency} on ${options.connections} connections`);
    row("time", showTime(ms));
    row("succeeded", `${times.count} calls, ${perSecond.toFixed(1)} calls/s`);
    for (const [code, { count, error }] of errors) {
      row("failed", `${count} `, out.paint("red", codeName(code)), `: ${error.rawMessage}`);
    }
    if (times.count > 0) {
      const three = [["fastest", fastest], ["mean", mean], ["slowest", slowest]] as const;
      row("latency", three.map(([name, time]) => `${name} ${showTime(time)}`).join(", "));
      const all = PERCENTILES.map((p) => `${label(p)} ${showTime(times.quantile(p))}`);
      row("percentiles", all.join(", "));
      const bars = times.bars(BARS);
      const most = Math.max(...bars.map(({ count }) => count));
      for (const { upTo, count } of bars) {
        const bar = "#".repeat(Math.ceil(count / most * BAR_WIDTH));
        out.line`${`<= ${showTime(upTo)}`.padStart(13)} ${bar.padEnd(BAR_WIDTH)} ${count}`;
      }
    }
  }
  if (times.count > 0) return;
  const [first] = errors.values();
  const other = first && await otherProtocol(address, first.error);
  if (other === undefined) return;
  err.line`${formatAddress(readAddress(address))} is ${other}, which does not speak ttrpc`;
}

function label(share: number): string {
  return `p${Math.round(share * 1e3) / 10}`;
}
