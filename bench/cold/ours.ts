import { connect } from "@ttrpc/ttrpc";
import { BenchService } from "../gen/ttrpc/bench/v1/bench_pb.ts";

const [path = ""] = Deno.args;
const client = await connect({ path });
await client.service(BenchService).echo({ payload: new Uint8Array(100) });
console.log(Deno.memoryUsage().rss);
Deno.exit();
