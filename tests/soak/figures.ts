/** What a process uses, and whether that has come back to where it was. */

/** A measurement. */
export interface Figures {
  /** Bytes of live objects. */
  heap: number;
  /** Bytes of buffers outside the heap. */
  external: number;
  /** Bytes that are resident. */
  rss: number;
  descriptors: number;
  /** Deno's resources: sockets, listeners. */
  resources: number;
  timers: number;
}

const timers = new Set<number>();
const { setTimeout: set, setInterval: repeat, clearTimeout: clear } = globalThis;

/** Counts the timers that are set from now on. */
export function watchTimers(): void {
  const counted = (...[callback, ...rest]: Parameters<typeof set>): number => {
    const run = callback as (...args: unknown[]) => void;
    const id = set((...args: unknown[]) => {
      timers.delete(id);
      run(...args);
    }, ...rest) as unknown as number;
    timers.add(id);
    return id;
  };
  const repeated = (...args: Parameters<typeof repeat>): number => {
    const id = repeat(...args) as unknown as number;
    timers.add(id);
    return id;
  };
  const cleared = (id: number | undefined): void => {
    if (id === undefined) return;
    timers.delete(id);
    clear(id);
  };
  Object.assign(globalThis, {
    setTimeout: counted,
    setInterval: repeated,
    clearTimeout: cleared,
    clearInterval: cleared,
  });
}

/** Collects garbage, and measures. Needs `--v8-flags=--expose-gc`. */
export async function measure(): Promise<Figures> {
  const { gc } = globalThis as unknown as { gc(): void };
  for (let i = 0; i < 4; i++) {
    await new Promise((resolve) => set(resolve, 10)); // sockets close, finalizers run
    gc();
  }
  const { heapUsed, external, rss } = Deno.memoryUsage();
  const internals = Deno as unknown as Record<symbol, { core: { resources(): object } }>;
  const [symbol] = Object.getOwnPropertySymbols(Deno)
    .filter((each) => each.description === "Deno.internal");
  return {
    heap: heapUsed,
    external,
    rss,
    descriptors: [...Deno.readDirSync("/dev/fd")].length - 1,
    resources: Object.keys(internals[symbol!]!.core.resources()).length,
    timers: timers.size,
  };
}

const MIB = 1 << 20;

/**
 * How much more there may be. The system's allocator keeps what it had at the worst moment, which
 * is a constant, and Deno opens a pair of sockets for itself at some moment, also without us.
 */
const TOLERANCE: Figures = {
  heap: 2 * MIB,
  external: 2 * MIB,
  rss: 192 * MIB,
  descriptors: 2,
  resources: 0,
  timers: 0,
};

/** What has not come back to where it was, in words; nothing if all has. */
export function leaks(before: Figures, after: Figures): string[] {
  const found: string[] = [];
  for (const name of Object.keys(TOLERANCE) as (keyof Figures)[]) {
    const more = after[name] - before[name];
    if (more > TOLERANCE[name]) found.push(`${name}: ${more} more than before`);
  }
  return found;
}

/** The figures in a line. */
export function show({ heap, external, rss, descriptors, resources, timers }: Figures): string {
  const mib = (bytes: number) => (bytes / MIB).toFixed(1);
  return `heap ${mib(heap)} MiB, external ${mib(external)} MiB, rss ${mib(rss)} MiB, ` +
    `${descriptors} descriptors, ${resources} resources, ${timers} timers`;
}
