/**
 * Programs that have nothing to do any more, and have to end by themselves:
 * `endings.ts NAME PATH`. Each prints a line when that is so.
 */

import {
  type Client,
  connect,
  type ConnectOptions,
  createConnectionPair,
  type Interceptor,
  serve,
  type Server,
} from "@ttrpc/ttrpc";
import { retry } from "@ttrpc/ttrpc/retry";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code, RpcError } from "../status.ts";
import { aborted, testHandlers } from "./fixture.ts";
import { callOf, Idempotent, KINDS } from "./kinds.ts";
import { moment, until } from "./wait.ts";

const path = Deno.args[1]!;
const FAR = 1e8; // milliseconds
const RECONNECT = { reconnect: { initialDelayMs: 1, maxDelayMs: 1 }, waitForReady: true };
const SMALL = { streamQueueBytes: 1 << 12, connectionQueueBytes: 1 << 14, stallTimeoutMs: FAR };
const pass: Interceptor = (next) => (request) => next(request);
const INTERCEPTED = { interceptors: [pass] };

function start(): Server {
  return serve({ path, onError: () => {} }, (router) => {
    router.service(TestService, {
      ...testHandlers,
      sleep: async (_request, { signal }) => {
        await aborted(signal);
        return {};
      },
    });
    const fail = () => {
      throw new RpcError(Code.UNAVAILABLE, "not now");
    };
    router.service(Idempotent, { read: fail });
  });
}

async function stop(server: Server, client: Client): Promise<void> {
  await server.shutdown({ timeoutMs: 0 });
  await until(() => client.stats().connections === 0);
}

/** A client whose server has gone. */
async function left(options: ConnectOptions): Promise<Client> {
  const server = start();
  const client = await connect({ path }, options);
  await client.service(TestService).nothing({}, { timeoutMs: FAR });
  await stop(server, client);
  return client;
}

/** Makes calls that will not end, and looks at none. */
function callForEver(client: Client): void {
  const service = client.service(TestService);
  for (const kind of KINDS) callOf(kind, service).catch(() => {});
  for (const kind of KINDS) callOf(kind, service, { timeoutMs: FAR }).catch(() => {});
}

/** Lets a connection stall: a stream that nobody reads holds up a call. */
async function stall(client: Client): Promise<void> {
  const service = client.service(TestService);
  service.count({ count: 100_000 });
  service.nothing({}, { timeoutMs: FAR }).catch(() => {});
  await until(() => client.stats().queuedBytes >= SMALL.connectionQueueBytes);
}

export const ENDINGS: Readonly<Record<string, () => Promise<unknown>>> = {
  "whose calls have ended, with a far deadline, when the connection was lost": async () => {
    for (const options of [RECONNECT, { ...RECONNECT, ...INTERCEPTED }]) {
      const server = start();
      const client = await connect({ path }, options);
      const service = client.service(TestService);
      for (const kind of KINDS) await callOf(kind, service, { timeoutMs: FAR });
      const lost = service.sleep({}, { timeoutMs: FAR }).catch(() => {});
      await until(() => server.stats().callsInFlight === 1);
      await stop(server, client);
      await lost;
    }
  },
  "whose calls have ended, with a far deadline, without a connection": async () => {
    for (const options of [{}, INTERCEPTED]) {
      const client = await left({ reconnect: { initialDelayMs: 1, maxDelayMs: 1 }, ...options });
      const service = client.service(TestService);
      for (const kind of KINDS) await callOf(kind, service, { timeoutMs: FAR }).catch(() => {});
    }
  },
  "whose streams nobody has looked at, on a client that is closed": async () => {
    for (const options of [{}, INTERCEPTED]) {
      const server = start();
      const client = await connect({ path }, options);
      client.service(TestService).count({ count: 1 }, { timeoutMs: FAR });
      client.service(TestService).chat([{}], { timeoutMs: FAR });
      await until(() => client.stats().callsInFlight === 0);
      client.service(TestService).count({ count: 1 }, { timeoutMs: FAR });
      client.close();
      await server.shutdown();
    }
  },
  "whose streams nobody has looked at, on a connection that was lost": async () => {
    for (const options of [{}, INTERCEPTED]) {
      const server = start();
      const client = await connect({ path }, options);
      client.service(TestService).count({ count: 1 }, { timeoutMs: FAR });
      client.service(TestService).chat(new ReadableStream(), { timeoutMs: FAR });
      await stop(server, client);
    }
  },
  "with a client that was closed in a pause of retry()": async () => {
    const server = start();
    const interceptors = [retry({ initialDelayMs: FAR, maxDelayMs: FAR })];
    const client = await connect({ path }, { interceptors });
    const call = client.service(Idempotent).read(new Uint8Array(0)).catch(() => {});
    await until(() => server.stats().callsFailed["UNAVAILABLE"] === 1);
    await moment();
    client.close();
    await call;
    await server.shutdown();
  },
  "with a call that was aborted in a pause of retry()": async () => {
    const server = start();
    const interceptors = [retry({ initialDelayMs: FAR, maxDelayMs: FAR })];
    const client = await connect({ path }, { interceptors });
    const controller = new AbortController();
    const { signal } = controller;
    const call = client.service(Idempotent).read(new Uint8Array(0), { signal }).catch(() => {});
    await until(() => server.stats().callsFailed["UNAVAILABLE"] === 1);
    await moment();
    controller.abort();
    await call;
    client.close();
    await server.shutdown();
  },
  "whose client was let go of before it has to dial for calls": async () => {
    const client = await left(RECONNECT);
    client.unref();
    callForEver(client);
  },
  "whose client was let go of while it dials for calls": async () => {
    const client = await left(RECONNECT);
    callForEver(client);
    for (let i = 0; i < 20; i++) await moment(); // some attempts
    client.unref();
  },
  "whose client was let go of before it has to wait to dial": async () => {
    const client = await left({ reconnect: { initialDelayMs: FAR, maxDelayMs: FAR } });
    await client.service(TestService).nothing({}).catch(() => {});
    client.unref();
    callForEver(client);
  },
  "whose client was let go of while it waits to dial": async () => {
    const client = await left({ reconnect: { initialDelayMs: FAR, maxDelayMs: FAR } });
    await client.service(TestService).nothing({}).catch(() => {});
    callForEver(client);
    await moment();
    client.unref();
  },
  "whose client was let go of while its dialer does not answer": async () => {
    const server = start();
    let dialled = 0;
    const dial = () =>
      dialled++ === 0 ? Deno.connect({ transport: "unix", path }) : new Promise<never>(() => {});
    const client = await connect({ dial }, RECONNECT);
    await stop(server, client);
    callForEver(client);
    client.unref();
    await until(() => dialled === 2);
  },
  "whose client was let go of before it stalls": async () => {
    const client = await connect({ path }, { limits: SMALL });
    client.unref();
    await stall(client);
  },
  "whose client was let go of while it is stalled": async () => {
    const client = await connect({ path }, { limits: SMALL });
    await stall(client);
    client.unref();
  },
  "whose client was let go of while its calls are in flight": async () => {
    const client = await connect({ path }, INTERCEPTED);
    client.service(TestService).sleep({}, { timeoutMs: FAR }).catch(() => {});
    await client.service(TestService).nothing({});
    client.unref();
  },
  "whose client and server within the process were let go of": async () => {
    const [near, far] = createConnectionPair();
    const server = serve({ connection: far }, (router) =>
      router.service(TestService, {
        ...testHandlers,
        sleep: (_request, { signal }) => aborted(signal).then(() => ({})),
      }));
    const client = await connect(near);
    client.service(TestService).sleep({}, { timeoutMs: FAR }).catch(() => {});
    await client.service(TestService).nothing({});
    client.unref();
    server.unref();
  },
  "that has connected before its timeout": async () => {
    const server = start();
    const client = await connect({ path }, { connectTimeoutMs: FAR, waitForReady: true });
    client.close();
    await connect({ path: `${path}.missing` }, { connectTimeoutMs: FAR }).catch(() => {});
    await server.shutdown();
  },
  "whose server was shut down before the timeout of that": async () => {
    const server = start();
    const client = await connect({ path });
    await client.service(TestService).nothing({}, { timeoutMs: FAR });
    await server.shutdown({ timeoutMs: FAR });
    await until(() => client.stats().connections === 0);
  },
  "whose server was let go of while it is stalled": async () => {
    const server = serve(
      { path, limits: SMALL },
      (router) =>
        router.service(TestService, {
          ...testHandlers,
          sum: (_requests, { signal }) => aborted(signal).then(() => ({})),
        }),
    );
    await server.listening;
    console.log("listens");
    await until(() => server.stats().queuedBytes >= SMALL.connectionQueueBytes);
    server.unref();
  },
  "whose server was let go of before it stalls, with a call in flight": async () => {
    const server = serve(
      { path, limits: SMALL },
      (router) =>
        router.service(TestService, {
          ...testHandlers,
          sum: (_requests, { signal }) => aborted(signal).then(() => ({})),
        }),
    );
    await server.listening;
    console.log("listens");
    server.unref();
    await until(() => server.stats().queuedBytes >= SMALL.connectionQueueBytes);
  },
};

if (import.meta.main) {
  await ENDINGS[Deno.args[0]!]!();
  console.log("has nothing to do");
}
