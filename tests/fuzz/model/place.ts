/** Where a model's client and server meet. */

import { type ByteConnection, createConnectionPair } from "@ttrpc/ttrpc";
import { SocketFolder } from "../../fixture.ts";
import type { Setting } from "./program.ts";

/** Both ends of a connection. */
export interface Ends {
  readonly near: ByteConnection;
  readonly far: ByteConnection;
  /** Whether bytes go through the system, which may take its time. */
  readonly slow: boolean;
  /** Leaves nothing behind. */
  remove(): void;
}

/** Connects two ends. */
export async function ends(place: Setting["place"]): Promise<Ends> {
  if (place === "memory" || place === "memory in pieces") {
    const [near, far] = createConnectionPair();
    const remove = () => {};
    if (place === "memory") return { near, far, slow: false, remove };
    return { near: new Pieces(near), far: new Pieces(far), slow: false, remove };
  }
  using socket = new SocketFolder();
  using listener = place === "unix"
    ? Deno.listen({ transport: "unix", path: socket.path })
    : Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { addr } = listener;
  const [near, far] = await Promise.all([
    place === "unix"
      ? Deno.connect({ transport: "unix", path: socket.path })
      : Deno.connect(addr as Deno.NetAddr & { transport: "tcp" }),
    listener.accept(),
  ]);
  for (const conn of [near, far]) {
    if (conn.remoteAddr.transport === "tcp") (conn as Deno.TcpConn).setNoDelay(true);
  }
  const remove = () => [near, far].forEach(close);
  return { near, far, slow: true, remove };
}

/** Closes a connection that may be closed already. */
export function close(conn: ByteConnection): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** How many bytes go through at once. */
const PIECES = [3, 40, 1_000, 9, 20_000];

/** A connection that reads and writes in pieces. */
class Pieces implements ByteConnection {
  readonly remoteAddr: Deno.Addr;
  readonly #conn: ByteConnection;
  #reads = 0;
  #writes = 2;

  constructor(conn: ByteConnection) {
    this.#conn = conn;
    this.remoteAddr = conn.remoteAddr!;
  }

  read(buffer: Uint8Array): Promise<number | null> {
    return this.#conn.read(buffer.subarray(0, PIECES[this.#reads++ % PIECES.length]));
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#conn.write(bytes.subarray(0, PIECES[this.#writes++ % PIECES.length]));
  }

  closeWrite(): Promise<void> {
    return this.#conn.closeWrite!();
  }

  close(): void {
    this.#conn.close();
  }
}
