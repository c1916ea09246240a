/**
 * Connections for commands: with words for what can go wrong before anybody has spoken ttrpc.
 *
 * @module
 */

import { formatAddress, parseAddress, type ParsedAddress } from "../address.ts";
import { type Client, Code, connect, RpcError } from "../core.ts";
import { exitCodeOf, Failure, messageOf, usage } from "./failure.ts";

/** How to connect. */
export interface ConnectionOptions {
  /** How long it may take, in milliseconds. */
  readonly timeout?: number | undefined;
  /** Whether to wait for the socket. */
  readonly wait?: boolean | undefined;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads an address.
 *
 * @param text The argument.
 * @throws {Failure} If it is none.
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
 * @param text Its address.
 * @param options How long to try.
 * @throws {Failure} If there is nobody, with what to do.
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

/** Why there is no connection, and what to do. */
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
 * Finds out, after a call has failed, whether the server speaks something else.
 *
 * @param text Its address.
 * @param error How the call failed.
 * @returns What it speaks, if that is known.
 */
export async function otherProtocol(text: string, error: RpcError): Promise<string | undefined> {
  // Other errors are the answer of somebody who does speak ttrpc.
  const suspicious = error.code === Code.UNAVAILABLE || error.code === Code.DEADLINE_EXCEEDED ||
    error.code === Code.INTERNAL && error.rawMessage.includes("protocol error");
  if (!suspicious) return undefined;
  try {
    return nameOf(await firstBytes(parseAddress(text)));
  } catch {
    return undefined; // it has gone
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

/** Opens a connection, of whichever transport. */
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
 * @param error How the call failed.
 * @param details The details of its status, a line each.
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
    ? "; the server does not offer this, whatever the schema says"
    : "";
  return new Failure(messageOf(error) + hint, exitCodeOf(error.code), details);
}
