/**
 * Parses and formats the values of options.
 *
 * @module
 */

import { InvalidArgumentError } from "commander";

const UNITS: Readonly<Record<string, number>> = {
  us: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
};

// The longest delay that setTimeout() accepts.
const LONGEST_MS = 2 ** 31 - 1;

/**
 * Parses a time.
 *
 * @param text The time, such as `5s`, `250ms` or `1.5m`.
 * @returns Milliseconds.
 * @throws {InvalidArgumentError} If it has another form, or is too long.
 */
export function duration(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(us|ms|s|m|h)$/.exec(text) ?? [];
  if (number === undefined || unit === undefined) {
    throw new InvalidArgumentError("Expected a number and a unit, such as 500ms, 5s or 2m.");
  }
  const ms = Number(number) * UNITS[unit]!;
  if (ms > LONGEST_MS) throw new InvalidArgumentError("The longest time is 596h.");
  return ms;
}

/** Parses a whole number above zero. */
export function count(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError("Expected a whole number above zero.");
  }
  return value;
}

/** Parses `key=value`, and adds it to those before. */
export function pair(text: string, before: Pair[] = []): Pair[] {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("Expected key=value.");
  return [...before, [text.slice(0, at), text.slice(at + 1)]];
}

/** A key and its value. */
export type Pair = [key: string, value: string];

/** Adds a value to those before. */
export function several(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/**
 * Formats a time.
 *
 * @param ms Milliseconds.
 * @returns The time with a unit.
 */
export function showTime(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1e3)} us`;
  if (ms < 1_000) return `${ms.toPrecision(3)} ms`.replace("1.00e+3", "1000");
  return `${(ms / 1_000).toPrecision(3)} s`.replace(/(\d)e\+3/, "$1000");
}

/**
 * Formats a size.
 *
 * @param bytes The number of bytes.
 * @returns The size with a unit.
 */
export function showBytes(bytes: number): string {
  if (bytes < 1 << 10) return `${bytes} B`;
  if (bytes < 1 << 20) return `${(bytes / (1 << 10)).toFixed(1)} KiB`;
  return `${(bytes / (1 << 20)).toFixed(1)} MiB`;
}
