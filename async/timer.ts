/**
 * Timers that can be ref'd and unref'd together, pauses, and turns of the event loop.
 *
 * @module
 */

/** The longest delay that `setTimeout()` accepts, in milliseconds. */
const LONGEST_DELAY = 2 ** 31 - 1;

/**
 * Checks a time that a user passed.
 *
 * @param name The name of the option.
 * @param ms The time in milliseconds; `Infinity` and `undefined` mean no limit.
 * @returns The time in milliseconds, `Infinity` for no limit.
 * @throws {RangeError} If it is not a number.
 */
export function checkTime(name: string, ms: number | undefined): number {
  if (ms === undefined) return Infinity;
  if (typeof ms !== "number" || Number.isNaN(ms)) {
    throw new RangeError(`Cannot use ${name} of ${ms}: it takes a number of milliseconds`);
  }
  return ms;
}

/** A running timer. */
export interface Timer {
  /** Stops it. Has no effect after it has fired. */
  stop(): void;
}

const NEVER: Timer = { stop() {} };

/** The timers of one client or server. */
export class Timers {
  readonly #ids = new Set<number>();
  #unref = false;

  /**
   * Calls a function once, after a delay.
   *
   * @param ms The delay in milliseconds; `Infinity` for never.
   * @param callback The function.
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
   * Calls a function at intervals.
   *
   * @param ms The interval in milliseconds; `Infinity` for never.
   * @param callback The function.
   * @returns The timer.
   */
  repeat(ms: number, callback: () => void): Timer {
    if (ms === Infinity) return NEVER;
    return this.#add(setInterval(callback, delay(ms)) as unknown as number);
  }

  /**
   * Waits.
   *
   * @param ms How long, in milliseconds.
   * @param signal Ends the wait early, without an error.
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
   * Waits until a promise is resolved or a time has passed, whichever is first.
   *
   * @param promise The promise. It must not reject.
   * @param ms The longest wait, in milliseconds.
   */
  async settled(promise: Promise<unknown>, ms: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([promise, this.pause(ms, over.signal)]);
    over.abort();
  }

  /** Lets the timers keep the process alive, which is the default. */
  ref(): void {
    this.#unref = false;
    for (const id of this.#ids) Deno.refTimer(id);
  }

  /** Lets the process exit while timers are running. */
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
 * Converts a time to a delay that `setTimeout()` accepts.
 *
 * @param ms The time in milliseconds.
 * @returns The time rounded up to a whole number, at most the longest delay.
 */
export function delay(ms: number): number {
  return Math.min(Math.max(0, Math.ceil(ms)), LONGEST_DELAY);
}

/**
 * Turns of the event loop after which it has certainly polled the operating system: while it has
 * work, it polls in one turn of 61 only.
 */
const TURNS = 64;
/** How long code that never waits for the event loop may hold it, in microseconds. */
const LONGEST_TURN_US = 2_000;

/** How long input that is already there may be processed before the next poll, in milliseconds. */
const LONGEST_WITHOUT_MS = 2;

let nextTurn: Promise<void> | undefined;
let spentUs = 0;
let lastTurn = 0;

/** Lets the event loop do all other work. Callers that wait at the same time share one promise. */
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
 * Counts the work of code that may never wait for the event loop.
 *
 * @param us The approximate duration of the work, in microseconds.
 * @returns A promise to await before more work; `undefined` if no turn is due yet.
 */
export function spend(us: number): Promise<void> | undefined {
  spentUs += us;
  return spentUs < LONGEST_TURN_US ? undefined : turn();
}

/**
 * Keeps connections whose peers send without a pause from starving all others: one turn of the
 * event loop may be long, and only one in 61 polls the operating system for new input.
 *
 * @param now The time of `performance.now()`.
 * @returns A promise to await before more work; `undefined` if the last turn was recent.
 */
export function turnIfDue(now: number): Promise<void> | undefined {
  return now - lastTurn < LONGEST_WITHOUT_MS ? undefined : turn();
}
