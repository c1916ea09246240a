import type { Contender } from "../contenders.ts";
import { planOf, type Schedule } from "../run.ts";
import { type Plan, workloadNamed } from "../workloads.ts";

/** A measurement that is not a workload. */
export interface Probe {
  /** Its name on the command line. */
  readonly name: string;
  /** Measures. Rejects with the reason if that is not possible here. */
  run(context: ProbeContext): Promise<void>;
}

/** The context of a probe. */
export interface ProbeContext {
  /** The contenders that are available and selected. */
  readonly contenders: readonly Contender[];
  /** Whether the probe should take only seconds. */
  readonly quick: boolean;
  /** The durations of loads. */
  readonly schedule: Schedule;
  /** Returns a new path for a socket. */
  socket(): string;
  /** Records a figure. Several values become their median. */
  note(figure: string, contender: string, value: number): void;
}

/** A figure that a probe has measured. */
export interface Reading {
  /** The name of the figure, with its unit at the end. */
  readonly figure: string;
  /** The contender, or the setting, that was measured. */
  readonly contender: string;
  readonly value: number;
}

/** Finds a contender by its name, if it is available and selected. */
export function contenderNamed(
  { contenders }: ProbeContext,
  name: string,
): Contender | undefined {
  return contenders.find((contender) => contender.name === name);
}

/** The plan of a peer that makes calls of 100 bytes, with 1 or 64 in flight. */
export function smallPlan({ schedule }: ProbeContext, inFlight: 1 | 64 = 1): Plan {
  return planOf(workloadNamed(`unary_100B_c${inFlight}`), schedule);
}
