import {
  bytesCodec,
  connect,
  createConnectionPair,
  serve,
  type ServiceDescriptor,
} from "@ttrpc/ttrpc";
import { deepEqual, equal, throws } from "node:assert/strict";
import { Greeter } from "../gen/greeter/v1/greeter_pb.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_pb.ts";
import { Router } from "../engine/router.ts";
import { type AnyService, methodsOf } from "../service.ts";
import { SocketFolder, testHandlers } from "./fixture.ts";

Deno.test("methodsOf() names each method as TypeScript does and as the wire does", () => {
  const methods = methodsOf(TestService);
  deepEqual([...methods.keys()].slice(0, 3), ["echo", "fail", "sleep"]);
  const count = methods.get("count")!;
  equal(count.path, "ttrpc.test.v1.TestService/Count");
  deepEqual([count.kind, count.clientStreaming, count.serverStreaming], [
    "server_streaming",
    false,
    true,
  ]);
  equal(methodsOf(TestService), methods);
});

Deno.test("methodsOf() refuses what is no service descriptor", () => {
  for (const service of [undefined, null, "greeter.v1.Greeter", {}, { typeName: "x" }]) {
    throws(() => methodsOf(service as unknown as AnyService), {
      name: "TypeError",
      message: `Cannot use ${service} as a service: it is not a service descriptor`,
    });
  }
});

const method = { methodKind: "unary", input: bytesCodec, output: bytesCodec } as const;
const Awkward = {
  typeName: "awkward.Names",
  method: {
    then: { ...method, name: "Then" },
    close: { ...method, name: "Close" },
    toString$: { ...method, name: "ToString" },
    constructor$: { ...method, name: "Constructor" },
  },
} as const satisfies ServiceDescriptor;

Deno.test("a service client is no thenable, whatever its methods are called", async () => {
  using socket = new SocketFolder();
  const answer = (request: Uint8Array) => request;
  await using _server = serve(
    { path: socket.path },
    (router) =>
      router.service(Awkward, {
        then$: answer,
        close: answer,
        toString$: answer,
        constructor$: answer,
      }),
  );
  await using client = await connect({ path: socket.path });
  const names = client.service(Awkward);
  equal(await Promise.resolve(names), names);
  equal("then" in names, false);
  const bytes = new Uint8Array([1]);
  deepEqual(await names.then$(bytes), bytes);
  deepEqual(await names.close(bytes), bytes);
  deepEqual(await names.toString$(bytes), bytes);
  deepEqual(await names.constructor$(bytes), bytes);
  equal(String(names), "[object Object]");
});

const sayHello = ({ name }: { name: string }) => ({ message: name });

Deno.test("Router.service() refuses a service that is offered already", () => {
  const router = new Router().service(Greeter, { sayHello });
  throws(() => router.service(Greeter, { sayHello }), {
    name: "TypeError",
    message: "Cannot serve greeter.v1.Greeter: it is registered already",
  });
});

Deno.test("Router.service() names a handler that is missing", () => {
  for (const handlers of [{}, { sayHello: undefined }, { sayHello: "hello" }]) {
    throws(
      () => new Router().service(Greeter, handlers as unknown as { sayHello: typeof sayHello }),
      {
        name: "TypeError",
        message: 'Cannot serve greeter.v1.Greeter: there is no handler "sayHello" ' +
          "for its method SayHello",
      },
    );
  }
});

Deno.test("Router.service() names a handler for which there is no method", () => {
  const handlers = { sayHello, sayhello: sayHello };
  throws(() => new Router().service(Greeter, handlers), {
    name: "TypeError",
    message: "Cannot serve greeter.v1.Greeter: it has no method for the handler " +
      '"sayhello"; its methods are "sayHello"',
  });
});

Deno.test("Router.service() calls the methods of an instance on that instance", async () => {
  class Polite {
    #greeting = "Good day";
    sayHello({ name }: { name: string }) {
      return { message: this.greet(name) };
    }
    greet(name: string) {
      return `${this.#greeting} ${name}`;
    }
  }
  const [near, far] = createConnectionPair();
  await using _server = serve(
    { connection: far },
    (router) => router.service(Greeter, new Polite()),
  );
  await using client = await connect(near);
  equal((await client.service(Greeter).sayHello({ name: "Ada" })).message, "Good day Ada");
});

Deno.test("Router.find() says what is missing in the words of ttrpc", () => {
  const router = new Router().service(TestService, testHandlers);
  equal(router.find("no.Service", "Echo"), "service no.Service");
  equal(router.find("ttrpc.test.v1.TestService", "echo"), "method echo");
});

Deno.test("serve() refuses bad routes before it listens", () => {
  using socket = new SocketFolder();
  throws(
    () => serve({ path: socket.path }, (router) => router.service(Greeter, {} as never)),
    TypeError,
  );
  throws(() => Deno.lstatSync(socket.path), Deno.errors.NotFound);
});
