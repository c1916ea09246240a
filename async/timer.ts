/**
 * Waiting: timers that keep the process alive together or not at all, and pauses.
 *
 * @module
 */

/** The longest delay that `setTimeout()` takes, in milliseconds. */
const LONGEST_DELAY = 2 ** 31 - 1;

/**
 * Checks a time that a user has given.
 *
 * @param name What it is called.
 * @param ms Milliseconds; `Infinity` and `undefined` mean that there is no bound.
 * @returns The time, `Infinity` if there is no bound.
 * @throws {RangeError} If it is no number.
 */
export function checkTime(name: string, ms: number | undefined): number {
  if (ms === undefined) return Infinity;
  if (typeof ms !== "number" || Number.isNaN(ms)) {
    throw new RangeError(`Cannot use ${name} of ${ms}: it takes a number of milliseconds`);
  }
  return ms;
}

/** A timer that was started. */
export interface Timer {
  /** Stops it, if it has not fired. */
  stop(): void;
}

const NEVER: Timer = { stop() {} };

/** The timers of one client or server. */
export class Timers {
  readonly #ids = new Set<number>();
  #unref = false;

  /**
   * Calls back once.
   *
   * @param ms In how many milliseconds; never if that is infinite.
   * @param callback What to call.
   * @returns The timer.
   */
  start(ms: number, callback: () => void): Timer {
    if (ms === Infinity) return NEVER;
    const fire = () => {
      this.#ids.delete(id);
      callback();
    };
    const id = setTimeout(fire, delay(ms)) as unknown as number;
    return this.#add(id);
  }

  /**
   * Calls back again and again.
   *
   * @param ms The milliseconds between two calls; none is made if that is infinite.
   * @param callback What to call.
   * @returns The timer.
   */
  repeat(ms: number, callback: () => void): Timer {
    if (ms === Infinity) return NEVER;
    return this.#add(setInterval(callback, delay(ms)) as unknown as number);
  }

  /**
   * Waits.
   *
   * @param ms How many milliseconds.
   * @param signal Ends the wait when it is aborted. See whether it was.
   */
  async pause(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = () => resolve();
    const timer = this.start(ms, stop);
    signal?.addEventListener("abort", stop);
    await promise;
    timer.stop();
    signal?.removeEventListener("abort", stop);
  }

  /**
   * Waits for a promise that does not reject, but no longer than so many milliseconds.
   *
   * @param promise The promise.
   * @param ms How long at most.
   */
  async settled(promise: Promise<unknown>, ms: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([promise, this.pause(ms, over.signal)]);
    over.abort();
  }

  /** Lets the timers keep the process alive, as they do at first. */
  ref(): void {
    this.#unref = false;
    for (const id of this.#ids) Deno.refTimer(id);
  }

  /** Lets the process end before they fire. */
  unref(): void {
    this.#unref = true;
    for (const id of this.#ids) Deno.unrefTimer(id);
  }

  #add(id: number): Timer {
    this.#ids.add(id);
    if (this.#unref) Deno.unrefTimer(id);
    return {
      stop: () => {
        if (this.#ids.delete(id)) clearTimeout(id);
      },
    };
  }
}

/**
 * What `setTimeout()` takes for a time.
 *
 * @param ms Milliseconds.
 * @returns The next whole number of milliseconds that it can count.
 */
export function delay(ms: number): number {
  return Math.min(Math.max(0, Math.ceil(ms)), LONGEST_DELAY);
}

/**
 * Turns of the event loop after which it is sure to have asked the system what else there is to do:
 * while it has work, it does so in one of sixty-one only.
 */
const TURNS = 64;
/** How long code that never waits for the event loop may hold it, in microseconds. */
const LONGEST_TURN_US = 2_000;

/** How long the event loop may go on with what has come already, in milliseconds. */
const LONGEST_WITHOUT_MS = 2;

let nextTurn: Promise<void> | undefined;
let spentUs = 0;
let lastTurn = 0;

/** Lets everything else have its turn. Whoever waits at the same time waits together. */
export function turn(): Promise<void> {
  return nextTurn ??= new Promise((resolve) => {
    let left = TURNS;
    const next = () => {
      if (--left > 0) return void setImmediate(next);
      nextTurn = undefined;
      spentUs = 0;
      lastTurn = performance.now();
      resolve();
    };
    setImmediate(next);
  });
}

/**
 * Counts work of code that perhaps never waits for the event loop.
 *
 * @param us About how long it took, in microseconds.
 * @returns What to wait for before there is more; `undefined` as long as others can wait.
 */
export function spend(us: number): Promise<void> | undefined {
  spentUs += us;
  return spentUs < LONGEST_TURN_US ? undefined : turn();
}

/**
 * Keeps those who always find something to do, since their peers send without a pause, from keeping
 * all others from being heard: each round of the event loop may be long, and only one in sixty-one
 * asks the system for what else has come.
 *
 * @param now Milliseconds of `performance.now()`.
 * @returns What to wait for before there is more; `undefined` if it is not long since a turn.
 */
export function turnIfDue(now: number): Promise<void> | undefined {
  return now - lastTurn < LONGEST_WITHOUT_MS ? undefined : turn();
}
