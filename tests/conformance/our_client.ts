/**
 * Our client as one under test: reads an instruction a line from stdin, does what it says, and
 * writes what came of it as a line to stdout.
 */

import { type DescMethod, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { type CallOptions, type Client, connect, RpcError } from "@ttrpc/ttrpc";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import type { Answer, Instruction } from "./client.ts";
import type { Outcome } from "./match.ts";

type Told = Instruction["calls"][number];

/** A method by its name, whatever its messages. */
type Caller = (
  requests: unknown,
  options: CallOptions,
) => Promise<Message> | AsyncIterable<Message>;

/** Does what an instruction says, on a connection of its own. */
export async function obey({ id, address, calls, concurrent }: Instruction): Promise<Answer> {
  await using client = await connect(address);
  const outcomes: Outcome[] = [];
  if (concurrent) outcomes.push(...await Promise.all(calls.map((call) => make(client, call))));
  else for (const call of calls) outcomes.push(await make(client, call));
  return { id, outcomes };
}

async function make(client: Client, call: Told): Promise<Outcome> {
  const responses: string[] = [];
  const abort = new AbortController();
  const timer = call.cancelAfterMs === undefined
    ? undefined
    : setTimeout(() => abort.abort(), call.cancelAfterMs);
  try {
    for await (const response of start(client, call, abort.signal)) responses.push(response);
    return { code: 0, message: "", details: [], responses };
  } catch (error) {
    const { code, rawMessage: message, details } = RpcError.from(error);
    return {
      code,
      message,
      details: details.map(({ typeUrl, value }): [string, string] => [typeUrl, value.toHex()]),
      responses,
    };
  } finally {
    clearTimeout(timer);
  }
}

async function* start(client: Client, call: Told, signal: AbortSignal): AsyncGenerator<string> {
  const method: DescMethod = TestService.methods.find(({ name }) => name === call.method)!;
  const callers = client.service(TestService) as unknown as Record<string, Caller>;
  const { metadata, timeoutMs, kind, keepOpen } = call;
  const requests = call.requests.map((each) => fromBinary(method.input, Uint8Array.fromHex(each)));
  const single = kind === "unary" || kind === "server";
  const result = callers[method.localName]!(
    single ? requests[0] : keepOpen ? open(requests, signal) : requests,
    { metadata, timeoutMs, signal },
  );
  const responses = Symbol.asyncIterator in result ? result : [await result];
  for await (const response of responses) yield toBinary(method.output, response).toHex();
}

/** Messages after which a stream stays open. */
async function* open(messages: Message[], signal: AbortSignal): AsyncGenerator<Message> {
  yield* messages;
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
}

async function main(): Promise<void> {
  let rest = "";
  for await (const part of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const told = JSON.parse(line) as Instruction;
      // What goes wrong here, such as no connection at all, is the runner's to miss.
      obey(told).then((answer) => console.log(JSON.stringify(answer)), console.error);
    }
  }
}

if (import.meta.main) await main();
