import type { Contender } from "../contenders.ts";
import { planOf, type Schedule } from "../run.ts";
import { type Plan, workloadNamed } from "../workloads.ts";

/** Something to find out that is no load. */
export interface Probe {
  /** What it is called on the command line. */
  readonly name: string;
  /** Finds it out. Rejects with the reason if that is impossible here. */
  run(context: ProbeContext): Promise<void>;
}

/** What a probe works with. */
export interface ProbeContext {
  /** The contenders that are there, and were not excluded. */
  readonly contenders: readonly Contender[];
  /** Whether it is to take seconds only. */
  readonly quick: boolean;
  /** How long runs take. */
  readonly schedule: Schedule;
  /** A path for a socket, never the same. */
  socket(): string;
  /** Takes note of a figure. Repeated, it becomes a median. */
  note(figure: string, contender: string, value: number): void;
}

/** A figure that a probe has found. */
export interface Reading {
  /** What was found out, with its unit at the end. */
  readonly figure: string;
  /** Of whom. */
  readonly contender: string;
  readonly value: number;
}

/** A contender, if it is there. */
export function contenderNamed(
  { contenders }: ProbeContext,
  name: string,
): Contender | undefined {
  return contenders.find((contender) => contender.name === name);
}

/** What a peer is told that makes calls of 100 bytes, so many at a time. */
export function smallPlan({ schedule }: ProbeContext, inFlight: 1 | 64 = 1): Plan {
  return planOf(workloadNamed(`unary_100B_c${inFlight}`), schedule);
}
