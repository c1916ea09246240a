/**
 * `protoc-gen-ttrpc-es`: the plugin of buf and protoc that writes the ttrpc services of proto
 * files, beside the messages that `protoc-gen-es` writes. It needs no permissions.
 *
 * For `greeter.proto` with a service `Greeter` it writes `greeter_ttrpc.ts`, which exports
 *
 * - `Greeter`, the service that `client.service()` and `router.service()` take;
 * - `GreeterClient`, the interface of its clients;
 * - `GreeterHandlers`, the interface of what implements it, which every client does;
 * - everything of `greeter_pb.ts`, and what requests and responses hold of other files.
 *
 * A name that is taken gets a dollar sign: where a message is called `GreeterClient`, the interface
 * is `GreeterClient$`. The names of `greeter_pb.ts` always stay as they are. A method is called as
 * protoc-gen-es calls it, and `then` is `then$`.
 *
 * Options:
 *
 * - `import_extension=ts`, `js` or `none`: how imports of other generated files end;
 * - `runtime=@ttrpc/ttrpc/types`: the specifier of the module with ttrpc's types;
 * - `pb_path=.`: where the `_pb` files lie, from the output folder, or in which package;
 * - `target=ts`: what is written. There is nothing else yet.
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
