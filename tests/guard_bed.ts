/** A client whose calls the test answers, and calls of it with interceptors around them. */

import { takeOptions } from "../engine/call_options.ts";
import type { ClientCall } from "../engine/client_call.ts";
import type { Deadlines } from "../async/deadlines.ts";
import { Guard, interceptedCaller, type InterceptingClient } from "../engine/intercepted.ts";
import type { InterceptedRequest, Interceptor } from "../interceptor.ts";
import type { MethodKind } from "../engine/method.ts";
import type { CallOptions, MessageStream } from "../service.ts";
import { Code, type Status } from "../status.ts";
import { clientCall, TestKeeper } from "./client_stand_ins.ts";
import { NotedDeadlines } from "./server_stand_ins.ts";
import { methodOf } from "./stand_ins.ts";

export const CLOSED: Status = { code: Code.CANCELLED, message: "the client is closed" };

/** A client whose calls the test answers. */
export class TestClient implements InterceptingClient {
  readonly address = "server.sock";
  readonly deadlines: Deadlines;
  readonly guards = new Set<Guard>();
  readonly keeper = new TestKeeper();
  closed: Status | undefined;
  /** The requests that reached the client. */
  readonly requests: InterceptedRequest[] = [];
  /** The attempts that were made of them. */
  readonly calls: ClientCall[] = [];
  /** What an attempt returns. */
  answer: () => unknown = () => "answer";

  constructor(deadlines: Deadlines = new NotedDeadlines()) {
    this.deadlines = deadlines;
  }

  call(guard: Guard, method: { kind: MethodKind }, request: InterceptedRequest): unknown {
    this.requests.push(request);
    const call = clientCall(method.kind, guard.attempt(request), {}, this.keeper);
    guard.attempted(call);
    this.calls.push(call);
    return this.answer();
  }

  guard(options?: CallOptions): Guard {
    return new Guard(takeOptions(options, undefined), this);
  }

  /** How many deadlines are watched. */
  get watched(): number {
    const { noted } = this.deadlines as NotedDeadlines;
    return noted.filter(([what]) => what === "add").length -
      noted.filter(([what]) => what === "delete").length;
  }
}

export const UNARY = methodOf("unary");

export function caller(client: TestClient, kind: MethodKind, ...interceptors: Interceptor[]) {
  return interceptedCaller(interceptors, methodOf(kind), client);
}

export function unary(
  client: TestClient,
  options?: CallOptions,
  ...interceptors: Interceptor[]
): Promise<unknown> {
  return caller(client, "unary", ...interceptors)("message", options, undefined) as Promise<
    unknown
  >;
}

export function stream(
  client: TestClient,
  options?: CallOptions,
  ...interceptors: Interceptor[]
): MessageStream<unknown> {
  const call = caller(client, "server_streaming", ...interceptors);
  return call("message", options, undefined) as MessageStream<unknown>;
}

export const PASS: Interceptor = (next) => next;
