/**
 * `ttrpc call`: makes one call, unary or streaming.
 *
 * @module
 */

import { formatAddress } from "../address.ts";
import { type CallOptions, Code, type MethodKind, RpcError } from "../core.ts";
import { callFailure, openClient, readAddress } from "./connection.ts";
import { Failure } from "./failure.ts";
import { Input } from "./input.ts";
import type { Pair } from "./options.ts";
import { showBytes, showTime } from "./options.ts";
import { jsonMessages, type MessageOptions, type Messages, rawMessages } from "./messages.ts";
import { Interrupt, type Terminal } from "./terminal.ts";

/** The options of `ttrpc call`. */
export interface CallCommandOptions extends MessageOptions {
  /** The metadata of the request. */
  readonly metadata?: readonly Pair[];
  /** The timeout of the call, in milliseconds. */
  readonly timeout?: number;
  /** Whether to wait until the server listens. */
  readonly wait?: boolean;
  /** Whether messages are given and printed as bytes, not as JSON. */
  readonly raw?: boolean;
  /** The kind of method, for raw calls without a schema. */
  readonly kind?: MethodKind;
  /** Whether to print sizes and times to stderr. */
  readonly verbose?: boolean;
}

/**
 * Calls a method.
 *
 * @param terminal Where to print.
 * @param address The address of the server.
 * @param method The method, such as `pkg.Service/Method`.
 * @param argument The request, `@FILE`, or `-` for stdin.
 * @param options The options of the command.
 * @throws {Failure} If there is no connection, or the call fails.
 */
export async function call(
  terminal: Terminal,
  address: string,
  method: string,
  argument: string | undefined,
  options: CallCommandOptions,
): Promise<void> {
  const name = formatAddress(readAddress(address));
  const input = new Input(argument);
  const messages = options.raw
    ? await rawMessages(method, input, options.kind, options)
    : await jsonMessages(method, input, options);
  const trace = new Trace(terminal, options.verbose === true);
  const { timeout, wait, metadata = [] } = options;
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  // A request that cannot be encoded fails before a connection is made.
  const single = messages.clientStreaming ? undefined : await messages.request();

  const deadline = performance.now() + (timeout ?? Infinity);
  await using client = await openClient(address, { timeout, wait, signal });
  trace.connected(messages.path, name, metadata);
  const timeoutMs = timeout === undefined
    ? undefined
    : wait
    ? Math.max(1, Math.ceil(deadline - performance.now())) // waiting for the server counts
    : timeout;
  const callOptions: CallOptions = { metadata, timeoutMs, signal };

  const requests = new Requests(messages, trace);
  const request = single ?? requests;
  if (single) trace.sent(single);
  const show = async (bytes: Uint8Array) => {
    trace.received(bytes);
    messages.show(bytes, terminal.out);
    await terminal.out.ready();
  };
  try {
    const [service, method] = messages.name;
    if (messages.serverStreaming) {
      for await (const bytes of client.streamRaw(service, method, request, callOptions)) {
        await show(bytes);
      }
    } else await show(await client.callRaw(service, method, request, callOptions));
    trace.ended(Code.OK);
  } catch (error) {
    if (requests.failure) throw requests.failure;
    if (!(error instanceof RpcError)) throw error;
    trace.ended(error.code);
    throw await callFailure(address, error, messages.details(error));
  }
}

/** The requests of a stream. One that is not valid ends the call. */
class Requests implements AsyncIterable<Uint8Array> {
  readonly #messages: Messages;
  readonly #trace: Trace;
  #failure: Failure | undefined;

  constructor(messages: Messages, trace: Trace) {
    this.#messages = messages;
    this.#trace = trace;
  }

  /** Why a request was not valid. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for await (const bytes of this.#messages.requests()) {
        this.#trace.sent(bytes);
        yield bytes;
      }
    } catch (error) {
      if (error instanceof Failure) this.#failure = error;
      throw error;
    }
  }
}

/** Prints what `--verbose` shows. */
class Trace {
  readonly #terminal: Terminal;
  readonly #on: boolean;
  readonly #start = performance.now();
  #connected = 0;
  #sent = 0;
  #received = 0;

  constructor(terminal: Terminal, on: boolean) {
    this.#terminal = terminal;
    this.#on = on;
  }

  connected(path: string, name: string, metadata: readonly Pair[]): void {
    this.#connected = performance.now();
    this.#tell(`> ${path} at ${name} (connected in ${showTime(this.#connected - this.#start)})`);
    for (const [key, value] of metadata) this.#tell(`> ${key}: ${value}`);
  }

  sent(bytes: Uint8Array): void {
    this.#sent++;
    this.#tell(`> message ${this.#sent}, ${showBytes(bytes.length)}`);
  }

  received(bytes: Uint8Array): void {
    this.#received++;
    this.#tell(`< message ${this.#received}, ${showBytes(bytes.length)}`);
  }

  ended(code: number): void {
    const time = showTime(performance.now() - this.#connected);
    this.#tell(`< ${Code[code] ?? `CODE_${code}`} after ${time}`);
  }

  #tell(line: string): void {
    const { err } = this.#terminal;
    if (this.#on) err.line`${err.paint("dim", line)}`;
  }
}
