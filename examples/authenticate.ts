// deno run --allow-net=unix:/tmp/authenticate.sock,unix:/tmp/authenticate.sock.new/s --allow-read=/tmp --allow-write=/tmp/authenticate.sock,/tmp/authenticate.sock.new examples/authenticate.ts /tmp/authenticate.sock
//
// Authentication by a token in the metadata: an interceptor of the server refuses calls without a
// token that it knows, and an interceptor of the client sends one along with each call.

import { Code, connect, type Interceptor, RpcError, serve } from "@ttrpc/ttrpc";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";

const [path = "/tmp/authenticate.sock"] = Deno.args;

const token = crypto.randomUUID();
const users = new Map([[`Bearer ${token}`, "Ada"]]);

const authenticate: Interceptor = (next) => async (request) => {
  const user = users.get(request.metadata.get("authorization") ?? "");
  if (user === undefined) throw new RpcError(Code.UNAUTHENTICATED, "a valid token is needed");
  // The handler reads it from its context. Whatever the client has sent under this name is gone.
  request.metadata.set("user", user);
  return await next(request);
};

const login = (sent: string): Interceptor => (next) => (request) => {
  request.metadata.set("authorization", `Bearer ${sent}`);
  return next(request);
};

await using server = serve(
  { path, interceptors: [authenticate] },
  (router) =>
    router.service(Greeter, {
      sayHello: ({ name }, { metadata }) => ({
        message: `Hello ${name}, you are ${metadata.get("user")}`,
      }),
    }),
);
await server.listening;

for (const interceptors of [[login(token)], [login("a guess")], []]) {
  await using client = await connect({ path }, { interceptors });
  try {
    const { message } = await client.service(Greeter).sayHello({ name: "you" });
    console.log(message);
  } catch (error) {
    if (!(error instanceof RpcError && error.code === Code.UNAUTHENTICATED)) throw error;
    console.log(error.message);
  }
}
