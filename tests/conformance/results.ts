/** Runs the whole suite against all there is, and writes docs/conformance.md. */

import { SocketFolder } from "../fixture.ts";
import { CommandClient } from "./client.ts";
import { serveTests } from "./our_server.ts";
import { checkPeer, SUBJECTS } from "./peers.ts";
import { report } from "./report.ts";
import { type Result, runAgainstClient, runAgainstServer } from "./run.ts";
import { type Case, chooseCases, loadCases } from "./vector.ts";
import { dial } from "./wire.ts";

const PAGE = new URL("../../docs/conformance.md", import.meta.url);

/** A column of the table: results by the ids of cases. */
interface Column {
  title: string;
  results: Result[];
}

async function ourServer(cases: readonly Case[]): Promise<Column> {
  using socket = new SocketFolder();
  const server = serveTests(socket.path);
  const chosen = chooseCases(cases, { role: "server", tags: ["+panic", "+drain", "+extension"] });
  const results = await runAgainstServer(chosen, (until) => dial(socket.path, until));
  server.close();
  await server.finished;
  return { title: "ours", results };
}

async function ourClient(cases: readonly Case[]): Promise<Column> {
  using socket = new SocketFolder();
  const path = new URL("our_client.ts", import.meta.url).href;
  await using client = new CommandClient([Deno.execPath(), "run", "--allow-all", path]);
  const chosen = chooseCases(cases, { role: "client", tags: ["+extension"] });
  return { title: "ours", results: await runAgainstClient(chosen, client, socket.path) };
}

function totals(columns: readonly Column[]): string {
  const rows = columns.map(({ title, results }) => {
    const { must, may } = report(results);
    const of = (count: typeof must) => `${count.passed} of ${count.passed + count.failed}`;
    return `| ${title} | ${of(must)} | ${of(may)} |`;
  });
  return ["| server | must | may |", "| --- | --- | --- |", ...rows].join("\n");
}

function table(cases: readonly Case[], columns: readonly Column[]): string {
  const marks = (id: string) =>
    columns.map(({ results }) => {
      const result = results.find((each) => each.id === id);
      return result ? result.passed ? "yes" : "**no**" : "";
    });
  const titles = columns.map(({ title }) => title);
  const rows = cases.map(({ id, level, title, source }) =>
    row(`\`${id}\``, level, title, source, ...marks(id))
  );
  return [
    row("case", "level", "rule", "source", ...titles),
    row("---", "---", "---", "---", ...titles.map(() => "---")),
    ...rows,
  ].join("\n");
}

function row(...cells: string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function failures(columns: readonly Column[], known: Known): string {
  return columns.flatMap(({ title, results }) => {
    const failed = results.filter((each) => !each.passed);
    if (failed.length === 0) return [];
    const name = SUBJECTS.find((each) => each.title === title)?.name ?? "";
    const lines = failed.map(({ id, level, received }) => {
      const why = known[name]?.[id];
      return `- \`${id}\` (${level}): ${why ? `${why} ` : ""}Received: ${code(received ?? "")}`;
    });
    return [`### ${title}`, "", ...lines, ""];
  }).join("\n");
}

// A fence of two, because a status may quote with one.
function code(text: string): string {
  return `\`\` ${text.replaceAll(/\s+/g, " ")} \`\``;
}

type Known = Record<string, Record<string, string>>;

async function main(): Promise<void> {
  const cases = loadCases();
  const known = JSON.parse(
    await Deno.readTextFile(new URL("known.json", import.meta.url)),
  ) as Known;
  const servers = [await ourServer(cases)];
  for (const subject of SUBJECTS) {
    servers.push({ title: subject.title, results: await checkPeer(subject) });
    console.error(`${subject.title} is done`);
  }
  const client = await ourClient(cases);
  const { must, may } = report(client.results);
  const page = `# Conformance

What each implementation makes of the cases in [tests/conformance](../tests/conformance/README.md). A
_must_ stands in PROTOCOL.md or in protobuf's encoding, or breaks connections where it is not kept; a
_may_ is our choice where the implementations differ. An empty cell is a case that the peer does not
claim to support: streams in ttrpc 1.1, for example. Written by
\`deno run --allow-all tests/conformance/results.ts\`.

## Servers

${totals(servers)}

## Clients

Ours passes ${must.passed} of ${must.passed + must.failed} musts and ${may.passed} of ${
    may.passed + may.failed
  } mays.

## What fails, and what came instead

${failures(servers, known)}
## Every case for servers

${table(cases.filter(({ role }) => role === "server"), servers)}

## Every case for clients

${table(cases.filter(({ role }) => role === "client"), [client])}
`;
  await Deno.mkdir(new URL(".", PAGE), { recursive: true });
  await Deno.writeTextFile(PAGE, page);
  // The page has the form that deno fmt gives it, so that to write it anew changes nothing.
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", PAGE.pathname] }).output();
}

if (import.meta.main) await main();
