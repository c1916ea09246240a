/**
 * Listens on a unix socket: one server per path, with the right mode from the start.
 *
 * The socket is made in a folder that only this user may enter, and gets its mode there. A hard
 * link then puts it at its path, which fails if something exists there. So the umask of the process is
 * not changed, and the socket of another server is not replaced.
 *
 * Servers that start on one path at the same time take turns: each locks the folder of the socket
 * while it checks the path and makes the link. The system releases the lock when the process ends,
 * however it ends.
 *
 * @module
 */

import { PATH_BYTES, UNFINISHED } from "../address.ts";

/**
 * The permission bits of a unix socket: a number, or `"umask"` for those that the process's umask
 * leaves.
 *
 * @category Server
 */
export type SocketMode = number | "umask";

/** How long to wait for another server that starts on the same path, in milliseconds. */
const LONGEST_LOCK_MS = 5_000;
/** The pause between attempts to take the lock, in milliseconds. */
const LOCK_RETRY_MS = 5;

/** A listener on a path of the file system. */
export class UnixListener implements AsyncIterable<Deno.UnixConn> {
  readonly addr: Deno.UnixAddr;
  readonly #listener: Deno.UnixListener;
  readonly #inode: string | undefined;

  /** @internal Use {@linkcode listenUnix}. */
  constructor(path: string, listener: Deno.UnixListener) {
    this.addr = { transport: "unix", path };
    this.#listener = listener;
    this.#inode = lookAt(path)?.inode;
  }

  /** Waits for a connection. */
  accept(): Promise<Deno.UnixConn> {
    return this.#listener.accept();
  }

  /** Stops listening, and removes the socket if the one at the path is still its own. */
  close(): void {
    const { path } = this.addr;
    try {
      // While this server listens, no other file can have the inode of its socket.
      if (lookAt(path)?.inode === this.#inode) Deno.removeSync(path);
    } catch {
      // The path no longer belongs to this server.
    }
    this.#listener.close();
  }

  /** Keeps the process alive while the server listens, which is the default. */
  ref(): void {
    this.#listener.ref();
  }

  /** Lets the process exit while the server listens. */
  unref(): void {
    this.#listener.unref();
  }

  /** Accepts connections until the listener is closed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Deno.UnixConn> {
    return this.#listener[Symbol.asyncIterator]();
  }
}

/**
 * Listens synchronously, if nothing exists at the path.
 *
 * @param path The path.
 * @param mode The permission bits.
 * @returns The listener; `undefined` if a socket exists there, or another server is just starting:
 * then {@linkcode listenUnixLater} has to find out.
 * @throws {Deno.errors.AddrInUse} If a file exists there that is not a socket.
 * @throws {RangeError} If the mode is not valid, or the path is too long.
 */
export function listenUnix(path: string, mode: SocketMode): UnixListener | undefined {
  check(path, mode);
  if (lookAt(path)) return undefined;
  using folder = Deno.openSync(folderOf(path));
  if (!folder.tryLockSync(true)) return undefined;
  return create(path, mode);
}

/**
 * Listens on a path where a socket exists already, unless a server listens on that socket.
 *
 * @param path The path.
 * @param mode The permission bits.
 * @param signal Aborts the attempt.
 * @returns The listener.
 * @throws {Deno.errors.AddrInUse} If another server uses the path, or a file exists there that is
 * not a socket.
 * @throws {RangeError} If the mode is not valid, or the path is too long.
 */
export async function listenUnixLater(
  path: string,
  mode: SocketMode,
  signal?: AbortSignal,
): Promise<UnixListener> {
  check(path, mode);
  using folder = Deno.openSync(folderOf(path));
  await lock(folder, signal);
  const found = lookAt(path);
  if (found) {
    if (await isAlive(path)) throw inUse("another server listens there");
    signal?.throwIfAborted();
    // A server that is closed removes its own socket without the lock.
    if (lookAt(path)?.identity === found.identity) remove(path);
  }
  const listener = create(path, mode);
  if (!listener) throw inUse("another server listens there");
  return listener;
}

const ALL = { recursive: true };

/** How many attempts to make if a closing server removes the socket before it is linked. */
const TRIES = 3;

/** Makes the socket; `undefined` if something exists at the path. The caller holds the lock. */
function create(path: string, mode: SocketMode): UnixListener | undefined {
  const made = path + UNFINISHED;
  const folder = folderOf(made);
  for (let attempt = 1;; attempt++) {
    remove(folder, ALL); // left by a server that died while it started
    Deno.mkdirSync(folder, { mode: 0o700 });
    let listener: Deno.UnixListener | undefined;
    try {
      listener = Deno.listen({ transport: "unix", path: made });
      if (mode !== "umask") Deno.chmodSync(made, mode);
      Deno.linkSync(made, path);
      return new UnixListener(path, listener);
    } catch (error) {
      listener?.close();
      if (error instanceof Deno.errors.AlreadyExists) return undefined;
      // Closing another server's listener removes the file at the path where its socket was made,
      // which is this one.
      if (!(error instanceof Deno.errors.NotFound) || attempt === TRIES) throw error;
    } finally {
      remove(folder, ALL);
    }
  }
}

function remove(path: string, options?: Deno.RemoveOptions): void {
  try {
    Deno.removeSync(path, options);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function lock(folder: Deno.FsFile, signal: AbortSignal | undefined): Promise<void> {
  for (const end = performance.now() + LONGEST_LOCK_MS; !folder.tryLockSync(true);) {
    if (performance.now() > end) {
      throw inUse("its folder is locked: another server may be starting");
    }
    await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MS));
    signal?.throwIfAborted();
  }
}

/** How many attempts to make at a socket whose server closes at the same moment. */
const MOST_LOOKS = 10;

/** Whether a server listens on a socket. */
async function isAlive(path: string): Promise<boolean> {
  for (let look = 1; look <= MOST_LOOKS; look++) {
    try {
      (await Deno.connect({ transport: "unix", path })).close();
      return true;
    } catch (error) {
      // Its backlog is full, so a server listens.
      if (error instanceof Deno.errors.WouldBlock) return true;
      const gone = error instanceof Deno.errors.ConnectionRefused ||
        error instanceof Deno.errors.NotFound;
      if (gone) return false;
      // The server closed with this connection in its backlog. Another one may listen now.
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    }
  }
  return true;
}

/** The socket at a path, if there is one. */
function lookAt(path: string): { readonly inode: string; readonly identity: string } | undefined {
  try {
    const { isSocket, dev, ino, ctime } = Deno.lstatSync(path);
    const inode = `${dev}:${ino}`;
    // A new socket may reuse the inode of a removed one, but it has another ctime.
    if (isSocket) return { inode, identity: `${inode}:${ctime?.getTime()}` };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  throw inUse("there is a file that is not a socket");
}

function folderOf(path: string): string {
  const at = path.lastIndexOf("/");
  return at < 0 ? "." : at === 0 ? "/" : path.slice(0, at);
}

function check(path: string, mode: SocketMode): void {
  if (mode !== "umask" && !(Number.isInteger(mode) && mode >= 0 && mode <= 0o777)) {
    throw new RangeError(`the mode is ${mode}, not a whole number from 0 to 0o777`);
  }
  const { length } = new TextEncoder().encode(path);
  if (length > PATH_BYTES - UNFINISHED.length) {
    throw new RangeError(
      `its path has ${length} bytes, more than the ${
        PATH_BYTES - UNFINISHED.length
      } that a server's socket may have`,
    );
  }
}

function inUse(why: string): Error {
  return new Deno.errors.AddrInUse(why);
}
