/** Waiting, for tests: for what must come, and for other things to happen first. */

/** Waits for something that must come soon, so that a test which fails says so. */
export async function soon<T>(promise: PromiseLike<T>, what: string, ms = 10_000): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what}: not within ${ms} ms`)), ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until something is so. If it never is, the test fails, and does not hang. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = String(condition),
  ms = 20_000,
): Promise<void> {
  for (const end = performance.now() + ms; !await condition();) {
    if (performance.now() > end) throw new Error(`${what}: not within ${ms} ms`);
    await moment();
  }
}

/** Waits until a number is above zero and the same as at the last look. Returns it. */
export async function untilAtRest(
  look: () => number | Promise<number>,
  everyMs: number,
): Promise<number> {
  let last = 0;
  await until(
    async () => {
      const before = last;
      await sleep(everyMs);
      last = await look();
      return last > 0 && last === before;
    },
    `${look} at rest`,
    120_000,
  );
  return last;
}

/** Lets the event loop turn once. */
export function turn(): Promise<void> {
  return sleep(0);
}

/** Lets other things happen for a millisecond. */
export function moment(): Promise<void> {
  return sleep(1);
}

/** Lets time pass, or rejects with the signal's reason. Where an event tells, wait for that. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", done);
  if (signal?.aborted) done();
  return promise;

  function done(): void {
    clearTimeout(timer);
    signal?.removeEventListener("abort", done);
    if (signal?.aborted) reject(signal.reason);
    else resolve();
  }
}
