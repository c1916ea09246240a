import { gzipSync } from "node:zlib";
import { bundleTo, pathOf } from "../build.ts";
import type { Probe } from "./probe.ts";

const BUNDLES = {
  "ours": "client.ts",
  "ours, core": "core.ts",
  "protobuf-es alone": "protobuf.ts",
  "grpc-js": "grpc_js.ts",
  "connect-node": "connect.ts",
};

/** Measures the size of a client: bundled into one file, minified, and compressed. */
export const bundle: Probe = {
  name: "bundle",
  async run(context) {
    const file = `${context.socket()}.js`;
    for (const [name, source] of Object.entries(BUNDLES)) {
      await bundleTo(file, pathOf(`bundles/${source}`), "--minify");
      const bytes = await Deno.readFile(file);
      context.note("bundle_minified_kib", name, bytes.length / 1024);
      context.note("bundle_compressed_kib", name, gzipSync(bytes, { level: 9 }).length / 1024);
    }
  },
};
