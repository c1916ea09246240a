/**
 * Makes calls of all kinds that end in all ways, while the client lives on, and tells how much of
 * them is left in memory. Prints a line for each way. Run with `--v8-flags=--expose-gc`.
 */

import {
  bytesCodec,
  type CallOptions,
  type Client,
  connect,
  type HandlerContext,
  type Interceptor,
  type MethodKind,
  type Router,
  serve,
  type ServiceDescriptor,
} from "@ttrpc/ttrpc/core";
import { Code, RpcError } from "../status.ts";
import { SocketFolder } from "./fixture.ts";
import { KINDS } from "./kinds.ts";
import { Held } from "./place.ts";
import { moment, until } from "./wait.ts";

const CALLS = 10; // of each kind

/** What should be gone when calls are over. */
class Kept {
  readonly #refs = new Map<string, WeakRef<object>[]>();

  track<T extends object>(what: string, object: T): T {
    const refs = this.#refs.get(what) ?? [];
    this.#refs.set(what, refs);
    refs.push(new WeakRef(object));
    return object;
  }

  /** What is left, in words, once the garbage collector has had every chance. */
  async left(): Promise<string> {
    const { gc } = globalThis as unknown as { gc(): void };
    let left: string[] = [];
    for (let round = 0; round < 20; round++) {
      await moment();
      gc();
      left = [];
      for (const [what, refs] of this.#refs) {
        const alive = refs.filter((ref) => ref.deref() !== undefined).length;
        // The last of a kind may still be in a register, or in the cache of a function.
        if (alive > 2) left.push(`${alive} of ${refs.length} ${what}`);
      }
      if (left.length === 0) return "nothing";
    }
    return left.join(", ");
  }
}

const both = { input: bytesCodec, output: bytesCodec };
const S = {
  typeName: "S",
  method: Object.fromEntries(
    KINDS.flatMap((methodKind) =>
      ["answer", "hang", "fail"].map((how) => {
        const name = `${how} ${methodKind}`;
        return [name, { ...both, methodKind, name }];
      })
    ),
  ),
} satisfies ServiceDescriptor;

type Handlers = Parameters<Router["service"]>[1];

/** Handlers that answer at once, never, or with an error. */
function handlers(kept: Kept): Handlers {
  const handlers: Record<string, (request: Uint8Array, context: HandlerContext) => unknown> = {};
  const see = (request: object, context: HandlerContext) => {
    kept.track("requests of handlers", request);
    kept.track("contexts", context);
    kept.track("signals of contexts", context.signal);
  };
  for (const kind of KINDS) {
    const many = kind === "server_streaming" || kind === "bidi_streaming";
    handlers[`answer ${kind}`] = (request, context) => {
      see(request, context);
      const answer = new Uint8Array(2_000);
      return many ? [answer, answer] : answer;
    };
    handlers[`fail ${kind}`] = (request, context) => {
      see(request, context);
      throw new RpcError(Code.ABORTED, "no");
    };
    handlers[`hang ${kind}`] = (request, context) => {
      // Of a call that its client gives up, a server does not hear. It does know the deadline.
      if (context.timeoutMs! < 1e5) see(request, context);
      const over = new Promise<never>((_, reject) =>
        context.signal.addEventListener("abort", () => reject(context.signal.reason))
      );
      return many ? { [Symbol.asyncIterator]: () => ({ next: () => over }) } : over;
    };
  }
  return handlers as Handlers;
}

type End = "deadline" | "abort" | "return" | "answer" | "nobody looks";

/** Makes calls of a kind, ends them in some way, and keeps nothing of them. */
async function calls(client: Client, kind: MethodKind, method: string, end: End, kept: Kept) {
  const started = Array.from({ length: CALLS }, () => {
    const controller = new AbortController();
    const options: CallOptions = {
      signal: kept.track("signals", controller.signal),
      timeoutMs: end === "deadline" ? 20 : 1e6,
      metadata: { key: "value" },
    };
    const bytes = kept.track("requests", new Uint8Array(5_000));
    const messages = kept.track("iterables of requests", {
      [Symbol.asyncIterator]: () => ({
        // Those that are to be answered end, the others go on for ever.
        next: () =>
          method === "hang"
            ? new Promise<never>(() => {})
            : Promise.resolve({ done: true as const, value: undefined }),
      }),
    });
    const request = kind === "unary" || kind === "server_streaming" ? bytes : messages;
    const name = `${method} ${kind}`;
    if (kind === "unary" || kind === "client_streaming") {
      const response = kept.track("promises", client.callRaw("S", name, request, options));
      return { controller, done: response };
    }
    const stream = kept.track("streams", client.streamRaw("S", name, request, options));
    const done = end === "return" || end === "nobody looks" ? undefined : Array.fromAsync(stream);
    return { controller, stream, done };
  });
  const settled = started.map(({ done }) =>
    done?.then(() => {}, (error: Error) => void kept.track("errors", error))
  );
  if (end === "return" || end === "abort") {
    await moment();
    for (const { stream, controller } of started) {
      if (stream && end === "return") await stream.return();
      else controller.abort();
    }
  }
  await Promise.all(settled);
}

const pass: Interceptor = (next) => (request) => next(request);
const stuck: Interceptor = () => () => new Promise(() => {});

/** What stands between a call and its server. */
interface Scene {
  client: Client;
  /** Which methods are called: those that answer, never do, or fail. */
  method: string;
  close(): Promise<void>;
}

const SCENES: Record<string, (interceptors: Interceptor[], kept: Kept) => Promise<Scene>> = {
  "in flight": (interceptors, kept) => scene({ interceptors, method: "hang" }, kept),
  "answered": (interceptors, kept) => scene({ interceptors, method: "answer" }, kept),
  "failed": (interceptors, kept) => scene({ interceptors, method: "fail" }, kept),
  "waiting for the socket": (interceptors, kept) =>
    scene({ interceptors, method: "hang", held: true }, kept),
  "without a connection": (interceptors, kept) =>
    scene({ interceptors, method: "hang", waitForReady: true, gone: true }, kept),
  "in the pause before another connection": (interceptors, kept) =>
    scene({ interceptors, method: "hang", delayMs: 1e6, gone: true }, kept),
};

async function scene(
  options: {
    interceptors: Interceptor[];
    method: string;
    held?: boolean;
    waitForReady?: boolean;
    delayMs?: number;
    gone?: boolean;
  },
  kept: Kept,
): Promise<Scene> {
  const { interceptors, method, held, waitForReady, delayMs = 1, gone } = options;
  const socket = new SocketFolder();
  const { path } = socket;
  const server = serve(
    { path, onError: () => {} },
    (router) => router.service(S, handlers(kept)),
  );
  const conn = new Held(await Deno.connect({ transport: "unix", path }));
  const client = held ? await connect(conn, { interceptors }) : await connect({ path }, {
    interceptors,
    waitForReady,
    reconnect: { initialDelayMs: delayMs, maxDelayMs: delayMs },
  });
  if (held) {
    conn.hold();
    client.callRaw("S", "answer unary", new Uint8Array(1)).catch(() => {});
    client.callRaw("S", "answer unary", new Uint8Array(400_000)).catch(() => {});
    await moment();
  } else conn.close();
  if (gone) {
    await server.shutdown();
    await until(() => client.stats().connections === 0);
  }
  if (gone && !waitForReady) {
    await client.callRaw("S", "answer unary", new Uint8Array(1)).catch(() => {});
  }
  return {
    client,
    method,
    close: async () => {
      conn.release();
      client.close();
      await client.finished;
      server.close();
      await server.finished;
      socket[Symbol.dispose]();
    },
  };
}

const AROUND: Readonly<Record<string, Interceptor[]>> = {
  "without interceptors": [],
  "with an interceptor": [pass],
  "with an interceptor that never ends": [stuck],
};

const ENDS: Readonly<Record<string, readonly End[]>> = {
  "answered": ["answer", "nobody looks"],
  "failed": ["answer", "nobody looks"],
  "in flight": ["deadline", "abort", "return"],
  "waiting for the socket": ["deadline", "abort", "return"],
  "without a connection": ["deadline", "abort", "return"],
  "in the pause before another connection": ["deadline", "abort", "return"],
};

/** The ways in which calls end, each with a name. */
export const WAYS: readonly { name: string; scene: string; end: End; how: string }[] = Object
  .entries(ENDS).flatMap(([scene, ends]) =>
    ends.flatMap((end) =>
      Object.keys(AROUND).map((how) => ({ name: `${scene}, ${end}, ${how}`, scene, end, how }))
    )
  )
  .filter(({ scene, how }) => AROUND[how]![0] !== stuck || scene === "in flight");

/** Lets calls of all kinds end in one way, and tells what is left of them. */
async function run({ scene, end, how }: typeof WAYS[number]): Promise<string> {
  const kept = new Kept();
  const { client, method, close } = await SCENES[scene]!(AROUND[how]!, kept);
  for (const kind of KINDS) {
    // Of these two a caller has nothing but a promise.
    const single = kind === "unary" || kind === "client_streaming";
    await calls(client, kind, method, single && end === "return" ? "abort" : end, kept);
  }
  const others = scene === "waiting for the socket" ? 2 : 0;
  await until(() => client.stats().callsInFlight === others);
  // What came with the last read is let go with the next.
  if (method !== "hang") await calls(client, "unary", method, "answer", kept);
  const left = await kept.left();
  await close();
  return left;
}

if (import.meta.main) {
  for (const way of WAYS) console.log(`${way.name}: ${await run(way)}`);
}
