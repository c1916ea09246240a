import { connect } from "@ttrpc/ttrpc/core";

const [path = "", , request = ""] = Deno.args;
const client = await connect({ path });
await client.callRaw("ttrpc.bench.v1.BenchService", "Echo", Uint8Array.fromHex(request));
console.log(Deno.memoryUsage().rss);
Deno.exit();
