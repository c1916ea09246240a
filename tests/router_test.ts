// Which handler answers which method, and interceptors around it.

import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { bytesCodec } from "../codec.ts";
import type { InterceptedRequest, InterceptedResponse, Interceptor } from "../interceptor.ts";
import { type Handler, type Route, Router, unknownMethod } from "../engine/router.ts";
import { runningCall } from "../engine/running.ts";
import type { ServerCall } from "../engine/server_call.ts";
import type { Messages, ServiceDescriptor, ServiceHandlers } from "../service.ts";
import { Code, OK } from "../status.ts";
import { serverCall } from "./server_stand_ins.ts";
import { LOST, settle } from "./stand_ins.ts";

const codecs = { input: bytesCodec, output: bytesCodec };

const Svc = {
  typeName: "pkg.Svc",
  method: {
    get: { name: "Get", methodKind: "unary", ...codecs },
    list: { name: "List", methodKind: "server_streaming", ...codecs },
  },
} as const satisfies ServiceDescriptor;

type Handlers = ServiceHandlers<typeof Svc>;

const handlers: Handlers = { get: (bytes) => bytes, list: () => [] };

function routeOf(router: Router, name: string): Route {
  const route = router.find("pkg.Svc", name);
  ok(typeof route !== "string");
  return route;
}

function routed(own: Partial<Handlers>, interceptors?: Interceptor[], name = "Get"): Handler {
  return routeOf(new Router(interceptors).service(Svc, { ...handlers, ...own }), name).handler;
}

/** A service of methods with these names. */
function named(...names: string[]): ServiceDescriptor {
  const method = Object.fromEntries(
    names.map((name) => [name, { name, methodKind: "unary", ...codecs } as const]),
  );
  return { typeName: "pkg.Named", method };
}

const BYTES = new Uint8Array([1]);

Deno.test("find() gives the route of a method, by the names on the wire", () => {
  const router = new Router();
  equal(router.service(Svc, handlers), router);
  const { method } = routeOf(router, "List");
  equal(method.path, "pkg.Svc/List");
  equal(method.kind, "server_streaming");
  equal(routeOf(router, "Get").method.name, "Get");
});

Deno.test("find() says what is missing", () => {
  const router = new Router().service(Svc, handlers);
  equal(router.find("pkg.Other", "Get"), "service pkg.Other");
  equal(router.find("", ""), "service ");
  equal(router.find("pkg.Svc", "get"), "method get");
  equal(router.find("pkg.Svc", "toString"), "method toString");
});

Deno.test("service() refuses a service that is offered already", () => {
  const router = new Router().service(Svc, handlers).service(named(), {});
  throws(() => router.service(Svc, handlers), {
    name: "TypeError",
    message: "Cannot serve pkg.Svc: it is registered already",
  });
});

Deno.test("service() refuses handlers of which one is missing, or is no function", () => {
  const message = 'Cannot serve pkg.Svc: there is no handler "list" for its method List';
  for (const list of [undefined, {}]) {
    throws(() => new Router().service(Svc, { ...handlers, list } as never), {
      name: "TypeError",
      message,
    });
  }
  const router = new Router();
  throws(() => router.service(Svc, { get: handlers.get } as never), { message });
  const bare = Object.assign(Object.create(null), { get: handlers.get });
  throws(() => router.service(Svc, bare), { message });
  equal(router.find("pkg.Svc", "Get"), "service pkg.Svc");
});

Deno.test("service() takes nothing that every object has for a handler", () => {
  for (const name of ["toString", "constructor", "hasOwnProperty"]) {
    const service = named(name);
    const missing = { message: new RegExp(`no handler "${name}"`) };
    throws(() => new Router().service(service, {}), missing);
    throws(() => new Router().service(service, new (class {})() as never), missing);
    const own = { [name]: () => BYTES } as never;
    new Router().service(service, own);
  }
  class Own {
    toString() {
      return "mine";
    }
  }
  new Router().service(named("toString"), new Own() as never);
});

Deno.test("service() refuses a function of a plain object for which there is no method", () => {
  const message = 'Cannot serve pkg.Svc: it has no method for the handler "lst"; ' +
    'its methods are "get", "list"';
  const misspelt = { ...handlers, lst: () => [] };
  throws(() => new Router().service(Svc, misspelt), { name: "TypeError", message });
  const bare = Object.assign(Object.create(null), misspelt);
  throws(() => new Router().service(Svc, bare), { message });
  throws(() => new Router().service(named(), { x: () => {} } as never), {
    message: 'Cannot serve pkg.Named: it has no method for the handler "x"; its methods are none',
  });
});

Deno.test("service() does not mind other values, nor what else a class can do", () => {
  new Router().service(Svc, { ...handlers, version: 1 } as Handlers);
  class Server {
    readonly value = BYTES;
    get() {
      return this.value;
    }
    list() {
      return [];
    }
    helper = () => {};
  }
  class Derived extends Server {}
  const { handler } = routeOf(new Router().service(Svc, new Derived()), "Get");
  equal(handler(undefined, serverCall().call), BYTES);
});

Deno.test("service() takes a handler that a getter gives", () => {
  const given = {
    list: () => [],
    get get() {
      return () => BYTES;
    },
  };
  equal(routeOf(new Router().service(Svc, given), "Get").handler(0, serverCall().call), BYTES);
});

Deno.test("a handler gets the request and the context, and runs as code of its call", () => {
  const { call } = serverCall();
  const given: unknown[] = [];
  const own = {
    ...handlers,
    get(...args: unknown[]) {
      given.push(this, ...args, runningCall());
      return BYTES;
    },
  };
  equal(routeOf(new Router().service(Svc, own), "Get").handler(BYTES, call), BYTES);
  deepEqual(given.map((value, at) => value === [own, BYTES, call.context, call][at]), [
    true,
    true,
    true,
    true,
  ]);
  equal(runningCall(), undefined);
});

Deno.test("without interceptors a router has nothing for refused calls", () => {
  equal(new Router().refusals, undefined);
});

Deno.test("interceptors are made once for each method, from a list that is copied", async () => {
  let made = 0;
  const list: Interceptor[] = [(next) => {
    made++;
    return next;
  }];
  const router = new Router(list);
  equal(made, 1); // for calls that are refused
  list.push(() => () => Promise.reject(new Error("too late")));
  router.service(Svc, handlers);
  equal(made, 3);
  const { handler } = routeOf(router, "Get");
  for (let i = 0; i < 2; i++) equal(await handler(BYTES, serverCall().call), BYTES);
  equal(made, 3);
});

Deno.test("interceptors see the request on its way to the handler, and the response on its way back", async () => {
  const seen: unknown[] = [];
  const other = new Uint8Array([2]);
  const around = (name: string): Interceptor => (next) => async (request) => {
    seen.push([name, request.message]);
    const response = await next({ ...request, message: other } as InterceptedRequest);
    seen.push([name, response]);
    return { ...response, message: BYTES } as InterceptedResponse;
  };
  const get = (bytes: Uint8Array) => {
    seen.push(["get", bytes]);
    return Promise.resolve(bytes);
  };
  const handler = routed({ get }, [around("a"), around("b")]);
  equal(await handler(BYTES, serverCall().call), BYTES);
  deepEqual(seen, [
    ["a", BYTES],
    ["b", other],
    ["get", other],
    ["b", { kind: "unary", message: other }],
    ["a", { kind: "unary", message: BYTES }],
  ]);
});

Deno.test("a handler behind interceptors runs as code of its call, and may throw", async () => {
  const { call } = serverCall();
  const error = new Error("mine");
  let running: unknown;
  const get = () => {
    running = runningCall();
    throw error;
  };
  await rejects(Promise.resolve(routed({ get }, [(next) => next])(BYTES, call)), error);
  equal(running, call);
});

Deno.test("next() refuses a request that is not the call's, and a call that is over", async () => {
  let ran = 0;
  const get = () => {
    ran++;
    return BYTES;
  };
  const bare: Interceptor = (next) => ({ method, kind, message }) =>
    next({ method, kind, message } as InterceptedRequest);
  await rejects(Promise.resolve(routed({ get }, [bare])(BYTES, serverCall().call)), TypeError);
  const { call } = serverCall();
  call.end(LOST);
  const passing = routed({ get }, [(next) => next]);
  await rejects(Promise.resolve(passing(BYTES, call)), { code: LOST.code });
  equal(ran, 0);
});

Deno.test("next() rejects as soon as the call is over, though the handler still runs", async () => {
  const { call } = serverCall();
  const handler = routed({ get: () => new Promise<Uint8Array>(() => {}) }, [(next) => next]);
  const answer = Promise.resolve(handler(BYTES, call));
  await settle();
  call.end(LOST);
  await rejects(answer, { message: "pkg.Svc/Do: UNAVAILABLE: lost" });
});

Deno.test("next() rejects for a refused call with the reason", async () => {
  const seen: InterceptedRequest[] = [];
  const { refusals } = new Router([(next) => (request) => {
    seen.push(request);
    return next(request);
  }]);
  const { call } = serverCall("unary", { refusal: { code: Code.UNIMPLEMENTED, message: "no" } });
  await rejects(Promise.resolve(refusals!(undefined, call)), { code: Code.UNIMPLEMENTED });
  equal(seen.length, 1);
  equal(seen[0]!.message, undefined);
  await rejects(Promise.resolve(refusals!(undefined, serverCall().call)), {
    name: "TypeError",
    message: "Cannot run a handler: the call is refused",
  });
});

/** What a handler's messages look like behind an interceptor. */
async function listed(messages: Messages<Uint8Array>, call: ServerCall) {
  const handler = routed({ list: () => messages }, [(next) => next], "List");
  return (await handler(BYTES, call) as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
}

class Source implements AsyncIterableIterator<Uint8Array> {
  asked = 0;
  returned = 0;
  running: unknown;
  result: () => Promise<IteratorResult<Uint8Array>> = () =>
    Promise.resolve({ done: false, value: BYTES });

  next(): Promise<IteratorResult<Uint8Array>> {
    this.asked++;
    this.running = runningCall();
    return this.result();
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    this.returned++;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

Deno.test("a stream behind interceptors gives its messages, asynchronous or not", async () => {
  const { call } = serverCall("server_streaming");
  const list = await listed([BYTES], call);
  deepEqual(await list.next(), { done: false, value: BYTES });
  deepEqual(await list.next(), { done: true, value: undefined });

  const source = new Source();
  const messages = await listed(source, call);
  deepEqual(await messages.next(), { done: false, value: BYTES });
  equal(source.running, call);
  source.result = () => Promise.resolve({ done: true, value: undefined });
  equal((await messages.next()).done, true);
  equal((await messages.next()).done, true);
  await messages.return!();
  deepEqual([source.asked, source.returned], [2, 0]);
});

Deno.test("a stream behind interceptors tells its source once when nobody wants more", async () => {
  const source = new Source();
  const messages = await listed(source, serverCall("server_streaming").call);
  await messages.return!();
  await messages.return!();
  equal((await messages.next()).done, true);
  deepEqual([source.asked, source.returned], [0, 1]);
});

Deno.test("a stream behind interceptors stays stopped when a message comes late", async () => {
  const source = new Source();
  const late = Promise.withResolvers<IteratorResult<Uint8Array>>();
  source.result = () => late.promise;
  const messages = await listed(source, serverCall("server_streaming").call);
  const next = messages.next();
  await messages.return!();
  late.resolve({ done: false, value: BYTES });
  await next;
  equal((await messages.next()).done, true);
  deepEqual([source.asked, source.returned], [1, 1]);
});

Deno.test("a stream behind interceptors ends with its call, and tells its source", async () => {
  const { call } = serverCall("server_streaming");
  const source = new Source();
  source.result = () => new Promise(() => {});
  const messages = await listed(source, call);
  const next = messages.next();
  await settle();
  call.end(LOST);
  await rejects(next, { code: LOST.code });
  equal(source.returned, 1);
  equal((await messages.next()).done, true);
  equal(source.asked, 1);
});

Deno.test("a stream behind interceptors passes errors of its source on", async () => {
  const error = new Error("mine");
  const source = new Source();
  source.result = () => {
    throw error;
  };
  const messages = await listed(source, serverCall("server_streaming").call);
  await rejects(messages.next(), error);
  equal((await messages.next()).done, true);
});

Deno.test("a handler that returns nothing iterable for a stream is told so", async () => {
  const { call } = serverCall("server_streaming");
  await rejects(listed(5 as never, call), {
    name: "TypeError",
    message: "Cannot send 5 as a stream of messages: it is not iterable",
  });
  call.end(OK);
});

Deno.test("unknownMethod() is a unary method of bytes with the names that came", () => {
  const method = unknownMethod("pkg.No", "Such");
  equal(method.path, "pkg.No/Such");
  equal(method.kind, "unary");
  equal(method.output.encode(BYTES), BYTES);
  equal(unknownMethod("", "").path, "/");
});
