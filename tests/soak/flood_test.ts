// The small version of the flood in `deno task soak`.

import { deepEqual, equal } from "node:assert/strict";
import { procTest as test } from "../machine.ts";
import { flood, floodFaults } from "./flood.ts";

test("a client is answered amid a flood of hostile peers, who cost what the limits say", async () => {
  const result = await flood(5, 1);
  deepEqual(floodFaults(result), []);
  equal(result.took.length, 5_000);
});
