/** A load that contenders run. */
export interface Workload {
  /** Its name in figures and on the command line. */
  readonly name: string;
  /** The kind of method. */
  readonly kind: Kind;
  /** The length of the payload, in bytes; both ways, unless the kind of method says otherwise. */
  readonly bytes: number;
  /** Whether to send a realistic message instead. */
  readonly realistic: boolean;
  /** The number of calls in flight at any time, over all connections. */
  readonly inFlight: number;
  /** The number of connections that the calls are spread over. */
  readonly connections: number;
  /** The number of idle streams that are open during the load. */
  readonly openStreams: number;
  /** Whether to measure the server's memory again ten seconds after the load. */
  readonly after: boolean;
  /** The contenders of a full run. */
  readonly by: readonly string[];
  /** The contenders of a quick run. */
  readonly quickBy: readonly string[];
}

/** The kinds of method: unary, or which side sends many messages. */
export type Kind = "unary" | "server_stream" | "client_stream" | "bidi_stream";

/** The arguments of both sides of a contender. */
export interface Plan extends Pick<Workload, "kind" | "bytes" | "realistic" | "inFlight"> {
  /** The number of connections that the client opens at first. */
  readonly connections: number;
  /** The duration of the warm-up, in milliseconds. */
  readonly warmUpMs: number;
  /** The duration of the measurement, in milliseconds. */
  readonly measureMs: number;
  /** The number of messages in one stream. */
  readonly perStream: number;
  /** The realistic message, encoded, in hexadecimal. */
  readonly message: string;
}

/** The measurements of a client. */
export interface Measured {
  /** The number of completed calls or, for streaming methods, of messages. */
  readonly calls: number;
  /** The duration of the measurement, in seconds. */
  readonly seconds: number;
  /** The median latency in microseconds, if a single unary call was in flight. */
  readonly p50Us: number | null;
  /** The 99th percentile of the latency in microseconds, likewise. */
  readonly p99Us: number | null;
  /** The 99.9th percentile of the latency in microseconds, likewise. */
  readonly p999Us: number | null;
}

const SIZES = { "0B": 0, "100B": 100, "1KiB": 1 << 10, "64KiB": 1 << 16, "1MiB": 1 << 20 };

const ALL = [
  ...["raw", "ours", "go", "ours-go", "go-ours", "rust"],
  ...["grpc-js", "grpc-js-node", "connect-node"],
];
/** Three ways to make a call with ours. */
const WAYS = ["ours-typed", "ours-raw", "ours-intercepted"];
const TTRPC_ALONE = ["ours", "go", "rust"];
const RPCS = [...TTRPC_ALONE, "grpc-js", "grpc-js-node", "connect-node"];

/** All workloads. Not every contender runs all of them, so that the benchmark ends in minutes. */
export const workloads: readonly Workload[] = [
  workload("unary_100B_c1", ALL, ["raw", "ours", "go"]),
  workload("unary_100B_c8", ["ours", "go"]),
  workload("unary_100B_c64", [...ALL, ...WAYS], ["ours", "go", "grpc-js", ...WAYS]),
  workload("unary_100B_c1024", ["raw", "ours", "go"], ["ours"]),
  workload("unary_0B_c1", ["ours", "go"]),
  workload("unary_0B_c64", ["ours", "go"]),
  workload("unary_1KiB_c1", ["raw", "ours", "go"]),
  workload("unary_1KiB_c64", ["ours", "go"]),
  workload("realistic_c1", ["ours", "go"]),
  workload("realistic_c64", RPCS, ["ours", "go"]),
  workload("unary_64KiB_c1", ["raw", ...TTRPC_ALONE, "grpc-js"], ["raw", "ours"]),
  workload("unary_64KiB_c64", ["ours", "go"]),
  workload("unary_1MiB_c1", ["raw", ...RPCS], ["raw", "ours", "go"]),
  workload("server_stream_100B", RPCS, ["ours", "go"]),
  workload("client_stream_100B", [...TTRPC_ALONE, "grpc-js"]),
  workload("bidi_stream_100B", [...TTRPC_ALONE, "grpc-js"]),
  workload("server_stream_64KiB", TTRPC_ALONE),
  workload("client_stream_64KiB", ["ours", "go"]),
  workload("bidi_stream_64KiB", ["ours", "go"]),
  workload("unary_100B_100_connections", ["ours", "go"]),
  workload("unary_100B_1000_connections", ["raw", "ours", "go"], ["ours"]),
  workload("unary_100B_c64_10000_streams", ["ours", "go"], ["ours"]),
];

/** Makes a workload from its name, which has all the numbers. */
function workload(
  name: string,
  by: readonly string[],
  quickBy: readonly string[] = [],
): Workload {
  const number = (pattern: RegExp) => Number(pattern.exec(name)?.[1] ?? 0);
  const [, kind = "unary"] = /^(\w+_stream)_/.exec(name) ?? [];
  const [, size = "0B"] = /_(\d+[A-Za-z]*B)/.exec(name) ?? [];
  const connections = number(/_(\d+)_connections/) || 1;
  return {
    name,
    kind: kind as Kind,
    bytes: SIZES[size as keyof typeof SIZES],
    realistic: name.startsWith("realistic"),
    // Many connections have one call in flight each.
    inFlight: number(/_c(\d+)/) || connections,
    connections,
    openStreams: number(/_(\d+)_streams/),
    after: name === "unary_100B_c64" || name === "unary_1MiB_c1",
    by,
    quickBy,
  };
}

/** Whether a contender can run a workload: `raw` has no empty messages, streams or fields. */
export function can(contender: string, { kind, bytes, openStreams }: Workload): boolean {
  return contender !== "raw" || (kind === "unary" && bytes > 0 && openStreams === 0);
}

/** Finds a workload by its name. */
export function workloadNamed(name: string): Workload {
  const found = workloads.find((workload) => workload.name === name);
  if (!found) throw new TypeError(`Cannot find the workload "${name}"`);
  return found;
}
