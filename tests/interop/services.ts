/** Our own server, with all the services that peers call. */

import { type Client, Code, RpcError, serve, type ServeOptions, type Server } from "@ttrpc/ttrpc";
import { equal } from "node:assert/strict";
import { streamingHandlers } from "./streaming.ts";
import { Greeter } from "../../gen/greeter/v1/greeter_pb.ts";
import { Streaming } from "../../gen/ttrpc/integration/streaming/streaming_pb.ts";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder, type TestHandlers, testHandlers } from "../fixture.ts";

/** The longest data of a frame. */
export const MESSAGE_BYTES = 4 << 20;

/** Checks that a connection still works. */
export async function alive(client: Client): Promise<void> {
  const { text } = await client.service(TestService).echo({ text: "still here?" });
  equal(text, "still here?");
}

const handlers: TestHandlers = {
  ...testHandlers,
  sleep: (request, context) => {
    if (request.milliseconds < 0) throw new Error(`cannot sleep for ${request.milliseconds} ms`);
    return testHandlers.sleep(request, context);
  },
  async *chat(requests) {
    for await (const { payload, text } of requests) {
      if (text === "fail") throw new RpcError(Code.FAILED_PRECONDITION, "asked to fail");
      yield { payload, text };
    }
  },
};

/** A server of all three services on a socket of its own. */
export class OurServer implements AsyncDisposable {
  readonly server: Server;
  readonly path: string;
  readonly #socket = new SocketFolder();

  /** Starts one, with some handlers of the test service replaced. */
  constructor(different: Partial<TestHandlers> = {}, settings: ServeOptions = {}) {
    this.path = this.#socket.path;
    this.server = serve({ ...settings, path: this.path }, (router) =>
      router
        .service(TestService, { ...handlers, ...different })
        .service(Greeter, { sayHello: ({ name }) => ({ message: `Hello ${name}` }) })
        .service(Streaming, streamingHandlers));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
    await this.server.finished;
    this.#socket[Symbol.dispose]();
  }
}
