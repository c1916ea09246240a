/**
 * The commands, their arguments and their help. The code of a command is loaded when it is run.
 *
 * @module
 */

import { Argument, Command, CommanderError, Option } from "commander";
import type { CallCommandOptions } from "./call.ts";
import type { MethodKind } from "../core.ts";
import type { DescribeOptions, ListOptions } from "./describe.ts";
import { Exit, usage } from "./failure.ts";
import { count, duration, pair, several } from "./options.ts";
import type { BenchOptions } from "./bench.ts";
import type { ServeCommandOptions } from "./serve.ts";
import type { ReplayOptions } from "./replay.ts";
import type { TapOptions } from "./tap.ts";
import type { Terminal } from "./terminal.ts";

const EXIT_CODES = `
Exit codes:
  0                   success
  1                   any other error
  2                   a mistake in the arguments, the schema or the JSON
  64 + the gRPC code  the call failed: 66 UNKNOWN, 68 DEADLINE_EXCEEDED, 69 NOT_FOUND,
                      76 UNIMPLEMENTED, 78 UNAVAILABLE, ...

Addresses:
  unix:///run/x.sock  unix:relative.sock  unix-abstract:name  tcp://host:port  vsock://cid:port
  or an absolute path

NO_COLOR=1 turns colours off.`;

const RESPONSES = `
The file has the replies of each method. The first one whose "when" matches the request is sent.
  {
    "pkg.Service/Get": [
      {"when": {"id": "x"}, "response": {"name": "X"}, "delay": "50ms"},
      {"error": {"code": "NOT_FOUND", "message": "no such thing"}}
    ],
    "pkg.Service/Watch": {"responses": [{"n": 1}, {"n": 2}], "every": "1s"}
  }`;

/**
 * Runs the command that the arguments name.
 *
 * @param terminal Where to print.
 * @param args The arguments.
 * @returns The exit code.
 * @throws {Failure} If the command fails, or the arguments are not valid.
 */
export async function program(terminal: Terminal, args: readonly string[]): Promise<number> {
  let code: number = Exit.ok;
  const done = (result: number | void) => void (code = result ?? Exit.ok);
  const root = commands(terminal, done);
  try {
    if (args.length === 0) root.outputHelp({ error: true });
    else await root.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return Exit.ok; // help was asked for
    const said = error.message.replace(/^error: /, "").replaceAll("\n", " ");
    throw usage(`${said}${/[.?)]$/.test(said) ? " See" : "; see"} --help`);
  }
  return args.length === 0 ? Exit.usage : code;
}

/** All commands. */
export function commands(terminal: Terminal, done: (result: number | void) => void): Command {
  const root = new Command("ttrpc")
    .description("Call, inspect, tap, benchmark and mock ttrpc servers.")
    .addHelpText("after", EXIT_CODES)
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out.print(text),
      writeErr: (text) => terminal.err.print(text),
      outputError: () => {}, // main() prints them
      getOutHasColors: () => terminal.out.colours,
      getErrHasColors: () => terminal.err.colours,
    });

  schemaOptions(
    root.command("call")
      .description("Call a method, unary or streaming.")
      .argument("<address>", "where the server listens")
      .argument("<method>", "such as pkg.Service/Method")
      .argument(
        "[json]",
        "the request; @FILE or - for stdin; streams take one JSON value per line",
      ),
  )
    .option("-m, --metadata <key=value>", "metadata of the request (repeatable)", pair)
    .option("-t, --timeout <time>", "the timeout of the call, such as 5s", duration)
    .option("-w, --wait", "wait until the server listens")
    .addOption(
      new Option("-o, --output <format>", "how to print responses")
        .choices(["json", "text", "none"]).default("json"),
    )
    .option("--emit-defaults", "also print fields that have their default values")
    .option("--raw", "send and print bytes; in a stream, each message is a line of base64")
    .addOption(
      new Option("--kind <kind>", "the kind of method, for --raw without a schema")
        .choices(["unary", "server-streaming", "client-streaming", "bidi-streaming"]),
    )
    .option("-v, --verbose", "print sizes and times to stderr")
    .addHelpText(
      "after",
      examples("call", [
        [
          "One message, from the argument",
          'ADDRESS pkg.Service/Get \'{"id":"x"}\' --proto x.proto',
        ],
        [
          "From a file, with metadata and a deadline",
          "ADDRESS pkg.Service/Get @request.json --proto x.proto -m key=value -t 5s",
        ],
        [
          "Many messages, one per line",
          "ADDRESS pkg.Service/Chat - --descriptor-set image.binpb < lines.ndjson",
        ],
        ["Without a schema", "ADDRESS pkg.Service/Get @request.bin --raw > response.bin"],
      ]),
    )
    .action(async (address: string, method: string, json: string | undefined, given: CallGiven) => {
      const { call } = await import("./call.ts");
      const { kind, ...options } = given;
      const named = kind && { kind: kind.replace("-", "_") as MethodKind };
      done(await call(terminal, address, method, json, { ...options, ...named }));
    });

  schemaOptions(
    root.command("list")
      .description("List the services of a schema, with their methods.")
      .argument("[service]", "list only this service"),
  )
    .option("--json", "print a line of JSON for each service")
    .addHelpText("after", examples("list", [["All services", "--proto x.proto -I proto"]]))
    .action(async (service: string | undefined, options: ListOptions) => {
      const { list } = await import("./describe.ts");
      done(await list(terminal, service, options));
    });

  schemaOptions(
    root.command("describe")
      .description("Describe a service, a method, a message or an enum, with its comments.")
      .argument("[name]", "such as pkg.Service, pkg.Service/Method or pkg.Message"),
  )
    .option("--template", "print an example of the message, or of the method's request, as JSON")
    .addHelpText(
      "after",
      examples("describe", [
        ["A method and its messages", "pkg.Service/Get --proto x.proto"],
        ["A request to start from", "pkg.Service/Get --proto x.proto --template > request.json"],
      ]),
    )
    .action(async (name: string | undefined, options: DescribeOptions) => {
      const { describe } = await import("./describe.ts");
      done(await describe(terminal, name, options));
    });

  schemaOptions(
    root.command("tap")
      .description("Forward connections from clients to a server, and print each call.")
      .argument("<listen>", "where to listen for clients")
      .argument("<target>", "where the server listens"),
  )
    .option("--json", "print lines of JSON")
    .option("--record <file>", "record all frames, for replay")
    .option("--emit-defaults", "also print fields that have their default values")
    .addHelpText(
      "after",
      examples("tap", [
        ["Print all calls", "unix:/tmp/tap.sock unix:///run/x.sock --proto x.proto"],
        ["Only the calls that failed", "LISTEN TARGET --json | jq 'select(.code > 0)'"],
      ]),
    )
    .action(async (listen: string, target: string, options: TapOptions) => {
      const { tap } = await import("./tap.ts");
      done(await tap(terminal, listen, target, options));
    });

  schemaOptions(
    root.command("replay")
      .description("Send the calls of a recording again, and compare how they end.")
      .argument("<file>", "the recording, made with tap --record")
      .argument("<target>", "where the server listens"),
  )
    .option("--json", "print lines of JSON")
    .option("--timed", "keep the pauses of the recording")
    .option("-t, --timeout <time>", "how long to wait for an answer; 30s by default", duration)
    .option("--emit-defaults", "also print fields that have their default values")
    .addHelpText(
      "after",
      examples("replay", [["Send again", "calls.rec unix:///run/x.sock --proto x.proto"]]),
    )
    .action(async (file: string, target: string, options: ReplayOptions) => {
      const { replay } = await import("./replay.ts");
      done(await replay(terminal, file, target, options));
    });

  schemaOptions(
    root.command("bench")
      .description("Make the same call repeatedly, and print the rate and the latencies.")
      .argument("<address>", "where the server listens")
      .argument("<method>", "such as pkg.Service/Method")
      .argument("[json]", "the request; @FILE or - for stdin"),
  )
    .option("-c, --concurrency <calls>", "calls in flight", count, 64)
    .option("-n, --count <calls>", "stop after this many calls, not after a time", count)
    .addOption(
      new Option("--duration <time>", "how long to measure").argParser(duration)
        .default(10_000, "10s"),
    )
    .option("--connections <connections>", "connections to spread the calls over", count, 1)
    .option("-m, --metadata <key=value>", "metadata of each request (repeatable)", pair)
    .option("-t, --timeout <time>", "the timeout of each call, such as 5s", duration)
    .option("-w, --wait", "wait until the server listens")
    .option("--raw", "send the request as bytes, not as JSON")
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      examples("bench", [
        [
          "Ten seconds, 64 calls at a time, on 4 connections",
          "ADDRESS pkg.Service/Get '{}' --proto x.proto --connections 4",
        ],
        [
          "A thousand calls, one after the other",
          "ADDRESS pkg.Service/Get '{}' --proto x.proto -c 1 -n 1000",
        ],
      ]),
    )
    .action(
      async (address: string, method: string, json: string | undefined, options: BenchOptions) => {
        const { bench } = await import("./bench.ts");
        done(await bench(terminal, address, method, json, options));
      },
    );

  schemaOptions(
    root.command("serve")
      .description(
        "Serve a schema with canned replies, to develop clients without the real server.",
      )
      .argument("<address>", "where to listen"),
  )
    .requiredOption("-r, --responses <file>", "a JSON file with the replies")
    .addHelpText("after", RESPONSES)
    .addHelpText(
      "after",
      examples("serve", [["A mock", "unix:/tmp/x.sock --proto x.proto --responses x.json"]]),
    )
    .action(async (address: string, options: ServeCommandOptions) => {
      const { serve } = await import("./serve.ts");
      done(await serve(terminal, address, options));
    });

  root.command("completions")
    .description("Print a completion script for a shell.")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish"]))
    .addHelpText(
      "after",
      examples("completions", [["For this shell", "bash > /tmp/ttrpc.bash && . /tmp/ttrpc.bash"]]),
    )
    .action(async (shell: "bash" | "zsh" | "fish") => {
      const { completions } = await import("./completions.ts");
      terminal.out.print(completions(root, shell));
    });
  return root;
}

type CallGiven = Omit<CallCommandOptions, "kind"> & { kind?: string };

function schemaOptions(command: Command): Command {
  return command
    .option("-p, --proto <file>", "a schema to compile with buf or protoc (repeatable)", several)
    .option("-I, --import-path <folder>", "a folder with .proto files (repeatable)", several)
    .option("-d, --descriptor-set <file>", "a compiled schema or Buf image (repeatable)", several);
}

function examples(
  command: string,
  list: readonly (readonly [what: string, how: string])[],
): string {
  const lines = list.map(([what, how]) => `  # ${what}\n  ttrpc ${command} ${how}`);
  return `\nExamples:\n${lines.join("\n")}`;
}
