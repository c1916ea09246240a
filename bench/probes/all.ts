import { bundle } from "./bundle.ts";
import { cancel } from "./cancel.ts";
import { coldStart } from "./cold_start.ts";
import { memory } from "./memory.ts";
import type { Probe } from "./probe.ts";
import { settings } from "./settings.ts";
import { syscalls } from "./syscalls.ts";
import { tap } from "./tap.ts";

/** All probes. */
export const probes: readonly Probe[] = [
  memory,
  syscalls,
  coldStart,
  bundle,
  tap,
  settings,
  cancel,
];
