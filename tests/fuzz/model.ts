/** A client and a server that do what a program says, against a model that knows what follows. */

import { play } from "./model/play.ts";
import { inWords, programs, read } from "./model/program.ts";
import type { Target } from "./target.ts";

export const model: Target = {
  name: "model",
  inputs: programs,
  async run(input) {
    const program = read(input);
    try {
      await play(program);
    } catch (error) {
      throw new Error(`${(error as Error).message}\nin this program:\n${inWords(program)}`, {
        cause: error,
      });
    }
  },
};
