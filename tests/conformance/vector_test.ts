// The vectors say what README.md says they can, and mean what their titles say.

import { deepEqual, equal, ok } from "node:assert/strict";
import { frameBytes } from "./wire.ts";
import { canonical, hex, parseRequest, parseResponse, requestBytes, toBytes } from "./proto.ts";
import { chooseCases, loadCases, type Step } from "./vector.ts";

const cases = loadCases();
const readme = Deno.readTextFileSync(new URL("README.md", import.meta.url));

const CASE = [
  "id",
  "title",
  "role",
  "level",
  "tags",
  "rule",
  "source",
  "steps",
  "calls",
  "outcomes",
  "concurrent",
];

const BESIDE = ["split", "ignore"];

function findCase(id: string) {
  return chooseCases(cases, { role: id.startsWith("s-") ? "server" : "client", only: [id] })[0]!;
}

Deno.test("ids are unique, and tell the role", () => {
  const ids = cases.map(({ id }) => id);
  equal(new Set(ids).size, ids.length);
  for (const { id, role } of cases) ok(id.startsWith(role === "server" ? "s-" : "c-"), id);
});

Deno.test("cases have the fields that the README describes, and each step does one thing", () => {
  for (const each of cases) {
    deepEqual(Object.keys(each).filter((key) => !CASE.includes(key)), [], each.id);
    for (const step of each.steps) {
      const kinds = Object.keys(step).filter((key) => !BESIDE.includes(key));
      equal(kinds.length, 1, `${each.id}: ${JSON.stringify(step)}`);
      ok(readme.includes(`\`${kinds[0]}\``), `the README lacks ${kinds[0]}`);
    }
    for (const tag of each.tags) ok(readme.includes(`\`${tag}\``), `the README lacks ${tag}`);
  }
});

Deno.test("a client's case tells what comes of each of its calls", () => {
  for (const { id, role, calls, outcomes } of cases) {
    equal(outcomes.length, calls.length, id);
    equal(calls.length > 0, role === "client", id);
  }
});

Deno.test("the cases at the limit are there to the byte", () => {
  const data = (step: Step | undefined) => frameBytes([step?.send ?? []].flat()).length - 10;
  equal(data(findCase("s-limit-exact").steps[0]), 4 << 20);
  equal(data(findCase("s-stream-limit").steps[1]), 4 << 20);
  equal(data(findCase("c-response-limit").steps[1]), 4 << 20);
  for (const [id, over] of [["c-request-limit", 0], ["c-request-over", 1]] as const) {
    const payload = findCase(id).calls[0]!.requests![0]!;
    equal(requestBytes({ method: "Echo", payload }).length, (4 << 20) + over);
  }
});

Deno.test("chooseCases() leaves out by tag, and adds optional ones", () => {
  const ids = (tags: string[]) => chooseCases(cases, { role: "server", tags }).map(({ id }) => id);
  ok(ids([]).includes("s-count") && !ids([]).includes("s-panic"));
  ok(!ids(["-streams"]).includes("s-count"));
  ok(ids(["+panic"]).includes("s-panic"));
});

Deno.test("toBytes() and the parsers undo each other", () => {
  const details: [string, string][] = [["x/A", "01"]];
  const response = { status: { code: -7, message: "größer", details }, payload: "0aff" };
  deepEqual(parseResponse(toBytes({ response })), {
    code: -7,
    message: "größer",
    details: [["x/A", new Uint8Array([1])]],
    payload: new Uint8Array([0x0a, 0xff]),
  });
  const request = parseRequest(toBytes({ request: { method: "M", timeoutNano: "-1" } }))!;
  deepEqual([request.method, request.timeoutNano], ["M", -1n]);
  equal(parseRequest(toBytes("0aff")), undefined);
});

Deno.test("canonical() puts fields in order, and keeps those of one number as they are", () => {
  equal(hex(canonical(toBytes("120162 0801 120161"))), "0801120162120161");
  equal(hex(canonical(toBytes("0aff"))), "0aff");
});
