/**
 * Has Deno open now what it listens for signals with. By itself it does so some time after the start,
 * and panics if there are no descriptors left.
 */
export function prepareSignals(): void {
  const listener = () => {};
  Deno.addSignalListener("SIGWINCH", listener);
  Deno.removeSignalListener("SIGWINCH", listener);
}
