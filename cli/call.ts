/**
 * `ttrpc call`: one call of any kind.
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
  /** What travels beside the request. */
  readonly metadata?: readonly Pair[];
  /** How long it may take, in milliseconds. */
  readonly timeout?: number;
  /** Whether to wait for the socket. */
  readonly wait?: boolean;
  /** Whether messages are bytes. */
  readonly raw?: boolean;
  /** The kind of method, which raw calls without a schema cannot know. */
  readonly kind?: MethodKind;
  /** Whether to tell about sizes and times. */
  readonly verbose?: boolean;
}

/**
 * Calls a method.
 *
 * @param terminal Where to print.
 * @param address The server's.
 * @param method Such as `pkg.Service/Method`.
 * @param argument The request, or where it is.
 * @param options How.
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
  // What cannot be sent is found out before anybody is called.
  const single = messages.clientStreaming ? undefined : await messages.request();

  const deadline = performance.now() + (timeout ?? Infinity);
  await using client = await openClient(address, { timeout, wait, signal });
  trace.connected(messages.path, name, metadata);
  const timeoutMs = timeout === undefined
    ? undefined
    : wait
    ? Math.max(1, Math.ceil(deadline - performance.now())) // the wait was part of it
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

/** The requests of a stream, as they come. What is wrong with one ends the call. */
class Requests implements AsyncIterable<Uint8Array> {
  readonly #messages: Messages;
  readonly #trace: Trace;
  #failure: Failure | undefined;

  constructor(messages: Messages, trace: Trace) {
    this.#messages = messages;
    this.#trace = trace;
  }

  /** What was wrong. */
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

/** What `--verbose` tells. */
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
