/** Prints the memory, in bytes, of a stream that is not read, under a limit. */

import { connect, serve } from "@ttrpc/ttrpc";
import { setTimeout as delay } from "node:timers/promises";
import { BenchService } from "../gen/ttrpc/bench/v1/bench_pb.ts";
import { collected, echoed, produced } from "./messages.ts";

const connectionQueueBytes = Number(Deno.args[0]);
const folder = await Deno.makeTempDir();
const path = `${folder}/unread.sock`;
{
  await using _server = serve({ path }, (router) =>
    router.service(BenchService, {
      ...{ echo: (request) => request, create: (request) => request },
      ...{ produce: produced, collect: collected, chat: echoed },
    }));
  await using client = await connect({ path }, { limits: { connectionQueueBytes } });
  const service = client.service(BenchService);
  for await (const _ of service.produce({ count: 1_000, bytes: 1_024 }));
  const before = Deno.memoryUsage().rss;
  const unread = service.produce({ count: 1_000_000, bytes: 1_024 })[Symbol.asyncIterator]();
  await unread.next();
  await delay(500);
  console.log(Deno.memoryUsage().rss - before);
}
await Deno.remove(folder, { recursive: true });
