// Methods whose names mean something else in JavaScript are methods like others.

import { bytesCodec, connect, createConnectionPair, serve } from "@ttrpc/ttrpc";
import type { ServiceClient, ServiceDescriptor, ServiceHandlers } from "@ttrpc/ttrpc";
import { deepEqual, equal, ok, throws } from "node:assert/strict";
import { Router } from "../engine/router.ts";
import { KINDS } from "./kinds.ts";

/** What every object has, and what a thenable and a class have. */
const NAMES = [
  "toString",
  "constructor",
  "hasOwnProperty",
  "valueOf",
  "isPrototypeOf",
  "toLocaleString",
  "propertyIsEnumerable",
  "__proto__",
  "__defineGetter__",
  "__lookupSetter__",
  "then",
  "catch",
  "finally",
  "prototype",
  "name",
  "length",
  "call",
  "arguments",
  "toJSON",
  "service",
  "close",
];

const codecs = { input: bytesCodec, output: bytesCodec };

/** What a method is called on clients and handlers. */
function property(name: string): string {
  return name === "then" ? "then$" : name; // a client must not be a thenable
}

/** A service with one method. */
function serviceWith(name: string, methodKind: typeof KINDS[number] = "unary"): ServiceDescriptor {
  const wire = `Wire_${name}`;
  return { typeName: `awkward.${name}`, method: { [name]: { ...codecs, name: wire, methodKind } } };
}

/** Handlers with one function. */
function handlersWith(name: string, handler: unknown): ServiceHandlers<ServiceDescriptor> {
  return { [property(name)]: handler } as ServiceHandlers<ServiceDescriptor>;
}

const bytes = new Uint8Array([1, 2, 3]);

/** A client of a service that was served by these handlers. */
async function served(
  service: ServiceDescriptor,
  handlers: ServiceHandlers<ServiceDescriptor>,
) {
  const [near, far] = createConnectionPair();
  const server = serve({ connection: far }, (router) => router.service(service, handlers));
  const client = await connect(near);
  return {
    methods: client.service(service) as Record<string, never> & ServiceClient<ServiceDescriptor>,
    async [Symbol.asyncDispose]() {
      client.close();
      await client.finished;
      await server.finished;
    },
  };
}

for (const name of NAMES) {
  Deno.test(`a method called ${name} is called and answered, of whatever kind`, async () => {
    for (const kind of KINDS) {
      const service = serviceWith(name, kind);
      const many = kind === "server_streaming" || kind === "bidi_streaming";
      const handler = () => many ? [bytes] : bytes;
      await using bed = await served(service, handlersWith(name, handler));
      equal(await Promise.resolve(bed.methods), bed.methods);
      ok(Object.hasOwn(bed.methods, property(name)));
      deepEqual(Object.keys(bed.methods), [property(name)]);
      const call = bed.methods[property(name)] as unknown as (request: unknown) => unknown;
      const request = kind === "unary" || kind === "server_streaming" ? bytes : [bytes];
      const response = call(request);
      const got = many
        ? await Array.fromAsync(response as AsyncIterable<Uint8Array>)
        : [await response];
      deepEqual(got, [bytes]);
    }
  });

  Deno.test(`a missing handler called ${name} is noticed`, () => {
    const service = serviceWith(name);
    class Instance {
      other() {}
    }
    const all: unknown[] = [
      {},
      Object.create(null),
      new Instance(),
      Object.create({}),
      handlersWith(name, undefined),
      handlersWith(name, "no function"),
    ];
    for (const handlers of all) {
      throws(
        () => new Router().service(service, handlers as ServiceHandlers<ServiceDescriptor>),
        {
          name: "TypeError",
          message: `Cannot serve awkward.${name}: there is no handler ` +
            `${JSON.stringify(property(name))} for its method Wire_${name}`,
        },
      );
    }
  });
}

Deno.test("a class may have methods with such names, its own and inherited ones", async () => {
  for (const name of NAMES) {
    if (name === "constructor") continue; // a class has no such method but its constructor
    const key = property(name);
    class Parent {
      #answer = bytes;
      get answer() {
        return this.#answer;
      }
      [key]() {
        return this.answer;
      }
    }
    class Child extends Parent {}
    for (const instance of [new Parent(), new Child()]) {
      const handlers = instance as unknown as ServiceHandlers<ServiceDescriptor>;
      await using bed = await served(serviceWith(name), handlers);
      const call = bed.methods[key] as unknown as (request: unknown) => Promise<Uint8Array>;
      deepEqual(await call(bytes), bytes);
    }
  }
});

Deno.test("the constructor of a class is no handler, but a property of that name is", async () => {
  const service = serviceWith("constructor");
  class Instance {
    other() {}
  }
  const handlers = new Instance() as unknown as ServiceHandlers<ServiceDescriptor>;
  throws(() => new Router().service(service, handlers), TypeError);
  Object.defineProperty(handlers, "constructor", { value: () => bytes });
  await using bed = await served(service, handlers);
  const call = bed.methods["constructor"] as unknown as (request: unknown) => Promise<Uint8Array>;
  deepEqual(await call(bytes), bytes);
});

Deno.test("a function with such a name for which there is no method is noticed", () => {
  const service = serviceWith("call");
  for (const name of ["toString", "__proto__", "constructor"]) {
    const handlers = { call: () => bytes, [name]: () => bytes };
    throws(
      () =>
        new Router().service(service, handlers as unknown as ServiceHandlers<ServiceDescriptor>),
      (error: Error) => error instanceof TypeError && error.message.includes(JSON.stringify(name)),
    );
  }
});

Deno.test("a client with such methods is still an object", async () => {
  const method = Object.fromEntries(NAMES.map((name) => [
    name,
    { ...codecs, name, methodKind: "unary" as const },
  ]));
  const service = { typeName: "awkward.All", method } satisfies ServiceDescriptor;
  const handlers = Object.fromEntries(NAMES.map((name) => [property(name), () => bytes]));
  await using bed = await served(service, handlers as ServiceHandlers<ServiceDescriptor>);
  deepEqual(Object.keys(bed.methods).toSorted(), NAMES.map(property).toSorted());
  equal(Object.getPrototypeOf(bed.methods), Object.prototype);
  for (const name of NAMES) {
    const call = bed.methods[property(name)] as unknown as (request: unknown) => unknown;
    deepEqual(await call(bytes), bytes, name);
  }
});
