/**
 * `protoc-gen-ttrpc-es`: the plugin for buf and protoc that generates the ttrpc services of proto
 * files, next to the messages that `protoc-gen-es` generates. It needs no permissions.
 *
 * For `greeter.proto` with a service `Greeter` it writes `greeter_ttrpc.ts`, which exports
 *
 * - `Greeter`, the service that `client.service()` and `router.service()` take;
 * - `GreeterClient`, the interface of its clients;
 * - `GreeterHandlers`, the interface of its handlers, which clients also implement;
 * - everything in `greeter_pb.ts`, and the types of other files that requests and responses contain.
 *
 * A name that is taken gets a dollar sign: if a message is called `GreeterClient`, the interface is
 * `GreeterClient$`. The names of `greeter_pb.ts` never change. Methods have the names that
 * protoc-gen-es gives them, except for `then`, which is `then$`.
 *
 * Options:
 *
 * - `import_extension=ts`, `js` or `none`: the extension in imports of other generated files;
 * - `runtime=@ttrpc/ttrpc/types`: the specifier of the module with ttrpc's types;
 * - `pb_path=.`: the folder of the `_pb` files, relative to the output folder, or their package;
 * - `target=ts`: the language of the generated files. There is no other yet.
 *
 * @example In `buf.gen.yaml`
 * ```yaml
 * - local: ["deno", "run", "jsr:@ttrpc/ttrpc/protoc-gen-ttrpc-es"]
 *   out: gen
 * ```
 *
 * @module
 */

import { runPlugin } from "./plugin.ts";

if (import.meta.main) Deno.exitCode = await runPlugin();
