/** Compiles the command as the task does, but to another place. */

import { ROOT, run } from "./command.ts";

const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)) as {
  tasks: { compile: { command: string } };
};

export async function compile(binary: string, env: Record<string, string> = {}) {
  const [, ...args] = tasks.compile.command.split(" ");
  args[args.indexOf("--output") + 1] = binary;
  return await run(args.filter((arg) => arg !== "--quiet"), { program: [Deno.execPath()], env });
}
