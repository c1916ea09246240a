/** A figure over all rounds. */
export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The figure of some numbers; `undefined` if there are none. */
export function summary(numbers: readonly number[]): Figure | undefined {
  const sorted = numbers.toSorted((a, b) => a - b);
  const low = sorted[(sorted.length - 1) >> 1];
  const high = sorted[sorted.length >> 1];
  if (low === undefined || high === undefined) return undefined;
  return { median: (low + high) / 2, min: sorted[0]!, max: sorted.at(-1)! };
}

/** The median of some numbers; `null` if there are none. */
export function median(numbers: readonly number[]): number | null {
  return summary(numbers)?.median ?? null;
}

/**
 * The median of the ratios within each round, which varies less with the load of the machine than
 * the ratio of the medians. The keys are rounds. `null` if no round has both.
 */
export function ratioByRound(
  over: ReadonlyMap<number, number>,
  under: ReadonlyMap<number, number>,
): number | null {
  const each = [];
  for (const [round, value] of over) {
    const divisor = under.get(round);
    if (divisor !== undefined && divisor > 0) each.push(value / divisor);
  }
  return median(each);
}

/** A number with its significant digits. */
export function significant(value: number | null | undefined): string {
  if (value === null || value === undefined) return "";
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 0.1 ? 2 : 3;
  return value.toLocaleString("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** A figure's median, with half the difference between best and worst as spread. */
export function withSpread(figure: Figure | undefined): string {
  if (!figure) return "";
  const spread = Math.abs(Math.round((figure.max - figure.min) / 2 / figure.median * 100));
  return `${significant(figure.median)} ±${String(spread).padStart(2)}%`;
}
