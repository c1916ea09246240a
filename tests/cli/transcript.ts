/** The transcripts of docs/command.md, run again. */

import { API_IMAGE } from "../containerd/task.ts";
import type { Shim } from "../containerd/containerd.ts";
import { CLI, ROOT, run, SchemaFolder } from "./command.ts";

/** One command with what it prints. */
export interface Step {
  readonly command: string;
  readonly output: string;
}

/** The blocks of a page with commands, each a list of them. */
export function blocksOf(markdown: string): Step[][] {
  const blocks = markdown.matchAll(/^```console\n([^]*?)^```$/gm);
  return Array.from(blocks, ([, block]) =>
    block!.split(/^\$ /m).slice(1).map((step) => {
      // A line that ends in a backslash goes on.
      const [, command, output] = /^((?:.*\\\n)*.*)\n([^]*)$/.exec(step)!;
      return { command: command!, output: output! };
    }));
}

/** The place that the transcripts are run in: a folder, and a shim with a running container. */
export class Stage implements Disposable {
  readonly #folder = new SchemaFolder();
  readonly #shim: Shim;

  constructor(shim: Shim) {
    this.#shim = shim;
    const { folder } = this.#folder;
    Deno.mkdirSync(`${folder}/bin`);
    const program = CLI.map((part) => `'${part}'`).join(" ");
    const wrapper = `#!/bin/sh\nexec ${program} "$@"\n`;
    Deno.writeTextFileSync(`${folder}/bin/ttrpc`, wrapper, { mode: 0o755 });
    Deno.copyFileSync(API_IMAGE, `${folder}/containerd.binpb`);
    const replies = Deno.readTextFileSync(`${ROOT}tests/cli/replies.json`);
    Deno.writeTextFileSync(`${folder}/replies.json`, this.#version(replies));
  }

  /** Runs a block in one shell, and gives what each command has printed. */
  async run(block: readonly Step[]): Promise<string[]> {
    const { folder } = this.#folder;
    const mark = "-- next --";
    const script = block.map(({ command }) =>
      `{ ${ended(this.#version(command))} }\necho; echo "${mark}"`
    );
    const { stdout } = await run(["-c", `exec 2>&1\n${script.join("\n")}\n`], {
      program: ["bash"],
      cwd: folder,
      env: {
        PATH: `${folder}/bin:${Deno.env.get("PATH")}`,
        SHIM: this.#shim.address,
        ID: this.#shim.id,
        NO_COLOR: "1",
      },
    });
    return stdout.split(`\n${mark}\n`).slice(0, -1);
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }

  /** The page shows version 2 of the service; the shim may have another. */
  #version(text: string): string {
    return text.replaceAll("task.v2", `task.v${this.#shim.version}`);
  }

  /** Without what differs from run to run. */
  steady(output: string): string {
    return output
      .replaceAll(this.#shim.id, "demo")
      .replaceAll(/task\.v\d/g, "task.v2")
      .replaceAll(/\/[\w./-]*\/(?=demo\b)/g, "/")
      .replaceAll(/\/[\w./-]+\/s\/[0-9a-f#]+/g, "SHIM")
      .replaceAll(/(?:^ *<= .*\n?)+/gm, "BARS\n")
      .replaceAll(/[\d.]+ (?:us|ms|s)\b/g, "TIME")
      .replaceAll(/\d[\d.:]*/g, "#")
      .trim();
  }
}

function ended(command: string): string {
  return command.trimEnd().endsWith("&") ? command : `${command};`;
}

/** Whether an output is as was promised; `...` stands for any lines. */
export function matches(output: string, promised: string): boolean {
  const pattern = promised.split("\n").map((line) =>
    line.trim() === "..." ? "(?:.*\n)*?.*" : line.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")
  ).join("\n");
  return new RegExp(`^${pattern}$`).test(output);
}
