/** Who listens to an abort signal. */

/** A signal, and how many listen to it. */
export class CountedSignal {
  readonly controller = new AbortController();
  readonly signal: AbortSignal = this.controller.signal;
  listeners = 0;

  constructor() {
    const { signal } = this;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...parameters: Parameters<typeof addEventListener>) => {
      this.listeners++;
      addEventListener.apply(signal, parameters);
    };
    signal.removeEventListener = (...parameters: Parameters<typeof removeEventListener>) => {
      this.listeners--;
      removeEventListener.apply(signal, parameters);
    };
  }
}
