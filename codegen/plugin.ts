/**
 * The plugin as a process: reads a request from stdin, and writes the response to stdout.
 *
 * @module
 */

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { CodeGeneratorRequestSchema, CodeGeneratorResponseSchema } from "@bufbuild/protobuf/wkt";
import { printable } from "../cli/printable.ts";
import { generate } from "./generate.ts";

/** The longest request, in bytes. All of googleapis is about 30 MiB. */
const LIMIT = 1 << 29;

/**
 * Answers one request.
 *
 * @returns The exit code. If it is not zero, stderr says why.
 */
export async function runPlugin(): Promise<number> {
  try {
    if (Deno.stdin.isTerminal()) {
      throw new Error("Cannot read a request from a terminal: run this plugin with buf or protoc");
    }
    await write(Deno.stdout, answer(await readAll(Deno.stdin.readable, LIMIT)));
    return 0;
  } catch (error) {
    const reason = printable(error instanceof Error ? error.message : String(error));
    await write(Deno.stderr, new TextEncoder().encode(`protoc-gen-ttrpc-es: ${reason}\n`));
    return 1;
  }
}

/**
 * Answers one request.
 *
 * @param request The bytes of a `google.protobuf.compiler.CodeGeneratorRequest`.
 * @returns The bytes of the response.
 * @throws {Error} If the request is not valid, or lacks descriptors.
 */
export function answer(request: Uint8Array): Uint8Array {
  let decoded;
  try {
    decoded = fromBinary(CodeGeneratorRequestSchema, request);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : cause;
    throw new Error(`Cannot read the request: ${reason}`, { cause });
  }
  return toBinary(CodeGeneratorResponseSchema, generate(decoded));
}

/**
 * Reads a stream to its end.
 *
 * @param stream The stream.
 * @param limit The most bytes to read.
 * @returns All bytes.
 * @throws {RangeError} If there are more bytes than that.
 */
export async function readAll(
  stream: ReadableStream<Uint8Array>,
  limit: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > limit) {
      throw new RangeError(`Cannot read the request: it has more than ${limit} bytes`);
    }
    chunks.push(new Uint8Array(chunk));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function write(to: typeof Deno.stdout, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}
