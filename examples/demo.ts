// A server and a client over a unix socket, and what they say to each other.

import { connect, RpcError, serve } from "@ttrpc/ttrpc";
import { Greeter } from "../gen/greeter/v1/greeter_ttrpc.ts";
import { TestService } from "../gen/ttrpc/test/v1/test_ttrpc.ts";

const folder = await Deno.makeTempDir();
const path = `${folder}/demo.sock`;

{
  await using _server = serve({ path }, (router) => {
    router.service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) });
    router.service(TestService, {
      echo: ({ text }, { metadata }) => ({
        text,
        metadata: Array.from(metadata, ([key, value]) => ({ key, value })),
      }),
      fail: ({ code, message }) => {
        throw new RpcError(code, message);
      },
      sleep: async ({ milliseconds }, { signal }) => {
        const done = Promise.withResolvers<void>();
        const timer = setTimeout(done.resolve, Number(milliseconds));
        signal.addEventListener("abort", () => {
          console.log("  server: the handler's signal is aborted");
          clearTimeout(timer);
          done.reject(signal.reason);
        });
        await done.promise;
        return {};
      },
      nothing: () => ({}),
      produce: ({ length }) => ({ payload: new Uint8Array(length) }),
      async *count({ count }) {
        for (let value = 0; value < count; value++) yield { value: BigInt(value) };
      },
      sum: async (numbers) => {
        let value = 0n;
        for await (const number of numbers) value += number.value;
        return { value };
      },
      async *chat(messages) {
        for await (const { text } of messages) yield { text: text.toUpperCase() };
      },
    });
  });
  console.log(`a server listens on unix:${path}, and a client connects`);

  await using client = await connect({ path });
  const greeter = client.service(Greeter);
  const test = client.service(TestService, { timeoutMs: 5_000 });

  show("a call", `sayHello({ name: "Deno" })`);
  console.log(`  client: ${(await greeter.sayHello({ name: "Deno" })).message}`);

  show("metadata travels beside the request", `echo({}, { metadata: { "x-trace": "1" } })`);
  const { metadata } = await test.echo({}, { metadata: { "x-trace": "1" } });
  console.log(`  client: ${metadata.map(({ key, value }) => `${key} = ${value}`).join(", ")}`);

  show("an error with a code", `fail({ code: 5, message: "no such task" })`);
  await test.fail({ code: 5, message: "no such task" }).catch(tell);

  show("a deadline, which both sides keep", `sleep({ milliseconds: 10_000n }, { timeoutMs: 50 })`);
  await test.sleep({ milliseconds: 10_000n }, { timeoutMs: 50 }).catch(tell);

  show("a stream from the server", "count({ count: 5 })");
  const counted: bigint[] = [];
  for await (const { value } of test.count({ count: 5 })) counted.push(value);
  console.log(`  client: ${counted.join(", ")}`);

  show("a stream to the server", "sum([{ value: 1n }, { value: 2n }, { value: 39n }])");
  const { value } = await test.sum([{ value: 1n }, { value: 2n }, { value: 39n }]);
  console.log(`  client: ${value}`);

  show("a stream both ways", "chat(questions()), left after the second answer");
  let answers = 0;
  for await (const { text } of test.chat(questions())) {
    console.log(`  server answers: ${text}`);
    if (++answers === 2) break;
  }
  await new Promise((resolve) => setTimeout(resolve, 50)); // time for the generator to end

  show("calls at once, on one connection", `1,000 times echo()`);
  const start = performance.now();
  await Promise.all(Array.from({ length: 1_000 }, (_, i) => test.echo({ text: `${i}` })));
  console.log(`  client: took ${(performance.now() - start).toFixed(0)} ms`);
}

await Deno.remove(folder, { recursive: true });
console.log("\nclient and server are closed, the socket is gone");

function show(what: string, code: string): void {
  console.log(`\n${what}: ${code}`);
}

function tell(error: unknown): void {
  console.log(`  client: ${error}`);
}

async function* questions() {
  try {
    for (const text of ["who", "what", "when"]) {
      console.log(`  client asks: ${text}`);
      yield { text };
      await new Promise((resolve) => setTimeout(resolve, 20)); // time for the answer
    }
  } finally {
    console.log("  client: no more questions");
  }
}
