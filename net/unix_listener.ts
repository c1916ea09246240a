/**
 * Listens on a unix socket that belongs to one server, and has its mode from its first moment on.
 *
 * The socket is made in a folder that only this user may enter, gets its mode there, and is moved
 * into place when it is complete: as a further name for the same socket, which fails where something
 * is already. So nothing of the process changes, as its umask would, and nobody's socket is replaced.
 *
 * Servers that start on one path at the same time take turns: each holds a lock on the folder of the
 * socket while it looks and moves. The system gives it back when the process ends, however that is.
 *
 * @module
 */

import { PATH_BYTES, UNFINISHED } from "../address.ts";

/**
 * The permission bits of a socket: a number, or whatever the process's umask leaves.
 *
 * @category Server
 */
export type SocketMode = number | "umask";

/** How long another server may take to start on the same path, in milliseconds. */
const LONGEST_LOCK_MS = 5_000;
/** How often the lock is tried, in milliseconds. */
const LOCK_RETRY_MS = 5;

/** A listener whose socket is where it was asked for. */
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

  /** Stops listening, and removes the socket, if it is still there and its own. */
  close(): void {
    const { path } = this.addr;
    try {
      // As long as it listens, nothing else can have its inode.
      if (lookAt(path)?.inode === this.#inode) Deno.removeSync(path);
    } catch {
      // It is not this server's any more.
    }
    this.#listener.close();
  }

  /** Lets the listener keep the process alive. */
  ref(): void {
    this.#listener.ref();
  }

  /** Lets the process end. */
  unref(): void {
    this.#listener.unref();
  }

  /** The connections that come in. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Deno.UnixConn> {
    return this.#listener[Symbol.asyncIterator]();
  }
}

/**
 * Listens at once, if nothing is in the way.
 *
 * @param path The path.
 * @param mode The permission bits.
 * @returns The listener; `undefined` if a socket is there, or another server is just starting, so
 * that {@linkcode listenUnixLater} has to find out.
 * @throws {Deno.errors.AddrInUse} If something is there that is no socket.
 * @throws {RangeError} If the mode is none.
 */
export function listenUnix(path: string, mode: SocketMode): UnixListener | undefined {
  check(path, mode);
  if (lookAt(path)) return undefined;
  using folder = Deno.openSync(folderOf(path));
  if (!folder.tryLockSync(true)) return undefined;
  return create(path, mode);
}

/**
 * Listens where a socket is already, if nobody listens on that.
 *
 * @param path The path.
 * @param mode The permission bits.
 * @param signal Gives up when it is aborted.
 * @returns The listener.
 * @throws {Deno.errors.AddrInUse} If another server is there.
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

/** How often to try again when a server that ends has removed what is being made. */
const TRIES = 3;

/** Makes the socket; `undefined` if something is there. Whoever calls holds the lock. */
function create(path: string, mode: SocketMode): UnixListener | undefined {
  const made = path + UNFINISHED;
  const folder = folderOf(made);
  for (let attempt = 1;; attempt++) {
    remove(folder, ALL); // of a server that died while it started
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
      // A server that is closed removes what has the name under which it was made.
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
    if (performance.now() > end) throw inUse("its folder is locked, as if a server were starting");
    await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MS));
    signal?.throwIfAborted();
  }
}

/** How often a socket is tried whose server goes away at that very moment. */
const MOST_LOOKS = 10;

/** Whether a server listens on a socket. */
async function isAlive(path: string): Promise<boolean> {
  for (let look = 1; look <= MOST_LOOKS; look++) {
    try {
      (await Deno.connect({ transport: "unix", path })).close();
      return true;
    } catch (error) {
      // More clients wait to be accepted than may.
      if (error instanceof Deno.errors.WouldBlock) return true;
      const gone = error instanceof Deno.errors.ConnectionRefused ||
        error instanceof Deno.errors.NotFound;
      if (gone) return false;
      // It was closed with this connection in its queue. What is there now may be another one.
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
    // A new socket may get the inode of one that is gone, but not at the same time.
    if (isSocket) return { inode, identity: `${inode}:${ctime?.getTime()}` };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  throw inUse("there is a file in the way that is no socket");
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
      `its path has ${length} bytes, and a server's socket has ${
        PATH_BYTES - UNFINISHED.length
      } at most`,
    );
  }
}

function inUse(why: string): Error {
  return new Deno.errors.AddrInUse(why);
}
