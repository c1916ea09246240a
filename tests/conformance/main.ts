/** The command line of the conformance suite. See README.md. */

import { type ClientUnderTest, CommandClient, LineClient } from "./client.ts";
import { listing, report, table } from "./report.ts";
import { DEADLINE_MS, type Result, runAgainstClient, runAgainstServer } from "./run.ts";
import { type Case, type Choice, chooseCases, loadCases } from "./vector.ts";
import { dial } from "./wire.ts";

const USAGE = `usage: deno task conformance [OPTIONS] --target ADDRESS | --client COMMAND... |
                             --listen ADDRESS

  --target ADDRESS   checks the server that listens there
  --client COMMAND   checks a client; all that follows is its command
  --listen ADDRESS   checks a client that this one is started by: instructions go to stdout,
                     answers come from stdin, the report goes to stderr
  --only ID,...      runs these cases
  --tags TAG,...     -TAG: without the cases of this tag; +TAG: also those of an optional one
  --timeout MS       how long a case may take (${DEADLINE_MS})
  --list             lists the cases instead
  --json             reports as JSON

An ADDRESS is unix:///absolute/path, unix:relative/path or tcp://host:port. The exit code is 0 if
every "must" has passed, 1 if one has not, 2 if nothing could be run.`;

interface Options {
  target?: string;
  client?: string[];
  listen?: string;
  only?: string[];
  tags: string[];
  timeoutMs: number;
  list: boolean;
  json: boolean;
}

function parse(args: readonly string[]): Options {
  const options: Options = { tags: [], timeoutMs: DEADLINE_MS, list: false, json: false };
  for (let i = 0; i < args.length; i++) {
    const [name, inline] = split(args[i]!);
    const value = () => {
      const given = inline ?? args[++i];
      if (given === undefined || given === "") throw new TypeError(`${name} needs a value`);
      return given;
    };
    if (name === "--target") options.target = value();
    else if (name === "--listen") options.listen = value();
    else if (name === "--only") options.only = value().split(",");
    else if (name === "--tags") options.tags.push(...value().split(","));
    else if (name === "--timeout") options.timeoutMs = milliseconds(value());
    else if (name === "--list") options.list = true;
    else if (name === "--json") options.json = true;
    else if (name === "--client") {
      options.client = [...inline === undefined ? [] : [inline], ...args.slice(i + 1)];
      if (options.client.length === 0) throw new TypeError("--client needs a command");
      break;
    } else throw new TypeError(`there is no option ${args[i]}`);
  }
  const roles = [options.target, options.client, options.listen].filter((each) => each);
  if (roles.length > 1 || roles.length === 0 && !options.list) {
    throw new TypeError("one of --target, --client and --listen is needed");
  }
  return options;
}

function split(arg: string): [name: string, value: string | undefined] {
  const at = arg.startsWith("--") ? arg.indexOf("=") : -1;
  return at < 0 ? [arg, undefined] : [arg.slice(0, at), arg.slice(at + 1)];
}

function milliseconds(text: string): number {
  const number = Number(text);
  if (!(number >= 1)) throw new TypeError(`--timeout needs milliseconds, not ${text}`);
  return number;
}

async function run(options: Options, all: readonly Case[]): Promise<Result[]> {
  const choice: Choice = { role: options.target ? "server" : "client", ...options };
  const cases = chooseCases(all, choice);
  const { target, client, listen, timeoutMs } = options;
  if (target) return runAgainstServer(cases, (until) => dial(target, until), timeoutMs);
  if (listen) {
    const { readable } = Deno.stdin;
    await using lines = new LineClient(Deno.stdout.writable, readable);
    return await runAgainstClient(cases, lines, listen, timeoutMs);
  }
  return await runCommand(cases, new CommandClient(client!), timeoutMs);
}

async function runCommand(cases: readonly Case[], client: ClientUnderTest, timeoutMs: number) {
  const folder = await Deno.makeTempDir({ prefix: "ttrpc-" });
  await using _client = client;
  try {
    return await runAgainstClient(cases, client, `unix://${folder}/c.sock`, timeoutMs);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What `--list` shows: all there is, unless tags or a role narrow it down. */
function listed({ target, client, listen, tags }: Options, all: readonly Case[]): readonly Case[] {
  const roles = target
    ? ["server"] as const
    : client || listen
    ? ["client"] as const
    : ["server", "client"] as const;
  if (tags.length === 0) return all.filter(({ role }) => roles.some((each) => each === role));
  return roles.flatMap((role) => chooseCases(all, { role, tags }));
}

/** Runs what the command line asks for, and returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let options: Options;
  let results: Result[];
  try {
    options = parse(args);
    const all = loadCases();
    if (options.list) {
      console.log(listing(listed(options, all)));
      return 0;
    }
    results = await run(options, all);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    return 2;
  }
  const whole = report(results);
  const text = options.json ? JSON.stringify(whole, undefined, 2) : table(whole);
  if (options.listen) console.error(text);
  else console.log(text);
  return whole.must.failed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
