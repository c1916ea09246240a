/** A server for peers that mean harm. */

import { connect } from "@ttrpc/ttrpc";
import { ok } from "node:assert/strict";
import { TestService } from "../../gen/ttrpc/test/v1/test_pb.ts";
import { SocketFolder } from "../fixture.ts";
import { Child } from "./child.ts";
import type { Report, VictimOptions } from "./server.ts";
import { until } from "../wait.ts";

const MIB = 1 << 20;

/** A server in a process of its own, and what it has grown to. */
export class Victim implements AsyncDisposable {
  readonly path: string;
  readonly child: Child;
  readonly #socket: SocketFolder;
  #before = 0;

  private constructor(socket: SocketFolder, child: Child) {
    this.#socket = socket;
    this.path = socket.path;
    this.child = child;
  }

  static async start(options: VictimOptions = {}): Promise<Victim> {
    const socket = new SocketFolder();
    const victim = new Victim(
      socket,
      await Child.start("server.ts", [socket.path, JSON.stringify(options)]),
    );
    // It says which connections it has lost. Unread, that would hold it up at some time.
    void victim.child.expect(/^nothing like this$/).catch(() => {});
    // What is loaded and compiled at the first call is not the peer's doing.
    await using client = await connect({ path: victim.path });
    const service = client.service(TestService);
    for (let i = 0; i < 200; i++) await service.echo({ text: "x" });
    await victim.report();
    victim.#before = victim.child.footprint.rss;
    return victim;
  }

  /** Asks through a fresh client. */
  async report(): Promise<Report> {
    // Long enough for a machine that is busy with other tests, and a Deno whose cache is empty.
    const timeoutMs = 60_000;
    await using client = await connect({ path: this.path }, { connectTimeoutMs: timeoutMs });
    const { text } = await client.service(TestService).echo({ text: "report" }, { timeoutMs });
    return JSON.parse(text);
  }

  /** Waits until something is so in a report. */
  async until(isSo: (report: Report) => boolean): Promise<void> {
    await until(async () => isSo(await this.report()), String(isSo), 120_000);
  }

  /** Fails if the server was ever larger than it was at first by more than so many bytes. */
  check(bound: number): void {
    const grown = this.child.footprint.peak - this.#before;
    if (Deno.env.has("TTRPC_FIGURES")) console.log(`${(grown / MIB).toFixed(1)} MiB`);
    ok(grown <= bound, `the server has grown by ${grown} bytes, and ${bound} are allowed`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child[Symbol.asyncDispose]();
    this.#socket[Symbol.dispose]();
  }
}
