/**
 * ttrpc for Deno: a client and a server for containerd's RPC protocol between processes of one
 * machine. It has the services, messages and status codes of gRPC, without HTTP/2.
 *
 * {@linkcode connect} makes a client, {@linkcode serve} starts a server. Both take the services
 * that `protoc-gen-ttrpc-es` generates.
 *
 * @example A server and a client
 * ```ts
 * import { connect, serve } from "@ttrpc/ttrpc";
 * import { Greeter } from "./gen/greeter/v1/greeter_ttrpc.ts";
 * import { equal } from "node:assert/strict";
 *
 * const path = await Deno.makeTempDir() + "/greeter.sock";
 * await using server = serve({ path }, (router) =>
 *   router.service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) }));
 *
 * await using client = await connect({ path });
 * const { message } = await client.service(Greeter).sayHello({ name: "Deno" });
 * equal(message, "Hello Deno");
 * ```
 *
 * @module
 */

import "./protobuf.ts";

export * from "./core.ts";
