/**
 * A real containerd in a folder of its own, and real shims: the peers that ttrpc was made for.
 *
 * @module
 */

import { connect } from "@ttrpc/ttrpc";
import {
  absentProgram,
  findProgram,
  isFile,
  missingMount,
  missingProgram,
  testUnless,
} from "../machine.ts";
import { kill, run } from "./programs.ts";
import { API_IMAGE } from "./task.ts";

// The runc shim keeps its containers' state here, wherever containerd itself is told to live.
const RUNC_ROOT = "/run/containerd/runc";
const SPEC_VERSION = "1.0.2";
const READY_MS = 30_000;
const STOP_MS = 10_000;
const POLL_MS = 10;

const missing = findMissing();

/**
 * A test that needs a real containerd. Without one it is ignored, and its name says why.
 *
 * @param name What is the case, as a sentence.
 * @param run Shows it.
 */
export function containerdTest(name: string, run: () => Promise<void>): void {
  testUnless(missing, `containerd: ${name}`, run);
}

function findMissing(): string | undefined {
  // Containers begin with mounts.
  const rights = missingMount();
  if (rights !== undefined) return rights;
  // The last one runs the transcripts of docs/command.md.
  const programs = ["containerd", "containerd-shim-runc-v2", "ctr", "runc", "busybox", "bash"];
  // Go fetches containerd's .proto files, once.
  return absentProgram(...programs) ?? (isFile(API_IMAGE) ? undefined : missingProgram("go"));
}

/** A running containerd. Disposal stops it and removes its folder. */
export class Containerd implements AsyncDisposable {
  /** Where everything of it is. */
  readonly folder: string;
  readonly #process: Deno.ChildProcess;
  readonly #log: Promise<string>;

  private constructor(folder: string) {
    this.folder = folder;
    this.#process = new Deno.Command("containerd", {
      args: ["--config", `${folder}/config.toml`],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#log = new Response(this.#process.stderr).text();
  }

  /** Starts one, and waits until it takes ttrpc connections. */
  static async start(): Promise<Containerd> {
    const folder = await Deno.makeTempDir({ prefix: "ttrpc-containerd-" });
    await Deno.writeTextFile(`${folder}/config.toml`, config(folder));
    const containerd = new Containerd(folder);
    try {
      await containerd.#ready();
      return containerd;
    } catch (error) {
      await containerd[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The address of its gRPC services, as `ctr --address` takes it. */
  get grpcAddress(): string {
    return `${this.folder}/containerd.sock`;
  }

  /** The path of its ttrpc socket. */
  get ttrpcPath(): string {
    return `${this.grpcAddress}.ttrpc`;
  }

  /**
   * Starts a shim for a container that is yet to be created.
   *
   * @param command What the container runs; of programs, it has `/bin/busybox`.
   */
  async startShim(command: readonly string[]): Promise<Shim> {
    const shim = new Shim(this, await makeBundle(this.folder, command));
    try {
      await shim.start();
      return shim;
    } catch (error) {
      await shim[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stop(this.#process);
    await this.#log;
    await unmountBelow(this.folder);
    await Deno.remove(this.folder, { recursive: true });
  }

  async #ready(): Promise<void> {
    const gone = new AbortController();
    void this.#process.status.then(async () =>
      gone.abort(new Error(`containerd has exited: ${await this.#log}`))
    );
    const { signal } = gone;
    try {
      const options = { waitForReady: true, timeoutMs: READY_MS, signal };
      await using _client = await connect({ path: this.ttrpcPath }, options);
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  }
}

/** A shim of a container, of which containerd knows nothing. Disposal ends both. */
export class Shim implements AsyncDisposable {
  /** The id of its container, unique on this machine. */
  readonly id: string;
  /** The namespace of its container, unique on this machine. */
  readonly namespace: string;
  /** The folder with the container's configuration. */
  readonly bundle: string;
  #started = { version: 2, address: "" };
  readonly #containerd: Containerd;

  /** Use {@linkcode Containerd.startShim}. */
  constructor(containerd: Containerd, bundle: string) {
    this.#containerd = containerd;
    this.bundle = bundle;
    this.id = bundle.slice(bundle.lastIndexOf("/") + 1);
    this.namespace = `${this.id}-namespace`;
  }

  /** Where it listens, as it says itself. */
  get address(): string {
    return this.#started.address;
  }

  /** The version of the task service that it has. */
  get version(): number {
    return this.#started.version;
  }

  /** Settles when its process is gone. It is no child of this one, so there is only asking. */
  async exited(): Promise<void> {
    const end = performance.now() + STOP_MS;
    while (this.processes().length > 0) {
      if (performance.now() > end) throw new Error(`shim ${this.id} does not exit`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Starts it. The process that is started prints the address and exits; the shim stays. */
  async start(): Promise<void> {
    const { grpcAddress, ttrpcPath } = this.#containerd;
    const printed = await run("containerd-shim-runc-v2", {
      args: [
        ...["-namespace", this.namespace, "-id", this.id, "-address", grpcAddress],
        ...["-publish-binary", findProgram("containerd")!, "start"],
      ],
      cwd: this.bundle,
      env: { TTRPC_ADDRESS: ttrpcPath },
    });
    // Before containerd 2 this is the address, since then an object with it.
    this.#started = printed.startsWith("{")
      ? JSON.parse(printed)
      : { version: 2, address: printed.trim() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pid of this.processes()) kill(pid);
    await this.exited();
    // A shim that is killed leaves its container running, and all that it has written outside.
    const root = `${RUNC_ROOT}/${this.namespace}`;
    if (isFile(`${root}/${this.id}/state.json`)) {
      await run("runc", { args: ["--root", root, "delete", "--force", this.id] });
    }
    await removeIfThere(root);
    // Its folder stays: a shim of another test may be about to listen there.
    if (this.address !== "") await removeIfThere(this.address.slice("unix://".length));
  }

  /** The ids of its processes: of one, until it has exited. */
  processes(): number[] {
    const found = [];
    for (const { name } of Deno.readDirSync("/proc")) {
      // The gRPC address is in a folder with a random name, so this can be no one else's shim. A
      // zombie has no command line.
      const [program, ...args] = /^\d+$/.test(name) ? commandLine(name) : [];
      if (
        program?.endsWith("containerd-shim-runc-v2") && args.includes(this.id) &&
        args.includes(this.#containerd.grpcAddress)
      ) found.push(Number(name));
    }
    return found;
  }
}

function commandLine(pid: string): string[] {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0");
  } catch {
    return []; // it has ended since
  }
}

function config(folder: string): string {
  // The plugin "opt" makes a folder in /opt, "cri" wants networks.
  return `version = 2
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[debug]
level = "warn"
[grpc]
address = "${folder}/containerd.sock"
[ttrpc]
address = "${folder}/containerd.sock.ttrpc"
`;
}

async function makeBundle(parent: string, command: readonly string[]): Promise<string> {
  const bundle = await Deno.makeTempDir({ dir: parent, prefix: "ttrpc-test-" });
  await Deno.mkdir(`${bundle}/rootfs/bin`, { recursive: true });
  await Deno.copyFile(findProgram("busybox")!, `${bundle}/rootfs/bin/busybox`);
  // The least that runc runs: no network and no limits, so that it asks little of the machine.
  const spec = {
    ociVersion: SPEC_VERSION,
    process: { user: { uid: 0, gid: 0 }, args: command, cwd: "/" },
    root: { path: "rootfs" },
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    linux: { namespaces: [{ type: "pid" }, { type: "mount" }] },
  };
  await Deno.writeTextFile(`${bundle}/config.json`, JSON.stringify(spec));
  // The shim opens its log here. containerd makes a pipe of it, but a file does as well.
  await Deno.writeTextFile(`${bundle}/log`, "");
  return bundle;
}

async function stop(process: Deno.ChildProcess): Promise<void> {
  kill(process.pid, "SIGTERM");
  const timer = setTimeout(() => kill(process.pid), STOP_MS);
  await process.status;
  clearTimeout(timer);
}

async function unmountBelow(folder: string): Promise<void> {
  const mounts = (await Deno.readTextFile("/proc/self/mounts")).split("\n");
  const points = mounts.map((line) => line.split(" ")[1] ?? "");
  for (const point of points.filter((point) => point.startsWith(`${folder}/`)).reverse()) {
    await run("umount", { args: ["--lazy", point] });
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
