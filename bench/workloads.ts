/** What is asked of contenders under load. */
export interface Workload {
  /** What it is called in figures and on the command line. */
  readonly name: string;
  /** The kind of method. */
  readonly kind: Kind;
  /** The length of the payload, which travels in both directions unless the kind says otherwise. */
  readonly bytes: number;
  /** Whether a realistic message travels instead. */
  readonly realistic: boolean;
  /** How many calls are in flight at any time, over all connections. */
  readonly inFlight: number;
  /** How many connections they are spread over. */
  readonly connections: number;
  /** How many streams are open beside them, idle. */
  readonly openStreams: number;
  /** Whether the server's memory is looked at again ten seconds after the load. */
  readonly after: boolean;
  /** The contenders that a full run asks. */
  readonly by: readonly string[];
  /** The contenders that a quick run asks. */
  readonly quickBy: readonly string[];
}

/** The kinds of method: unary, or which side sends many messages. */
export type Kind = "unary" | "server_stream" | "client_stream" | "bidi_stream";

/** What both sides of a contender are told. */
export interface Plan extends Pick<Workload, "kind" | "bytes" | "realistic" | "inFlight"> {
  /** How many connections the client opens at first. */
  readonly connections: number;
  /** How long the load runs before it counts, in milliseconds. */
  readonly warmUpMs: number;
  /** How long it counts, in milliseconds. */
  readonly measureMs: number;
  /** How many messages one stream carries. */
  readonly perStream: number;
  /** The realistic message, encoded, in hexadecimal. */
  readonly message: string;
}

/** What a client measured. */
export interface Measured {
  /** How many calls were completed or, of a streaming kind, messages came. */
  readonly calls: number;
  /** In how much time. */
  readonly seconds: number;
  /** The median latency in microseconds, if a single unary call was in flight. */
  readonly p50Us: number | null;
  /** The latency that 99 of 100 calls stayed below, likewise. */
  readonly p99Us: number | null;
  /** The latency that 999 of 1,000 calls stayed below, likewise. */
  readonly p999Us: number | null;
}

const SIZES = { "0B": 0, "100B": 100, "1KiB": 1 << 10, "64KiB": 1 << 16, "1MiB": 1 << 20 };

const ALL = [
  ...["raw", "ours", "go", "ours-go", "go-ours", "rust"],
  ...["grpc-js", "grpc-js-node", "connect-node"],
];
/** Ways to make a call with ours. */
const WAYS = ["ours-typed", "ours-raw", "ours-intercepted"];
const TTRPC_ALONE = ["ours", "go", "rust"];
const RPCS = [...TTRPC_ALONE, "grpc-js", "grpc-js-node", "connect-node"];

/** All workloads. Not every contender is asked everything: the whole should end in minutes. */
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

/** The rest of a workload follows from its name. */
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

/** Whether a contender can do it: raw bytes have no end, no streams and no fields. */
export function can(contender: string, { kind, bytes, openStreams }: Workload): boolean {
  return contender !== "raw" || (kind === "unary" && bytes > 0 && openStreams === 0);
}

/** The workload of a name. */
export function workloadNamed(name: string): Workload {
  const found = workloads.find((workload) => workload.name === name);
  if (!found) throw new TypeError(`There is no workload "${name}"`);
  return found;
}
