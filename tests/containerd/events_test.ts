import { Code, connect, RpcError } from "@ttrpc/ttrpc";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { equal, match, ok, rejects } from "node:assert/strict";
import { Containerd, containerdTest } from "./containerd.ts";
import { kill } from "./programs.ts";
import { event, type Events, eventsService } from "./task.ts";

const NAMESPACE = "ttrpc-test";
const TOPIC = "/ttrpc-test/from-deno";
const PATIENCE_MS = 20_000;
const RETRY_MS = 20;

async function forward(events: Events, topic: string): Promise<void> {
  const name = "made in Deno";
  await events.forward({
    envelope: {
      timestamp: timestampNow(),
      namespace: NAMESPACE,
      topic,
      event: await event("containerd.events.NamespaceCreate", { name }),
    },
  });
}

containerdTest("ctr shows an event that was forwarded to containerd", async () => {
  await using containerd = await Containerd.start();
  await using client = await connect({ path: containerd.ttrpcPath });
  const events = await eventsService(client);
  await using ctr = new Deno.Command("ctr", {
    args: ["--address", containerd.grpcAddress, "events"],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let done = false;
  const shown = lineWith(ctr.stdout, TOPIC).finally(() => done = true);
  try {
    // ctr does not say when it has begun to listen, and it shows nothing from before.
    const end = performance.now() + PATIENCE_MS;
    while (!done && performance.now() < end) {
      await forward(events, TOPIC);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  } finally {
    kill(ctr.pid);
    await shown;
  }
  match(await shown ?? "", new RegExp(`${NAMESPACE} ${TOPIC} {"name":"made in Deno"}$`));
});

containerdTest("an event without a proper topic is refused as INVALID_ARGUMENT", async () => {
  await using containerd = await Containerd.start();
  await using client = await connect({ path: containerd.ttrpcPath });
  await rejects(forward(await eventsService(client), "no-slash"), (error) => {
    ok(error instanceof RpcError, String(error));
    equal(error.code, Code.INVALID_ARGUMENT);
    equal(error.method, "containerd.services.events.ttrpc.v1.Events/Forward");
    match(error.rawMessage, /topic/);
    return true;
  });
});

async function lineWith(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  text: string,
): Promise<string | undefined> {
  let read = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    read += chunk;
    const whole = read.split("\n").slice(0, -1);
    const line = whole.find((line) => line.includes(text));
    if (line !== undefined) return line;
  }
  return undefined;
}
