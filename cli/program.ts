/**
 * The commands, their arguments and their help. What a command does is loaded when it is run.
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
  0                     all went well
  1                     something else went wrong
  2                     a mistake in what was given: arguments, schema, JSON
  64 and the gRPC code  the call failed: 66 UNKNOWN, 68 DEADLINE_EXCEEDED, 69 NOT_FOUND,
                        76 UNIMPLEMENTED, 78 UNAVAILABLE, ...

Addresses:
  unix:///run/x.sock  unix:relative.sock  unix-abstract:name  tcp://host:port  vsock://cid:port
  or a path with a slash in front

NO_COLOR=1 turns colours off.`;

const RESPONSES = `
The replies, by method. Of several the first whose "when" fits the request is taken.
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
 * @returns What to exit with.
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
    .description("Call, inspect, tap, measure and mock whatever speaks ttrpc.")
    .addHelpText("after", EXIT_CODES)
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out.print(text),
      writeErr: (text) => terminal.err.print(text),
      outputError: () => {}, // main() tells
      getOutHasColors: () => terminal.out.colours,
      getErrHasColors: () => terminal.err.colours,
    });

  schemaOptions(
    root.command("call")
      .description("Call a method: of one message or of streams, in both directions.")
      .argument("<address>", "where the server listens")
      .argument("<method>", "such as pkg.Service/Method")
      .argument("[json]", "the request; @FILE or - for stdin; streams take one JSON value a line"),
  )
    .option("-m, --metadata <key=value>", "send this beside the request (repeatable)", pair)
    .option("-t, --timeout <time>", "give up after this time, such as 5s", duration)
    .option("-w, --wait", "wait until the server is there")
    .addOption(
      new Option("-o, --output <format>", "how to print responses")
        .choices(["json", "text", "none"]).default("json"),
    )
    .option("--emit-defaults", "print fields that have their default values, too")
    .option("--raw", "send and print bytes; streams have a line of base64 for each message")
    .addOption(
      new Option("--kind <kind>", "the kind of method, for --raw without a schema")
        .choices(["unary", "server-streaming", "client-streaming", "bidi-streaming"]),
    )
    .option("-v, --verbose", "tell sizes and times on stderr")
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
          "Many messages, a line each",
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
      .argument("[service]", "only this one"),
  )
    .option("--json", "print a line of JSON for each service")
    .addHelpText("after", examples("list", [["What is there", "--proto x.proto -I proto"]]))
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
      .description("Stand between clients and a server, and print each call as it passes.")
      .argument("<listen>", "where clients connect to")
      .argument("<target>", "where the server is"),
  )
    .option("--json", "print lines of JSON")
    .option("--record <file>", "record all frames, for replay")
    .option("--emit-defaults", "print fields that have their default values, too")
    .addHelpText(
      "after",
      examples("tap", [
        ["See what is said", "unix:/tmp/tap.sock unix:///run/x.sock --proto x.proto"],
        ["Only the methods that failed", "LISTEN TARGET --json | jq 'select(.code > 0)'"],
      ]),
    )
    .action(async (listen: string, target: string, options: TapOptions) => {
      const { tap } = await import("./tap.ts");
      done(await tap(terminal, listen, target, options));
    });

  schemaOptions(
    root.command("replay")
      .description("Send what tap has recorded once more, and compare how the calls end.")
      .argument("<file>", "the recording")
      .argument("<target>", "where the server is"),
  )
    .option("--json", "print lines of JSON")
    .option("--timed", "keep the pauses of the recording")
    .option("-t, --timeout <time>", "wait no longer for an answer; 30s by default", duration)
    .option("--emit-defaults", "print fields that have their default values, too")
    .addHelpText(
      "after",
      examples("replay", [["Once more", "calls.rec unix:///run/x.sock --proto x.proto"]]),
    )
    .action(async (file: string, target: string, options: ReplayOptions) => {
      const { replay } = await import("./replay.ts");
      done(await replay(terminal, file, target, options));
    });

  schemaOptions(
    root.command("bench")
      .description("Make the same call again and again, and tell how long it takes.")
      .argument("<address>", "where the server listens")
      .argument("<method>", "such as pkg.Service/Method")
      .argument("[json]", "the request; @FILE or - for stdin"),
  )
    .option("-c, --concurrency <calls>", "calls in flight", count, 64)
    .option("-n, --count <calls>", "stop after so many calls instead of a time", count)
    .addOption(
      new Option("--duration <time>", "how long").argParser(duration).default(10_000, "10s"),
    )
    .option("--connections <connections>", "how many to spread the calls over", count, 1)
    .option("-m, --metadata <key=value>", "send this beside each request (repeatable)", pair)
    .option("-t, --timeout <time>", "how long a call may take, such as 5s", duration)
    .option("-w, --wait", "wait until the server is there")
    .option("--raw", "the request is bytes")
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
    .requiredOption("-r, --responses <file>", "the replies, as JSON")
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
    .description("Print a script that makes a shell complete this command.")
    .addArgument(new Argument("<shell>", "which one").choices(["bash", "zsh", "fish"]))
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
    .option("-p, --proto <file>", "the schema, compiled with buf or protoc (repeatable)", several)
    .option("-I, --import-path <folder>", "where .proto files are (repeatable)", several)
    .option("-d, --descriptor-set <file>", "a compiled schema or Buf image (repeatable)", several);
}

function examples(
  command: string,
  list: readonly (readonly [what: string, how: string])[],
): string {
  const lines = list.map(([what, how]) => `  # ${what}\n  ttrpc ${command} ${how}`);
  return `\nExamples:\n${lines.join("\n")}`;
}
