// `ttrpc completions` and `ttrpc --help`.

import { deepEqual, equal, match } from "node:assert/strict";
import { allEnded } from "../machine.ts";
import { needing, run, SchemaFolder } from "./command.ts";

/** What a shell offers for words, the last of which is being typed. */
async function complete(script: string, words: string[]): Promise<string[]> {
  const typed = words.map((word) => `'${word}'`).join(" ");
  const { stdout, stderr } = await run([
    "--norc",
    "-c",
    `. ${script}; COMP_WORDS=(${typed}); COMP_CWORD=${words.length - 1}; _ttrpc; ` +
    `printf '%s\\n' "\${COMPREPLY[@]}"`,
  ], { program: ["bash"] });
  equal(stderr, "");
  return stdout.trim().split("\n").toSorted();
}

needing(["bash"], "bash completes commands, options and their values", async () => {
  using folder = new SchemaFolder();
  const script = folder.write("ttrpc.bash", (await run(["completions", "bash"])).stdout);
  deepEqual(await complete(script, ["ttrpc", "c"]), ["call", "completions"]);
  deepEqual(await complete(script, ["ttrpc", "call", "x", "--des"]), ["--descriptor-set"]);
  deepEqual(await complete(script, ["ttrpc", "call", "--output", "t"]), ["text"]);
  deepEqual(await complete(script, ["ttrpc", "completions", "z"]), ["zsh"]);
  deepEqual(
    await complete(script, ["ttrpc", "call", "-d", `${folder.folder}/t`]),
    [
      folder.set,
      script,
    ].toSorted(),
  );
});

needing(["fish"], "fish completes commands and options", async () => {
  using folder = new SchemaFolder();
  const script = folder.write("ttrpc.fish", (await run(["completions", "fish"])).stdout);
  const offered = async (line: string) => {
    const args = ["--no-config", "-c", `source ${script}; complete -C '${line}'`];
    const { stdout, stderr } = await run(args, { program: ["fish"] });
    equal(stderr, "");
    return stdout.trim().split("\n").map((each) => each.split("\t")[0]);
  };
  deepEqual(await offered("ttrpc des"), ["describe"]);
  deepEqual(await offered("ttrpc call --out"), ["--output"]);
  deepEqual(await offered("ttrpc call --output te"), ["text"]);
});

needing(["zsh"], "zsh takes its completions", async () => {
  using folder = new SchemaFolder();
  const script = folder.write("_ttrpc", (await run(["completions", "zsh"])).stdout);
  const command = `autoload -Uz compinit; compinit -D; . ${script}; echo $_comps[ttrpc]`;
  const { stdout, stderr } = await run(["-f", "-c", command], { program: ["zsh"] });
  equal(stderr, "");
  equal(stdout, "_ttrpc\n");
});

Deno.test("cli: every command has help with examples", async () => {
  const commands = ["call", "list", "describe", "tap", "replay", "bench", "serve", "completions"];
  const root = await run(["--help"]);
  equal(root.code, 0);
  await allEnded(commands.map(async (command) => {
    match(root.stdout, new RegExp(`^  ${command} `, "m"));
    const { code, stdout, stderr } = await run([command, "--help"]);
    equal(code, 0);
    equal(stderr, "");
    match(stdout, new RegExp(`\nExamples:\n  # .*\n  ttrpc ${command} `));
  }));
  const nothing = await run([]);
  equal(nothing.code, 2);
  equal(nothing.stdout, "");
  match(nothing.stderr, /^Usage: ttrpc/);
});
