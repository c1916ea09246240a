/**
 * `ttrpc serve`: a mock server that answers with the replies in a file.
 *
 * @module
 */

import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { formatAddress } from "../address.ts";
import {
  bytesCodec,
  Code,
  type HandlerContext,
  type MessageStream,
  RpcError,
  serve as listen,
  type ServiceDescriptor,
  type ServiceHandlers,
} from "../core.ts";
import { fits, readReplies, type Reply, toError } from "./canned.ts";
import { readAddress } from "./connection.ts";
import { Failure, messageOf } from "./failure.ts";
import type { Json } from "./input.ts";
import { JsonFormat } from "./json.ts";
import { showTime } from "./options.ts";
import { codeName } from "./printer.ts";
import { needSchema, pathOf, type SchemaOptions, servicesOf } from "./schema.ts";
import { Interrupt, type Terminal } from "./terminal.ts";

/** The options of `ttrpc serve`. */
export interface ServeCommandOptions extends SchemaOptions {
  /** The file with the replies. */
  readonly responses: string;
}

const GRACE_MS = 5_000;

/**
 * Serves until it is interrupted.
 *
 * @param terminal Where to print.
 * @param address The address to listen on.
 * @param options The schema and the replies.
 * @throws {Failure} If it cannot listen, or the schema or the replies are not valid.
 */
export async function serve(
  terminal: Terminal,
  address: string,
  options: ServeCommandOptions,
): Promise<void> {
  const { err } = terminal;
  const here = readAddress(address);
  const schema = await needSchema(options, "Cannot serve");
  // With default values, so that a "when" can match them: {"when": {"id": ""}}.
  const format = new JsonFormat(schema.registry, true);
  const replies = await readReplies(
    options.responses,
    schema,
    new JsonFormat(schema.registry),
  );
  const services = new Set([
    ...servicesOf(schema),
    ...Array.from(replies.keys(), (path) => schema.registry.getService(path.split("/")[0]!)!),
  ]);
  using interrupt = new Interrupt();
  const failed = Promise.withResolvers<never>();
  let server;
  try {
    server = listen({
      address: here,
      onListen: () =>
        err.line`serving on ${formatAddress(here)}; answers come from ${options.responses}`,
      onError: () => {}, // an error that ends the server rejects `finished`
    }, (router) => {
      for (const service of services) {
        const [descriptor, handlers] = mock(service, replies, format, options.responses, terminal);
        router.service(descriptor, handlers);
      }
    });
    server.finished.catch(failed.reject);
    const stopped = Promise.withResolvers<void>();
    interrupt.signal.addEventListener("abort", () => stopped.resolve());
    await Promise.race([stopped.promise, failed.promise, server.finished]);
    await server.shutdown({ timeoutMs: GRACE_MS });
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(
      `${messageOf(error).replace(/ \(os error \d+\)/, "")}; choose another address`,
    );
  }
}

/** A service whose methods answer with the replies in the file. */
function mock(
  service: DescService,
  replies: ReadonlyMap<string, readonly Reply[]>,
  format: JsonFormat,
  file: string,
  terminal: Terminal,
): [ServiceDescriptor, ServiceHandlers<ServiceDescriptor>] {
  const methods: Record<string, ServiceDescriptor["method"][string]> = {};
  const handlers: Record<string, unknown> = {};
  for (const method of service.methods) {
    const { name, methodKind, localName } = method;
    methods[localName] = { name, methodKind, input: bytesCodec, output: bytesCodec };
    const canned = new Canned(method, replies.get(pathOf(method)) ?? [], format, file, terminal);
    handlers[localName === "then" ? "then$" : localName] = canned.handler;
  }
  return [
    { typeName: service.typeName, method: methods },
    handlers as ServiceHandlers<ServiceDescriptor>,
  ];
}

type Requests = Uint8Array | MessageStream<Uint8Array>;

/** Answers one method. */
class Canned {
  readonly #method: DescMethod;
  readonly #replies: readonly Reply[];
  readonly #format: JsonFormat;
  readonly #file: string;
  readonly #terminal: Terminal;

  constructor(
    method: DescMethod,
    replies: readonly Reply[],
    format: JsonFormat,
    file: string,
    terminal: Terminal,
  ) {
    this.#method = method;
    this.#replies = replies;
    this.#format = format;
    this.#file = file;
    this.#terminal = terminal;
  }

  /** The handler for the method's kind. */
  get handler(): (requests: Requests, context: HandlerContext) => unknown {
    const { methodKind } = this.#method;
    if (methodKind === "server_streaming" || methodKind === "bidi_streaming") {
      return (requests, context) => this.#told(this.#answers(requests, context));
    }
    return async (requests, context) => {
      let last = new Uint8Array(0) as Uint8Array;
      for await (const answer of this.#told(this.#answers(requests, context))) last = answer;
      return last;
    };
  }

  async *#answers(requests: Requests, { signal }: HandlerContext): AsyncGenerator<Uint8Array> {
    if (requests instanceof Uint8Array) {
      yield* this.#play(this.#find([this.#read(requests)]), signal);
    } else if (this.#method.methodKind === "bidi_streaming") {
      // Each request gets its reply.
      for await (const request of requests) {
        yield* this.#play(this.#find([this.#read(request)]), signal);
      }
    } else {
      const all: Json[] = [];
      for await (const request of requests) all.push(this.#read(request));
      yield* this.#play(this.#find(all), signal);
    }
  }

  #read(request: Uint8Array): Json {
    try {
      return this.#format.decode(this.#method.input, request);
    } catch (error) {
      throw new RpcError(
        Code.INTERNAL,
        `ttrpc: error unmarshalling payload: ${messageOf(error)}`,
      );
    }
  }

  /** The first reply whose `when` matches one of the requests. */
  #find(requests: readonly Json[]): Reply {
    const reply = this.#replies.find(({ when }) =>
      when === undefined || requests.some((request) => fits(when, request))
    );
    if (reply) return reply;
    const path = pathOf(this.#method);
    const why = this.#replies.length === 0
      ? `there is no reply for ${path} in ${this.#file}`
      : `no reply for ${path} in ${this.#file} matches ${JSON.stringify(requests[0] ?? null)}`;
    throw new RpcError(Code.UNIMPLEMENTED, why);
  }

  /** Passes the answers on, and prints the status of the call when it ends. */
  async *#told(answers: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
    const { err } = this.#terminal;
    const start = performance.now();
    let status = "CANCELLED"; // unless it ends otherwise
    try {
      yield* answers;
      status = "OK";
    } catch (error) {
      status = error instanceof RpcError ? codeName(error.code) : "UNKNOWN";
      throw error;
    } finally {
      const colour = status === "OK" ? "green" : "red";
      const time = showTime(performance.now() - start);
      err.line`${pathOf(this.#method)}  ${err.paint(colour, status)}  ${time}`;
    }
  }

  async *#play(
    { responses, error, delay, every }: Reply,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    await pause(delay, signal);
    for (const [at, response] of responses.entries()) {
      if (at > 0) await pause(every, signal);
      yield response;
    }
    if (error) throw toError(error);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms === 0) return Promise.resolve();
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(done, ms);
  signal.addEventListener("abort", done, { once: true });
  return promise;

  function done(): void {
    clearTimeout(timer);
    signal.removeEventListener("abort", done);
    resolve();
  }
}
