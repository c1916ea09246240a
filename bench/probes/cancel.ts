import { connect, serve, type ServiceHandlers } from "@ttrpc/ttrpc/core";
import type { TcpAddress, UnixAddress } from "../../address.ts";
import { bytesCodec } from "../../codec.ts";
import type { HandlerContext } from "../../service.ts";
import type { Probe } from "./probe.ts";

const codecs = { input: bytesCodec, output: bytesCodec };

/** A method of each kind. */
const Bytes = {
  typeName: "bench.Bytes",
  method: {
    unary: { name: "Unary", methodKind: "unary", ...codecs },
    server: { name: "Server", methodKind: "server_streaming", ...codecs },
    client: { name: "Client", methodKind: "client_streaming", ...codecs },
    bidi: { name: "Bidi", methodKind: "bidi_streaming", ...codecs },
  },
} as const;

const MESSAGE = new Uint8Array(100);

/** Messages that do not end. */
async function* endless(): AsyncGenerator<Uint8Array> {
  yield MESSAGE;
  await new Promise(() => {});
}

/**
 * Measures the time from the abort of a call to that of its handler's signal. Both are in one process,
 * so that one clock measures it; the bytes go through the operating system all the same.
 */
export const cancel: Probe = {
  name: "cancel",
  async run(context) {
    const places: Record<string, UnixAddress | TcpAddress> = {
      unix: { path: context.socket() },
      tcp: { hostname: "127.0.0.1", port: 0 },
    };
    for (const [place, address] of Object.entries(places)) {
      for (const [kind, times] of await measure(address, context.quick ? 100 : 1_000)) {
        const p99 = times.toSorted((a, b) => a - b)[Math.floor(0.99 * times.length)]!;
        for (const time of times) context.note("cancel_us", `${kind}, ${place}`, time);
        context.note("cancel_p99_us", `${kind}, ${place}`, p99);
      }
    }
  },
};

/** Gives up calls of each kind, one after the other, and returns how long it took in microseconds. */
async function measure(
  address: UnixAddress | TcpAddress,
  rounds: number,
): Promise<Map<string, number[]>> {
  let begun = Promise.withResolvers<void>();
  let told = Promise.withResolvers<number>();
  const wait = ({ signal }: HandlerContext) =>
    new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => {
        told.resolve(performance.now());
        resolve();
      });
      begun.resolve();
    });
  const one = async (_: unknown, context: HandlerContext) => {
    await wait(context);
    return MESSAGE;
  };
  const many = async function* (_: unknown, context: HandlerContext) {
    yield MESSAGE;
    await wait(context);
  };
  const handlers: ServiceHandlers<typeof Bytes> = {
    unary: one,
    server: many,
    client: one,
    bidi: many,
  };
  await using server = serve(address, (router) => router.service(Bytes, handlers));
  await server.listening;
  const { addr } = server;
  await using client = await connect(
    addr?.transport === "tcp" ? { hostname: addr.hostname, port: addr.port } : address,
  );
  const service = client.service(Bytes);
  const found = new Map<string, number[]>();
  for (const kind of ["unary", "server", "client", "bidi"] as const) {
    const times: number[] = [];
    for (let round = 0; round < rounds + 100; round++) {
      begun = Promise.withResolvers();
      told = Promise.withResolvers();
      const controller = new AbortController();
      const options = { signal: controller.signal };
      const call = kind === "unary"
        ? service.unary(MESSAGE, options)
        : kind === "server"
        ? Array.fromAsync(service.server(MESSAGE, options))
        : kind === "client"
        ? service.client(endless(), options)
        : Array.fromAsync(service.bidi(endless(), options));
      const over = call.catch(() => {});
      await begun.promise;
      await new Promise((resolve) => setTimeout(resolve, 0)); // let all be at rest
      const start = performance.now();
      controller.abort();
      const time = 1_000 * (await told.promise - start);
      await over;
      if (round >= 100) times.push(time); // the first ones warm up
    }
    found.set(kind, times);
  }
  return found;
}
