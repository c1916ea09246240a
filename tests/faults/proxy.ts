/** A proxy between a client and a server that does to their bytes what a test asks for. */

/** One direction of the connections through a proxy. */
export class Line {
  /** The most bytes that are taken at once. */
  piece = 1 << 16;
  /** Awaited before each piece is passed on. */
  delay: (() => Promise<void>) | undefined;
  /** Bytes that are still passed on; the connection is cut at the next one. */
  left = Infinity;
  /** How many bytes have passed. */
  passed = 0;
  #gate = Promise.withResolvers<void>();

  constructor() {
    this.#gate.resolve();
  }

  /** Takes nothing more for the time being. What is under way still passes. */
  stall(): void {
    this.#gate = Promise.withResolvers();
  }

  resume(): void {
    this.#gate.resolve();
  }

  get open(): Promise<void> {
    return this.#gate.promise;
  }
}

/** Where a proxy listens. */
export type ProxyAddress = { transport: "unix"; path: string } | { transport: "tcp"; port: number };

/** Passes connections on to a server on a unix socket. */
export class Proxy implements AsyncDisposable {
  /** From clients to the server. */
  readonly up = new Line();
  /** From the server to clients. */
  readonly down = new Line();
  readonly #target: string;
  readonly #listener: Deno.Listener;
  readonly #connections = new Set<Deno.Conn>();
  readonly #accepting: Promise<void>;
  readonly #pumps = new Set<Promise<void>>();

  constructor(address: ProxyAddress, target: string) {
    this.#target = target;
    this.#listener = address.transport === "unix"
      ? Deno.listen(address) as unknown as Deno.Listener
      : Deno.listen(address);
    this.#accepting = this.#accept();
  }

  /** Where clients connect to. */
  get addr(): Deno.Addr {
    return this.#listener.addr;
  }

  /**
   * Closes all connections through the proxy. An end that has sent bytes which the proxy has not
   * read hears of a reset, the other of the end of the file.
   */
  cut(): void {
    for (const conn of this.#connections) conn.close();
    this.#connections.clear();
    this.up.resume();
    this.down.resume();
  }

  async #accept(): Promise<void> {
    for await (const near of this.#listener) {
      const far = await Deno.connect({ transport: "unix", path: this.#target });
      this.#connections.add(near).add(far);
      for (const pump of [this.#pump(near, far, this.up), this.#pump(far, near, this.down)]) {
        this.#pumps.add(pump);
        void pump.then(() => this.#pumps.delete(pump));
      }
    }
  }

  async #pump(from: Deno.Conn, to: Deno.Conn, line: Line): Promise<void> {
    const buffer = new Uint8Array(line.piece);
    try {
      for (;;) {
        await line.open;
        const length = await from.read(buffer.subarray(0, line.piece));
        if (length === null) break;
        await line.delay?.();
        let part = buffer.subarray(0, Math.min(length, line.left));
        const over = part.length < length;
        line.left -= part.length;
        line.passed += part.length;
        while (part.length > 0) part = part.subarray(await to.write(part));
        if (over) throw new Error("this is where the connection is cut");
      }
      await to.closeWrite();
    } catch {
      // One end is gone, and so is the other when the test ends or cuts.
      this.#close(from);
      this.#close(to);
    }
  }

  #close(conn: Deno.Conn): void {
    if (!this.#connections.delete(conn)) return;
    conn.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.cut();
    await this.#accepting;
    await Promise.all(this.#pumps);
  }
}
