/**
 * Types for generated code, and for libraries that work with any service. This module has no code
 * at run time.
 *
 * @example A function for clients of any service
 * ```ts
 * import type { Client } from "@ttrpc/ttrpc";
 * import type { AnyService, ServiceClient } from "@ttrpc/ttrpc/types";
 *
 * function patient<Service extends AnyService>(
 *   client: Client,
 *   service: Service,
 * ): ServiceClient<Service> {
 *   return client.service(service, { timeoutMs: 60_000 });
 * }
 * ```
 *
 * @module
 */

export type { Codec, DescMessage, DescService, MessageInitShape, MessageShape } from "./codec.ts";
export type { MethodDescriptor, MethodKind } from "./engine/method.ts";
export type { Metadata, MetadataInit } from "./metadata.ts";
export type {
  AnyService,
  CallOptions,
  ClientMethod,
  ConnectionInfo,
  DerivedClient,
  DerivedHandlers,
  HandlerContext,
  HandlerMethod,
  MessageInitOf,
  MessageOf,
  Messages,
  MessageStream,
  NamedMethods,
  ServiceClient,
  ServiceDescriptor,
  ServiceHandlers,
  TypedService,
} from "./service.ts";
