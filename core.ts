/**
 * ttrpc without protobuf-es, for programs that have their own codecs or forward encoded messages.
 * It exports what `@ttrpc/ttrpc` exports, and does not load protobuf-es: services of protobuf-es
 * and `RpcError.findDetails()` need `@ttrpc/ttrpc`.
 *
 * @example A service with JSON for messages
 * ```ts
 * import { type Codec, connect, serve, type ServiceDescriptor } from "@ttrpc/ttrpc/core";
 * import { deepEqual } from "node:assert/strict";
 *
 * function json<T>(): Codec<T> {
 *   return {
 *     encode: (message) => new TextEncoder().encode(JSON.stringify(message)),
 *     decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes)),
 *   };
 * }
 * const Adder = {
 *   typeName: "example.Adder",
 *   method: {
 *     add: { name: "Add", methodKind: "unary", input: json<number[]>(), output: json<number>() },
 *   },
 * } as const satisfies ServiceDescriptor;
 *
 * const path = await Deno.makeTempDir() + "/adder.sock";
 * await using server = serve({ path }, (router) =>
 *   router.service(Adder, { add: (numbers) => numbers.reduce((a, b) => a + b) }));
 * await using client = await connect({ path });
 * deepEqual(await client.service(Adder).add([1, 2, 3]), 6);
 * ```
 *
 * @module
 */

export type { Address, TcpAddress, UnixAddress, VsockAddress } from "./address.ts";
export type { ByteConnection } from "./transport.ts";
export { type Client, connect, type ConnectOptions } from "./client.ts";
export { bytesCodec, type Codec } from "./codec.ts";
export type { Dialer } from "./net/dial.ts";
export type {
  InterceptedCall,
  InterceptedRequest,
  InterceptedResponse,
  Interceptor,
  Invoke,
  MethodInfo,
  SingleRequest,
  SingleResponse,
  StreamRequest,
  StreamResponse,
} from "./interceptor.ts";
export type { ExtensionOptions, KeepaliveOptions } from "./engine/keepalive.ts";
export type { Limits } from "./limits.ts";
export type { ByteListener } from "./transport.ts";
export { createConnectionPair } from "./memory.ts";
export { Metadata, type MetadataInit } from "./metadata.ts";
export { Idempotency, type MethodDescriptor, type MethodKind } from "./engine/method.ts";
export type { ReconnectOptions } from "./net/reconnect.ts";
export type { Router } from "./engine/router.ts";
export type { Stats } from "./stats.ts";
export {
  serve,
  type ServeAddress,
  type ServeOptions,
  type Server,
  type ShutdownOptions,
} from "./server.ts";
export {
  type AnyService,
  type CallDefaults,
  type CallOptions,
  type ConnectionInfo,
  type HandlerContext,
  type Messages,
  type MessageStream,
  type ServiceClient,
  type ServiceDescriptor,
  type ServiceHandlers,
} from "./service.ts";
export type { MessageSizes } from "./engine/stream.ts";
export type { SocketMode } from "./net/unix_listener.ts";
export {
  Code,
  RpcError,
  type RpcErrorJson,
  type RpcErrorOptions,
  type Status,
  type StatusDetail,
} from "./status.ts";
