// Releases and workflows: the scripts do what they should, and no workflow names what is not there.

import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { releaseText } from "../.github/scripts/check_release.ts";
import { compileArgs, programName, sha256sums, TARGETS } from "../.github/scripts/compile.ts";
import { SocketFolder } from "./fixture.ts";

const root = new URL("..", import.meta.url).pathname;

const { tasks } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`)) as {
  tasks: Record<string, { command: string }>;
};

const CHANGELOG = `# Changes

## 1.10.0 (not released)

- More.

## 1.1.0 (2026-11-30)

- One, in [a file](docs/one.md#part) and [elsewhere](https://example.com/x).
- Two.

## 1.0.1 (2026-02-30)

- A day that there is not.

## 1.0.0 (2026-01-31)
`;

Deno.test("releaseText() gives the section of the tag's version", () => {
  const release = { tag: "v1.1.0", version: "1.1.0", changelog: CHANGELOG };
  equal(
    releaseText(release),
    "- One, in [a file](docs/one.md#part) and [elsewhere](https://example.com/x).\n- Two.",
  );
  equal(
    releaseText({ ...release, url: "https://example.com/v1.1.0" }),
    "- One, in [a file](https://example.com/v1.1.0/docs/one.md#part) and " +
      "[elsewhere](https://example.com/x).\n- Two.",
  );
});

Deno.test("releaseText() says why a tag cannot be released", () => {
  const refused = (version: string, message: string, tag = `v${version}`) =>
    throws(() => releaseText({ tag, version, changelog: CHANGELOG }), {
      message: `Cannot release ${tag}: ${message}`,
    });
  refused("1.1.0", "deno.json has version 1.1.0, so its tag is v1.1.0", "v1.1.1");
  refused("1.1.0", "deno.json has version 1.1.0, so its tag is v1.1.0", "1.1.0");
  refused("1.1", 'CHANGELOG.md has no section "## 1.1 (YYYY-MM-DD)"');
  refused(
    "1.10.0",
    'CHANGELOG.md has "## 1.10.0 (not released)", and not "## 1.10.0 (YYYY-MM-DD)"',
  );
  refused("1.0.1", 'CHANGELOG.md has "## 1.0.1 (2026-02-30)", and not "## 1.0.1 (YYYY-MM-DD)"');
  refused("1.0.0", 'the section "## 1.0.0 (2026-01-31)" of CHANGELOG.md is empty');
});

Deno.test("check_release.ts reads deno.json and CHANGELOG.md, and fails for another tag", async () => {
  const script = `${root}/.github/scripts/check_release.ts`;
  const args = ["run", "--no-prompt", "--allow-read", script, "v0.0.0"];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  const text = new TextDecoder();
  equal(code, 1);
  equal(text.decode(stdout), "");
  match(text.decode(stderr), /Cannot release v0\.0\.0: deno\.json has version \d+\.\d+\.\d+/);
});

Deno.test("compileArgs() is the task of deno.json, for another platform and file", () => {
  const { command } = tasks["compile"]!;
  for (const target of TARGETS) {
    const name = programName(target);
    const args = compileArgs(command, target, `dist/${name}`);
    const at = args.indexOf("--target");
    equal(args[at + 1], target);
    args.splice(at, 2);
    equal(`deno ${args.join(" ")}`, command.replace("--output ttrpc ", `--output dist/${name} `));
  }
  deepEqual(TARGETS.filter((target) => programName(target) === "ttrpc.exe"), [
    "x86_64-pc-windows-msvc",
  ]);
  throws(() => compileArgs("deno run x.ts", TARGETS[0]!, "x"), /the task is no "deno compile"/);
});

Deno.test("sha256sums() writes what sha256sum checks", async () => {
  using place = new SocketFolder();
  await Deno.writeTextFile(`${place.folder}/a`, "");
  await Deno.writeTextFile(`${place.folder}/b`, "abc");
  equal(
    await sha256sums(place.folder, ["a", "b"]),
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n" +
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n",
  );
});

Deno.test("deno task config:jsr writes deno.json without the stand-ins", async () => {
  using place = new SocketFolder();
  const { workspace, ...others } = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  ok(workspace.length > 0);
  // Those are looked for when a task is run.
  const config = { ...others, workspace: [] };
  await Deno.writeTextFile(`${place.folder}/deno.json`, JSON.stringify(config));
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "config:jsr"],
    cwd: place.folder,
    stdout: "null",
    stderr: "null",
  }).output();
  equal(code, 0);
  deepEqual(JSON.parse(await Deno.readTextFile(`${place.folder}/deno.jsr.json`)), others);
});

/** The workflows, by name, without comments. */
async function workflows(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { name } of Deno.readDir(`${root}/.github/workflows`)) {
    const text = await Deno.readTextFile(`${root}/.github/workflows/${name}`);
    found.set(name, text.replaceAll(/(^|\s)#.*$/gm, "$1"));
  }
  return found;
}

/** The files of the repository that a workflow or a script names: those in a folder, or in capitals. */
function filesIn(text: string): string[] {
  const path =
    /(?<![\w./-])(?:\.\/)?((?:\.ci|\.github|bench|cli|docs|examples|links|tests)\/[\w./*-]*[\w*]|[A-Z]{4,}\.md|deno\.(?:json|lock))(?![\w/])/g;
  return Array.from(text.matchAll(path), ([, file]) => file!);
}

async function exists(pattern: string): Promise<boolean> {
  const [fixed, ...globs] = pattern.split("/*");
  const info = await Deno.stat(`${root}/${fixed}`).catch(() => undefined);
  return info !== undefined && (globs.length === 0 || info.isDirectory);
}

Deno.test("the workflows name no task and no file that is not there", async () => {
  const named = { tasks: new Set<string>(), files: new Set<string>() };
  for (const [workflow, text] of await workflows()) {
    for (const [, task] of text.matchAll(/deno task (?:--quiet )?([\w:]+)/g)) {
      named.tasks.add(task!);
      ok(task! in tasks, `${workflow} names the task ${task}`);
    }
    for (const file of filesIn(text)) {
      named.files.add(file);
      ok(await exists(file), `${workflow} names ${file}`);
    }
  }
  for (const task of ["ok", "test:jsr", "config:jsr", "fuzz", "soak"]) ok(named.tasks.has(task));
  for (
    const file of [
      ".ci/run",
      ".github/scripts/check_release.ts",
      ".github/scripts/compile.ts",
      ".github/workflows/test.yml",
      "deno.json",
      "tests/cli/compiled_binary.ts",
      "tests/fuzz/regressions",
      "tests/interop/**/Cargo.lock",
    ]
  ) ok(named.files.has(file), file);
  equal(await exists("tests/no_such_file.ts"), false);
});

Deno.test("the workflows may read only, end in time, and use actions by their commits", async () => {
  for (const [workflow, text] of await workflows()) {
    match(text, /^permissions:\n {2}contents: read\n(?! )/m, workflow);
    match(text, /^concurrency:$/m, workflow);
    const jobs = text.slice(text.indexOf("\njobs:\n")).split(/^ {2}(?=\w+:\n)/m).slice(1);
    ok(jobs.length > 0, workflow);
    for (const job of jobs) {
      // A job that is another workflow has the limits of that one.
      ok(/^ {4}(timeout-minutes: \d+|uses: \.\/)/m.test(job), `${workflow}: ${job}`);
    }
    for (const [, action] of text.matchAll(/uses: (\S+)/g)) {
      ok(/^(\.\/|[\w-]+\/[\w-]+@[0-9a-f]{40}$)/.test(action!), `${workflow} uses ${action}`);
    }
  }
});

Deno.test("the workflows use the Deno that CI installs elsewhere", async () => {
  const [, version] = /deno@(\d+\.\d+\.\d+)/.exec(await Deno.readTextFile(`${root}/.ci/run`))!;
  for (const [workflow, text] of await workflows()) {
    const versions = Array.from(text.matchAll(/deno-version: (\S+)/g), ([, found]) => found);
    deepEqual([...new Set(versions)], [version], workflow);
  }
});
