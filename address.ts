/**
 * Addresses of servers, as objects and as text.
 *
 * @module
 */

import type { ByteConnection } from "./transport.ts";

/**
 * A unix socket.
 *
 * @category Addresses and connections
 */
export interface UnixAddress {
  /** `"unix"`; may be left out. */
  transport?: "unix";
  /** The path of the socket. One that starts with `\0` is in Linux's abstract namespace. */
  path: string;
}

/**
 * A TCP host and port.
 *
 * @category Addresses and connections
 */
export interface TcpAddress {
  /** `"tcp"`; may be left out. */
  transport?: "tcp";
  /** The host name or IP address. `"127.0.0.1"` by default. */
  hostname?: string;
  /** The port, from 0 to 65,535. A server that listens on port 0 gets a free one. */
  port: number;
}

/**
 * A vsock port, of a virtual machine or its host. Needs Deno's `--unstable-vsock`.
 *
 * @category Addresses and connections
 */
export interface VsockAddress {
  /** `"vsock"`. */
  transport: "vsock";
  /** The context ID of the machine. */
  cid: number;
  /** The port. */
  port: number;
}

/**
 * An address: an object as `Deno.connect` and `Deno.listen` take it, or a string. The string is
 * `unix:///run/x.sock`, `unix:relative.sock`, `unix-abstract:name`, `unix://@name`,
 * `tcp://host:port`, `vsock://cid:port`, or a path that starts with `/`, `./` or `../`.
 *
 * @category Addresses and connections
 */
export type Address = string | UnixAddress | TcpAddress | VsockAddress;

/** An address that is complete and checked. */
export type ParsedAddress = Required<UnixAddress> | Required<TcpAddress> | VsockAddress;

const FORMS = "unix:///absolute/path, unix:relative/path, unix-abstract:name, unix://@name, " +
  "tcp://host:port, vsock://cid:port, or a path that starts with /, ./ or ../";

/** The longest path of a unix socket in bytes, as the system's `sockaddr_un` limits it. */
export const PATH_BYTES: number = Deno.build.os === "linux" ? 107 : 103;

/**
 * Parses and checks an address.
 *
 * @param address The address, in any form.
 * @returns The address as an object.
 * @throws {TypeError} If it has none of the forms.
 * @throws {RangeError} If a number in it is out of range, or a path is too long for a socket.
 */
export function parseAddress(address: Address): ParsedAddress {
  const text = typeof address === "string" ? address : undefined;
  const parts: Address = text === undefined ? address : parseText(text);
  const fail = (why: string) => new TypeError(`Cannot use address ${show(address)}: ${why}`);
  if (typeof parts !== "object" || parts === null) throw fail(`expected an object or ${FORMS}`);
  if ("path" in parts) {
    const { path, transport = "unix" } = parts;
    if (transport !== "unix") throw fail(`an address with a path has the transport "unix"`);
    if (typeof path !== "string" || path === "" || path === "\0") throw fail("the path is empty");
    if (path.includes("\0", 1)) throw fail("the path contains a NUL character");
    const length = new TextEncoder().encode(path).length;
    if (length > PATH_BYTES) {
      throw new RangeError(
        `Cannot use address ${show(address)}: the path has ${length} bytes, ` +
          `and the path of a socket has at most ${PATH_BYTES}`,
      );
    }
    return { transport: "unix", path };
  }
  if (parts.transport === "vsock") {
    const { cid, port } = parts;
    checkNumber(address, "cid", cid, 2 ** 32 - 1);
    checkNumber(address, "port", port, 2 ** 32 - 1);
    return { transport: "vsock", cid, port };
  }
  const { hostname = "127.0.0.1", port, transport = "tcp" } = parts;
  if (transport !== "tcp") throw fail(`there is no transport ${JSON.stringify(transport)}`);
  if (port === undefined) throw fail("expected a path or a port");
  if (typeof hostname !== "string" || hostname === "") throw fail("the host is empty");
  checkNumber(address, "port", port, 65_535);
  return { transport: "tcp", hostname, port };
}

function parseText(text: string): Address {
  const fail = (why: string) => new TypeError(`Cannot use address ${JSON.stringify(text)}: ${why}`);
  const [, scheme, rest] = /^([a-z-]+):(.*)$/s.exec(text) ?? [];
  if (/^\.{0,2}\//.test(text)) return { path: text };
  if (scheme === undefined || rest === undefined) throw fail(`expected ${FORMS}`);
  if (scheme === "unix-abstract") return { path: `\0${rest}` };
  if (scheme === "unix") {
    if (!rest.startsWith("//")) return { path: rest };
    const path = rest.slice(2);
    if (path.startsWith("@")) return { path: `\0${path.slice(1)}` };
    if (path === "" || path.startsWith("/")) return { path };
    throw fail(`"unix://" takes an absolute path; write a relative one as "unix:${path}"`);
  }
  if (scheme !== "tcp" && scheme !== "vsock") throw fail(`expected ${FORMS}`);
  const [, host, port] = /^\/\/(.+):(\d+)$/.exec(rest) ?? [];
  if (host === undefined) {
    throw fail(`expected ${scheme}://${scheme === "tcp" ? "host" : "cid"}:port`);
  }
  if (scheme === "tcp") {
    const [, bracketed] = /^\[([^\]]+)\]$/.exec(host) ?? [];
    if (bracketed === undefined && host.includes(":")) {
      throw fail("an IPv6 host must be in brackets");
    }
    return { hostname: bracketed ?? host, port: Number(port) };
  }
  if (!/^\d+$/.test(host)) throw fail("the cid must be a number");
  return { transport: "vsock", cid: Number(host), port: Number(port) };
}

function checkNumber(address: Address, name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= most) return;
  throw new RangeError(
    `Cannot use address ${show(address)}: ` +
      `the ${name} is ${value}, not a whole number from 0 to ${most}`,
  );
}

function show(address: unknown): string {
  return typeof address === "string" ? JSON.stringify(address) : Deno.inspect(address);
}

/**
 * Formats an address as text that {@linkcode parseAddress} takes.
 *
 * @param address The address.
 * @returns Such as `unix:/run/x.sock`.
 */
export function formatAddress(address: ParsedAddress): string {
  if (address.transport === "unix") {
    return address.path.startsWith("\0")
      ? `unix-abstract:${address.path.slice(1)}`
      : `unix:${address.path}`;
  }
  if (address.transport === "vsock") return `vsock://${address.cid}:${address.port}`;
  const { hostname, port } = address;
  return `tcp://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/**
 * What a server appends to the path of its socket while it creates the socket. The system keeps
 * that path as the socket's name after the socket is moved into place.
 */
export const UNFINISHED = ".new/s";

/**
 * The name of an open connection in error messages.
 *
 * @param conn The connection.
 * @returns The peer's address, or the local address if the peer has none; `undefined` if neither is
 * known.
 */
export function nameOf(conn: ByteConnection): string | undefined {
  for (const address of [conn.remoteAddr, conn.localAddr]) {
    if (address?.transport === "tcp" || address?.transport === "vsock") {
      return formatAddress(address as ParsedAddress);
    }
    if (address?.transport === "unix" && address.path) {
      const path = address.path.endsWith(UNFINISHED)
        ? address.path.slice(0, -UNFINISHED.length)
        : address.path;
      return formatAddress({ transport: "unix", path });
    }
  }
  return undefined;
}
