import { deepEqual, equal, ok } from "node:assert/strict";
import { mutantsOf } from "./mutants.ts";

const root = new URL("../..", import.meta.url).pathname;

/** What becomes of a line of code, change by change. */
function changes(source: string): string[] {
  return mutantsOf(source).map(({ became }) => became);
}

Deno.test("mutantsOf() changes conditions, bounds and operands, and nothing that follows from them", () => {
  deepEqual(changes("if (a < 5) stop();"), [
    "if (true) stop();",
    "if (false) stop();",
    "if (a <= 5) stop();",
    "if (a < 6) stop();",
  ]);
  deepEqual(changes("x(a === b || !c);"), ["{}", "x(true);", "x(!c);", "x(a === b);"]);
  deepEqual(changes("while (a && (b || c)) f();"), [
    "while (false) f();",
    "while ((b || c)) f();",
    "while (a) f();",
    "while (a && (c)) f();",
    "while (a && (b)) f();",
    "while (a && (b || c)) {}",
  ]);
});

Deno.test("mutantsOf() changes what is computed, called and returned", () => {
  deepEqual(changes("const x = 2 + y[-1];"), [
    "const x = 3 + y[-1];",
    "const x = 2 - y[-1];",
    "const x = 2 + y[1];",
    "const x = 2 + y[-2];",
  ]);
  deepEqual(changes("const f = () => a?.b ?? Math.min(a, c.slice());"), [
    "const f = () => undefined;",
    "const f = () => a?.b;",
    "const f = () => Math.min(a, c.slice());",
    "const f = () => a.b ?? Math.min(a, c.slice());",
    "const f = () => a?.b ?? Math.max(a, c.slice());",
    "const f = () => a?.b ?? Math.min(a, c);",
  ]);
});

Deno.test("mutantsOf() leaves out statements, and leaves text, types and the steps of loops alone", () => {
  deepEqual(changes("function f(a: 1 | 2): true { a += b; throw new Error(`no ` + a); }"), [
    "function f(a: 1 | 2): true { {} throw new Error(`no ` + a); }",
    "function f(a: 1 | 2): true { a -= b; throw new Error(`no ` + a); }",
    "function f(a: 1 | 2): true { a += b; {} }",
  ]);
  deepEqual(changes("for (let i = a; i > b; i--) ;"), [
    "for (let i = a; false; i--) ;",
    "for (let i = a; i >= b; i--) ;",
  ]);
});

Deno.test("mutantsOf() says where a change is, also in lines that belong together", () => {
  const [mutant] = mutantsOf("f(\n  a,\n  1, // one\n);\n");
  deepEqual(mutant, {
    kind: "statement",
    start: 0,
    end: 22,
    text: "{}",
    line: 1,
    was: "f( a, 1, // one );",
    became: "{}",
  });
  deepEqual(mutantsOf("f(\n  a,\n  1, // one\n);\n").map(({ line, was }) => [line, was])[1], [
    3,
    "1, // one",
  ]);
});

/** A project with one file, a strong and a weak test of it, and a judgement. */
class Project implements Disposable {
  readonly folder: string = Deno.makeTempDirSync({ prefix: "mutated-" });

  constructor() {
    const files = {
      "deno.json": "{}",
      "fee.ts": `export function fee(amount: number): number {
  if (amount > 100) return 0;
  let rest = amount;
  while (rest > 9) rest -= 10;
  return amount + rest * 1;
}
`,
      "tests/fee_test.ts": `import { fee } from "../fee.ts";
Deno.test("fee() is free above 100 and takes the last digit otherwise", () => {
  for (const [amount, expected] of [[100, 100], [101, 0], [7, 14], [10, 10], [15, 20]]) {
    if (fee(amount) !== expected) throw new Error(\`\${amount}\`);
  }
});
`,
      "tests/weak_test.ts": `import { fee } from "../fee.ts";
Deno.test("fee() gives a number", () => {
  if (typeof fee(5) !== "number") throw new Error();
});
`,
      "tests/mutation/judged.json": JSON.stringify([{
        file: "fee.ts",
        reason: "one is neutral",
        changes: [
          ["return amount + rest * 1;", "return amount + rest / 1;"],
          ["return amount + rest * 1;", "return amount - rest * 1;"],
        ],
      }]),
    };
    Deno.mkdirSync(`${this.folder}/tests/mutation`, { recursive: true });
    for (const [name, text] of Object.entries(files)) {
      Deno.writeTextFileSync(`${this.folder}/${name}`, text);
    }
  }

  /** Runs the command there; what it says of time is left out. */
  async mutate(...args: string[]): Promise<{ code: number; lines: string[]; left: string[] }> {
    const temporary = `${this.folder}/temporary`;
    await Deno.mkdir(temporary, { recursive: true });
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--allow-all", "--config", `${root}/deno.json`],
        ...[`${root}/tests/mutation/main.ts`, ...args],
      ],
      cwd: this.folder,
      env: { TMPDIR: temporary, NO_COLOR: "1" },
    }).output();
    const text = new TextDecoder().decode(new Uint8Array([...stdout, ...stderr]));
    return {
      code,
      lines: text.trim().replace(/ in \d+ s .*/g, "").split("\n"),
      left: Array.from(Deno.readDirSync(temporary), ({ name }) => name),
    };
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

Deno.test("mutate tells exactly what a strong test does not notice, and leaves nothing behind", async () => {
  using project = new Project();
  const source = await Deno.readTextFile(`${project.folder}/fee.ts`);
  deepEqual(await project.mutate("fee.ts"), {
    code: 0,
    lines: [
      "fee.ts:4 boundary",
      "  was    while (rest > 9) rest -= 10;",
      "  became while (rest >= 9) rest -= 10;",
      "fee.ts:5 arithmetic, judged: one is neutral",
      "  was    return amount + rest * 1;",
      "  became return amount + rest / 1;",
      "judged.json has for fee.ts what is not possible, or noticed: " +
      "return amount + rest * 1; -> return amount - rest * 1;",
      "fee.ts: 93.3 % (14 of 15 noticed, 2 of them by time; 1 judged)",
    ],
    left: [],
  });
  equal(await Deno.readTextFile(`${project.folder}/fee.ts`), source);
});

Deno.test("mutate fails below what is wanted, and takes the tests that it is told", async () => {
  using project = new Project();
  const { code, lines } = await project.mutate("fee.ts", "--tests", "tests/weak_test.ts");
  equal(code, 1);
  ok(lines.includes("  became if (amount >= 100) return 0;"), lines.join("\n"));
  ok(lines.includes("  became while (rest > 9) {}"), lines.join("\n"));
  const least = ["--least", "0"];
  equal((await project.mutate("fee.ts", "--tests", "tests/weak_test.ts", ...least)).code, 0);
});

Deno.test("mutate says why it cannot", async () => {
  using project = new Project();
  deepEqual(await project.mutate("--leest", "3", "fee.ts"), {
    code: 2,
    lines: ["usage: mutate FILE... [--tests GLOB...] [--least PERCENT] [--jobs N]"],
    left: [],
  });
  await Deno.writeTextFile(`${project.folder}/untested.ts`, "");
  deepEqual((await project.mutate("untested.ts")).lines, [
    "Cannot try changes to untested.ts: it has no tests, say which with --tests",
  ]);
  await Deno.writeTextFile(`${project.folder}/tests/fee_test.ts`, "throw new Error('broken');");
  const { code, lines, left } = await project.mutate("fee.ts");
  deepEqual([code, left], [2, []]);
  ok(lines.includes("error: (in promise) Error: broken"), lines.join("\n"));
  equal(lines.at(-1), "Cannot try changes to fee.ts: without one its tests fail");
});
