// What a caller gives a call belongs to the call from then on: changed later, it changes nothing.

import { type Client, connect, type Interceptor, Metadata, type MetadataInit } from "@ttrpc/ttrpc";
import { deepEqual, equal, rejects } from "node:assert/strict";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Code } from "../status.ts";
import { callOf, handlersThat, INTERCEPTORS, KINDS, LONG_REQUEST, rawCallOf } from "./kinds.ts";
import { Held, Place, type Transport, TRANSPORTS } from "./place.ts";
import { moment } from "./wait.ts";

const RECONNECT = { reconnect: { initialDelayMs: 1, maxDelayMs: 5 }, waitForReady: true };

/** What the handlers of a place were told, by kind. */
function record() {
  const seen: string[] = [];
  const handlers = handlersThat(({ metadata }, kind) => {
    seen.push([kind, ...[...metadata].map(([key, value]) => `${key}=${value}`)].join(" "));
  });
  return { seen, handlers };
}

/** The same of calls that had each kind for their user's name. */
const EACH_ITS_OWN = KINDS.map((kind) => `${kind} user=${kind}`).toSorted();

/** Makes calls while the connection takes none, and does something before it takes them again. */
async function whileHeld(
  place: Place,
  options: Parameters<typeof connect>[1],
  make: (client: Client) => Promise<unknown>[],
): Promise<void> {
  const conn = new Held(await place.open());
  const client = place.adopt(await connect(conn, options));
  conn.hold();
  const before = client.service(TestService).nothing({});
  const filler = client.callRaw(TestService.typeName, "Nothing", LONG_REQUEST);
  const calls = [before, filler, ...make(client)];
  await moment();
  conn.release();
  await Promise.all(calls);
}

/** Makes one call of each kind with the same metadata, which is changed before each and at the end. */
function reusing(client: Client, call: typeof callOf): Promise<unknown>[] {
  const service = client.service(TestService);
  const metadata = new Metadata();
  const calls = KINDS.map((kind) => {
    metadata.set("user", kind);
    return call(kind, service, { metadata });
  });
  metadata.set("user", "nobody");
  return calls;
}

for (const transport of TRANSPORTS) {
  for (const [how, interceptors] of Object.entries(INTERCEPTORS)) {
    Deno.test(`metadata used again does not change calls that wait for the socket, over ${transport}, ${how}`, async () => {
      const { seen, handlers } = record();
      await using place = new Place(transport);
      await place.serve(handlers);
      await whileHeld(place, { interceptors }, (client) => reusing(client, callOf));
      deepEqual(seen.splice(0).toSorted(), EACH_ITS_OWN);
      await whileHeld(
        place,
        { interceptors },
        (client) => reusing(client, (kind, _service, options) => rawCallOf(kind, client, options)),
      );
      deepEqual(seen.toSorted(), EACH_ITS_OWN);
    });

    Deno.test(`metadata used again does not change calls that wait for a connection, over ${transport}, ${how}`, async () => {
      const { seen, handlers } = record();
      await using place = new Place(transport);
      await place.serve(handlers);
      const client = await place.connect({ ...RECONNECT, interceptors });
      await place.stop();
      const calls = reusing(client, callOf);
      await moment();
      await place.serve(handlers);
      await Promise.all(calls);
      deepEqual(seen.toSorted(), EACH_ITS_OWN);
    });
  }
}

/** Forms of metadata, and what can be done to each after the call is made. */
const FORMS: Readonly<Record<string, () => [MetadataInit, change: () => unknown]>> = {
  "an object": () => {
    const init: Record<string, string> = { user: "ada" };
    return [init, () => Object.assign(init, { user: "eve", more: "x" })];
  },
  "an array in an object": () => {
    const user = ["ada"];
    return [{ user }, () => user.splice(0, 1, "eve", "eve")];
  },
  "an array of pairs": () => {
    const pairs: [string, string][] = [["user", "ada"]];
    return [pairs, () => pairs.push(["more", "x"])];
  },
  "a pair": () => {
    const pair: [string, string] = ["user", "ada"];
    return [[pair], () => pair[1] = "eve"];
  },
  "a Map": () => {
    const map = new Map([["user", "ada"]]);
    return [map, () => map.clear()];
  },
  "Metadata": () => {
    const metadata = new Metadata({ user: "ada" });
    return [metadata, () => metadata.delete("user")];
  },
};

for (const [form, make] of Object.entries(FORMS)) {
  Deno.test(`${form} that is changed after the call was metadata as it was`, async () => {
    const { seen, handlers } = record();
    await using place = new Place();
    await place.serve(handlers);
    for (const interceptors of Object.values(INTERCEPTORS)) {
      await whileHeld(place, { interceptors }, (client) => {
        const service = client.service(TestService);
        return KINDS.map((kind) => {
          const [metadata, change] = make();
          const call = callOf(kind, service, { metadata });
          change();
          return call;
        });
      });
      deepEqual(seen.splice(0).toSorted(), KINDS.map((kind) => `${kind} user=ada`).toSorted());
    }
  });

  Deno.test(`${form} that is changed later was a default as it was, of a client and of a service`, async () => {
    const { seen, handlers } = record();
    await using place = new Place();
    await place.serve(handlers);
    for (const interceptors of Object.values(INTERCEPTORS)) {
      for (const owner of ["client", "service"]) {
        const [metadata, change] = make();
        const defaults = { metadata };
        const client = await place.connect({
          interceptors,
          defaults: owner === "client" ? defaults : {},
        });
        const service = client.service(TestService, owner === "service" ? defaults : undefined);
        change();
        defaults.metadata = { user: "mallory" };
        for (const kind of KINDS) await callOf(kind, service);
        if (owner === "client") {
          for (const kind of KINDS) await callOf(kind, client.service(TestService));
          for (const kind of KINDS) await rawCallOf(kind, client);
        }
        const times = owner === "client" ? 3 : 1;
        deepEqual(
          seen.splice(0),
          Array.from({ length: times }, () => KINDS.map((kind) => `${kind} user=ada`)).flat(),
        );
      }
    }
  });
}

Deno.test("defaults whose metadata can be read only once hold for every call", async () => {
  const { seen, handlers } = record();
  await using place = new Place();
  await place.serve(handlers);
  function* once(): Generator<[string, string]> {
    yield ["user", "ada"];
  }
  const client = await place.connect({ defaults: { metadata: once() } });
  const service = client.service(TestService, { metadata: once() });
  for (const kind of KINDS) await callOf(kind, service);
  for (const kind of KINDS) await rawCallOf(kind, client);
  const each = KINDS.map((kind) => `${kind} user=ada`);
  deepEqual(seen, [...each, ...each]);
});

Deno.test("an options object that is changed after the call had the deadline and signal that it had", async () => {
  for (const interceptors of Object.values(INTERCEPTORS)) {
    for (const transport of TRANSPORTS) {
      const seen: (number | undefined)[] = [];
      await using place = new Place(transport);
      await place.serve(handlersThat(({ timeoutMs }) => seen.push(timeoutMs)));
      await whileHeld(place, { interceptors }, (client) => {
        const service = client.service(TestService);
        return KINDS.map((kind) => {
          const options = { timeoutMs: 1e6, signal: new AbortController().signal };
          const call = callOf(kind, service, options);
          options.timeoutMs = 0;
          options.signal = AbortSignal.abort();
          return call;
        });
      });
      equal(seen.filter((left) => left! > 9e5 && left! <= 1e6).length, 4, `${seen}`);
    }
  }
});

Deno.test("a default deadline that is changed later is the one that was given", async () => {
  const seen: (number | undefined)[] = [];
  await using place = new Place();
  await place.serve(handlersThat(({ timeoutMs }) => seen.push(timeoutMs)));
  const defaults = { timeoutMs: 1e6 };
  const own = { timeoutMs: 1e5 };
  const client = await place.connect({ defaults });
  const service = client.service(TestService, own);
  defaults.timeoutMs = own.timeoutMs = 0;
  for (const kind of KINDS) await callOf(kind, service);
  for (const kind of KINDS) await rawCallOf(kind, client);
  equal(seen.filter((left) => left! > 9e4 && left! <= 1e5).length, 4, `${seen}`);
  equal(seen.filter((left) => left! > 9e5 && left! <= 1e6).length, 4, `${seen}`);
});

Deno.test("a message that is changed after the call is sent as it was", async () => {
  const seen: string[] = [];
  await using place = new Place();
  await place.serve({
    echo: ({ text }) => ({ text: seen[seen.push(text) - 1]! }),
    count: ({ count }) => [{ value: BigInt(seen.push(`${count}`)) }],
  });
  await whileHeld(place, {}, (client) => {
    const service = client.service(TestService);
    const echo = { text: "before" };
    const count = { count: 1 };
    const calls = [service.echo(echo), service.count(count).next()];
    echo.text = "after";
    count.count = 2;
    return calls;
  });
  deepEqual(seen, ["before", "1"]);
});

/** A server that passes every call on, and changes the metadata that came with it at once. */
async function front(transport: Transport, back: Client): Promise<Place> {
  const behind = back.service(TestService);
  const place = new Place(transport);
  const passOn: Interceptor = (next) => async (request) => {
    const response = next(request);
    request.metadata.set("user", "eve");
    return await response;
  };
  await place.serve({
    echo: (request, context) => {
      const response = behind.echo(request, context);
      context.metadata.set("user", "eve");
      return response;
    },
    count: (request, context) => {
      const responses = behind.count(request, { ...context });
      context.metadata.set("user", "eve");
      return responses;
    },
  }, { interceptors: [passOn] });
  return place;
}

for (const transport of TRANSPORTS) {
  Deno.test(`what a handler does to its metadata after it has passed it on changes nothing, over ${transport}`, async () => {
    const { seen, handlers } = record();
    await using back = new Place(transport);
    await back.serve(handlers);
    const behind = await back.connect(RECONNECT);
    await using place = await front(transport, behind);
    const service = (await place.connect()).service(TestService);
    await back.stop();
    const calls = [
      callOf("unary", service, { metadata: { user: "ada" } }),
      callOf("server_streaming", service, { metadata: { user: "ada" } }),
    ];
    await rejects(service.fail({ code: 5 }), { code: Code.NOT_FOUND }); // the others have begun
    await back.serve(handlers);
    await Promise.all(calls);
    deepEqual(seen.toSorted(), ["server_streaming user=ada", "unary user=ada"]);
  });
}
