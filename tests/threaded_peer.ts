/** A peer on another thread, which answers and closes while this thread stands still. */

/** What the peer does on each connection. */
export interface PeerScript {
  /** Where it listens; over TCP if this is left out. */
  path?: string | undefined;
  /** For how many frames it waits. */
  frames: number;
  /** What it sends then, before it closes. */
  bytes: Uint8Array;
  /** Two counters: of the connections that may be answered, and that are closed. */
  state: SharedArrayBuffer;
}

/** Controls the peer. */
export class ThreadedPeer implements Disposable {
  readonly #worker: Worker;
  readonly #go: Int32Array;
  readonly #done: Int32Array;
  readonly #messages: unknown[] = [];
  #wake = Promise.withResolvers<void>();
  #round = 0;
  /** The port it listens on. */
  port = 0;

  private constructor(state: SharedArrayBuffer) {
    this.#go = new Int32Array(state, 0, 1);
    this.#done = new Int32Array(state, 4, 1);
    this.#worker = new Worker(new URL("./peer_worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => {
      this.#messages.push(data);
      this.#wake.resolve();
    };
  }

  static async start(script: Omit<PeerScript, "state">): Promise<ThreadedPeer> {
    const state = new SharedArrayBuffer(8);
    const peer = new ThreadedPeer(state);
    peer.#worker.postMessage({ ...script, state });
    peer.port = await peer.#message() as number;
    return peer;
  }

  /** Settles when the peer has all frames that it waits for on the next connection. */
  async received(): Promise<void> {
    await this.#message();
  }

  /** Lets the peer answer and close. Nothing else happens on this thread until it has. */
  standStill(): void {
    const round = ++this.#round;
    Atomics.store(this.#go, 0, round);
    Atomics.notify(this.#go, 0);
    while (Atomics.load(this.#done, 0) < round) {
      if (Atomics.wait(this.#done, 0, round - 1, 10_000) === "timed-out") {
        throw new Error("the peer does not answer");
      }
    }
  }

  async #message(): Promise<unknown> {
    while (this.#messages.length === 0) {
      this.#wake = Promise.withResolvers();
      await this.#wake.promise;
    }
    return this.#messages.shift();
  }

  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}
