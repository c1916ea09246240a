/** What stands for a server and its connection, in tests of one call. */

import { Deadlines } from "../async/deadlines.ts";
import type { MethodKind } from "../engine/method.ts";
import {
  type CallHost,
  type CallStart,
  ServerCall,
  type ServerKeeper,
} from "../engine/server_call.ts";
import { Tally } from "../stats.ts";
import type { Status } from "../status.ts";
import { methodOf } from "./stand_ins.ts";

/** Notes what is to be watched, and watches nothing. */
export class NotedDeadlines extends Deadlines {
  readonly noted: [what: string, deadline: number][] = [];

  override add({ deadline }: { deadline: number }): void {
    this.noted.push(["add", deadline]);
  }

  override delete({ deadline }: { deadline: number }): void {
    this.noted.push(["delete", deadline]);
  }
}

/** The server and the connection of a call. */
export class TestCallHost implements CallHost, ServerKeeper {
  readonly info = { remoteAddr: undefined, values: new Map() };
  readonly server: this = this;
  readonly deadlines = new NotedDeadlines();
  readonly tally = new Tally();
  readonly failed: Status[] = [];
  readonly reported: [error: unknown, method: string | undefined][] = [];

  report(error: unknown, method?: string): void {
    this.reported.push([error, method]);
  }

  failCall(call: ServerCall, status: Status): void {
    this.failed.push(status);
    call.abandon(status);
  }
}

/** A call on a server. */
export function serverCall(
  kind: MethodKind = "unary",
  start: Partial<CallStart> = {},
  host: TestCallHost = new TestCallHost(),
): { call: ServerCall; host: TestCallHost } {
  const all = { metadata: undefined, deadline: Infinity, ...start };
  const call = new ServerCall(methodOf(kind), all, host);
  call.open(1);
  return { call, host };
}
