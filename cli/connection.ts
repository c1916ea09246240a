/**
 * Connections for commands, with errors that say what to do.
 *
 * @module
 */

import { formatAddress, parseAddress, type ParsedAddress } from "../address.ts";
import { type Client, Code, connect, RpcError } from "../core.ts";
import { exitCodeOf, Failure, messageOf, usage } from "./failure.ts";

/** How to connect. */
export interface ConnectionOptions {
  /** How long to try, in milliseconds. */
  readonly timeout?: number | undefined;
  /** Whether to wait until the server listens. */
  readonly wait?: boolean | undefined;
  /** Aborts the attempt. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads an address.
 *
 * @param text The argument.
 * @returns The address.
 * @throws {Failure} If it is not an address.
 */
export function readAddress(text: string): ParsedAddress {
  try {
    return parseAddress(text);
  } catch (error) {
    throw usage(messageOf(error));
  }
}

/**
 * Connects to a server.
 *
 * @param text The address of the server.
 * @param options How long to try.
 * @returns The client.
 * @throws {Failure} If there is no connection, with what to do.
 */
export async function openClient(text: string, options: ConnectionOptions): Promise<Client> {
  const address = readAddress(text);
  const { timeout: connectTimeoutMs, wait: waitForReady, signal } = options;
  try {
    return await connect(address, { connectTimeoutMs, waitForReady, signal });
  } catch (error) {
    throw connectFailure(error);
  }
}

/** The failure of an attempt to connect, with what to do. */
export function connectFailure(error: unknown): Failure {
  if (!(error instanceof RpcError)) return new Failure(messageOf(error));
  const hint = error.code === Code.UNAVAILABLE
    ? "; is the server running? (--wait waits for it)"
    : error.code === Code.PERMISSION_DENIED
    ? "; run this as the user that the socket belongs to, or as root"
    : "";
  return new Failure(messageOf(error) + hint, exitCodeOf(error.code));
}

const PROBE_MS = 1_000;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/**
 * Finds out, after a failed call, whether the server speaks another protocol.
 *
 * @param text The address of the server.
 * @param error The error of the call.
 * @returns What the server is, such as "an HTTP server"; `undefined` if that is not known.
 */
export async function otherProtocol(text: string, error: RpcError): Promise<string | undefined> {
  // Any other error is the answer of a ttrpc server.
  const suspicious = error.code === Code.UNAVAILABLE || error.code === Code.DEADLINE_EXCEEDED ||
    error.code === Code.INTERNAL && error.rawMessage.includes("protocol error");
  if (!suspicious) return undefined;
  try {
    return nameOf(await firstBytes(parseAddress(text)));
  } catch {
    return undefined; // the server is gone
  }
}

async function firstBytes(address: ParsedAddress): Promise<Uint8Array> {
  using conn = await dialBytes(address);
  await conn.write(new TextEncoder().encode(PREFACE));
  const timer = setTimeout(() => conn.close(), PROBE_MS);
  try {
    const buffer = new Uint8Array(64);
    return buffer.subarray(0, await conn.read(buffer) ?? 0);
  } finally {
    clearTimeout(timer);
  }
}

/** Opens a connection of any transport. */
export async function dialBytes(address: ParsedAddress): Promise<ByteStream> {
  if (address.transport === "unix") return await Deno.connect(address);
  if (address.transport === "vsock") return await Deno.connect(address);
  const conn = await Deno.connect(address);
  conn.setNoDelay(true); // a small call must not wait for the acknowledgement of another
  return conn;
}

/** An open connection. */
export type ByteStream = Deno.UnixConn | Deno.TcpConn | Deno.VsockConn;

function nameOf(bytes: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(bytes);
  if (/^HTTP\/\d/.test(text)) return "an HTTP server";
  // The first frame of HTTP/2 is SETTINGS, on stream 0.
  const settings = bytes.length >= 9 && bytes[3] === 4 &&
    bytes.subarray(5, 9).every((b) => b === 0);
  if (settings) return "an HTTP/2 server, as those of gRPC are";
  if (bytes[0] === 0x15 || bytes[0] === 0x16) return "a TLS server";
  if (text.startsWith("SSH-")) return "an SSH server";
  return undefined;
}

/**
 * The failure of a call.
 *
 * @param text The address of the server.
 * @param error The error of the call.
 * @param details The details of its status, one per line.
 * @returns The failure, with what to do.
 */
export async function callFailure(
  text: string,
  error: RpcError,
  details: readonly string[] = [],
): Promise<Failure> {
  const other = await otherProtocol(text, error);
  if (other !== undefined) {
    const name = formatAddress(parseAddress(text));
    const tool = other.includes("gRPC") ? "; for gRPC there is grpcurl" : "";
    return new Failure(
      `Cannot call ${error.method} at ${name}: there is ${other}, which does not speak ttrpc; ` +
        `use the address of a ttrpc socket${tool}`,
      exitCodeOf(error.code),
    );
  }
  const hint = error.code === Code.UNIMPLEMENTED
    ? "; the server does not implement this, even if the schema has it"
    : "";
  return new Failure(messageOf(error) + hint, exitCodeOf(error.code), details);
}
