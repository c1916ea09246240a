/** Time that passes when a test says so: for what reads the clock and starts timers by itself. */

import { settle } from "./stand_ins.ts";

interface FakeTimer {
  readonly delay: number;
  due: number;
  readonly every: number | undefined;
  readonly callback: () => void;
  ref: boolean;
}

/** Stands for the process's clock and timers until it is disposed of. */
export class FakeClock implements Disposable {
  readonly #timers = new Map<number, FakeTimer>();
  readonly #restore: (() => void)[] = [];
  #now = 1_000;
  #id = 0;
  #started = 0;

  constructor() {
    const start = (callback: () => void, delay: number, every?: number) => {
      const id = ++this.#id;
      this.#started++;
      this.#timers.set(id, { delay, due: this.#now + delay, every, callback, ref: true });
      return id;
    };
    const stop = (id: number) => void this.#timers.delete(id);
    const set = (ref: boolean) => (id: number) => {
      const timer = this.#timers.get(id);
      if (timer) timer.ref = ref;
    };
    this.#replace(globalThis, "setTimeout", start);
    this.#replace(
      globalThis,
      "setInterval",
      (callback: () => void, delay: number) => start(callback, delay, delay),
    );
    this.#replace(globalThis, "clearTimeout", stop);
    this.#replace(globalThis, "clearInterval", stop);
    this.#replace(Deno, "refTimer", set(true));
    this.#replace(Deno, "unrefTimer", set(false));
    this.#replace(performance, "now", () => this.#now);
  }

  #replace(owner: object, name: string, value: unknown): void {
    const was = Object.getOwnPropertyDescriptor(owner, name);
    Object.defineProperty(owner, name, { value, configurable: true, writable: true });
    this.#restore.push(() => {
      if (was) Object.defineProperty(owner, name, was);
      else Reflect.deleteProperty(owner, name);
    });
  }

  /** What `performance.now()` returns. */
  get now(): number {
    return this.#now;
  }

  /** The delays of the timers that run, as they were given. */
  get delays(): number[] {
    return [...this.#timers.values()].map(({ delay }) => delay);
  }

  /** How many timers were ever started. */
  get started(): number {
    return this.#started;
  }

  /** Whether a timer keeps the process alive. */
  get holds(): boolean {
    return [...this.#timers.values()].some(({ ref }) => ref);
  }

  /** Lets time pass, and then everything run that waits for nothing more. */
  async pass(ms: number): Promise<void> {
    await settle();
    const end = this.#now + ms;
    for (;;) {
      const [first] = [...this.#timers].sort(([, a], [, b]) => a.due - b.due);
      if (!first || first[1].due > end) break;
      const [id, timer] = first;
      this.#now = timer.due;
      if (timer.every === undefined) this.#timers.delete(id);
      else timer.due += timer.every;
      timer.callback();
      await settle();
    }
    this.#now = end;
  }

  [Symbol.dispose](): void {
    for (const restore of this.#restore) restore();
  }
}
