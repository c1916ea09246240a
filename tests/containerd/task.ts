/**
 * containerd's own services: its API as it is published, compiled when the tests first run.
 *
 * @module
 */

import type { CallOptions, Client } from "@ttrpc/ttrpc";
import type { TypedService } from "@ttrpc/ttrpc/types";
import {
  create,
  createFileRegistry,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import { type Any, FileDescriptorSetSchema, type Timestamp } from "@bufbuild/protobuf/wkt";
import { run } from "./programs.ts";

const MODULE = "github.com/containerd/containerd/api";
const VERSION = "v1.8.0";
const BUF = "npm:@bufbuild/buf@1.74.0";
const PLUGINS = [
  {
    local: ["deno", "run", "--allow-all", "npm:@bufbuild/protoc-gen-es@2.17.0"],
    opt: ["target=ts", "import_extension=ts"],
  },
  { local: ["deno", "run", `${import.meta.dirname}/../../codegen/protoc_gen_ttrpc_es.ts`] },
].map((plugin) => ({ ...plugin, out: "gen", strategy: "all" }));
const CACHE = `${import.meta.dirname}/../../.cache`;

const API = `${CACHE}/containerd-api-${VERSION}`;

/** The compiled API. It takes the Go toolchain and the network to make it. */
export const API_IMAGE = `${API}/image.binpb`;

/** A message of any type. */
export type Packed = Pick<Any, "typeUrl" | "value">;

/** How a task fares, of `containerd.v1.types.Status`. */
export enum TaskStatus {
  CREATED = 1,
  RUNNING = 2,
  STOPPED = 3,
}

/** Names a task, or a further process in it. */
export interface TaskId {
  id: string;
  execId?: string;
}

/** How a process has ended. */
export interface Exit {
  exitStatus: number;
  exitedAt?: Timestamp | undefined;
}

/**
 * What the tests use of the generated clients of `containerd.task.v2.Task` and of version 3, which
 * are not there before the tests run. That they are such clients is checked in `codegen/`.
 */
export interface Task {
  connect(request: TaskId, options?: CallOptions): Promise<{ shimPid: number; taskPid: number }>;
  create(
    request: TaskId & { bundle: string; stdout?: string; stderr?: string },
    options?: CallOptions,
  ): Promise<{ pid: number }>;
  start(request: TaskId, options?: CallOptions): Promise<{ pid: number }>;
  state(
    request: TaskId,
    options?: CallOptions,
  ): Promise<Exit & TaskId & { pid: number; status: number; bundle: string }>;
  pids(request: TaskId, options?: CallOptions): Promise<{ processes: { pid: number }[] }>;
  exec(
    request: TaskId & { spec: Packed },
    options?: CallOptions,
  ): Promise<unknown>;
  wait(request: TaskId, options?: CallOptions): Promise<Exit>;
  kill(request: TaskId & { signal: number }, options?: CallOptions): Promise<unknown>;
  delete(request: TaskId, options?: CallOptions): Promise<Exit & { pid: number }>;
  shutdown(request: TaskId & { now?: boolean }, options?: CallOptions): Promise<unknown>;
}

/** What the tests use of the generated client of `containerd.services.events.ttrpc.v1.Events`. */
export interface Events {
  forward(
    request: {
      envelope: { timestamp: Timestamp; namespace: string; topic: string; event: Packed };
    },
    options?: CallOptions,
  ): Promise<unknown>;
}

/**
 * The tasks of a shim.
 *
 * @param client A connection to it.
 * @param shim Its namespace, which the calls name, and the version of its service.
 */
export async function taskService(
  client: Client,
  { namespace, version }: { namespace: string; version: number },
): Promise<Task> {
  const { Task } = await generated<{ Task: TypedService<Task, unknown> }>(
    `runtime/task/v${version}/shim`,
  );
  return client.service(Task, { metadata: { "containerd-namespace-ttrpc": namespace } });
}

/**
 * The events of containerd.
 *
 * @param client A connection to it.
 */
export async function eventsService(client: Client): Promise<Events> {
  const { Events } = await generated<{ Events: TypedService<Events, unknown> }>(
    "services/ttrpc/events/v1/events",
  );
  return client.service(Events);
}

/**
 * Makes an event.
 *
 * @param typeName The name of its message, such as `containerd.events.TaskStart`.
 * @param fields The fields of the message.
 */
export async function event(typeName: string, fields: Record<string, unknown>): Promise<Packed> {
  const schema: DescMessage | undefined = (await api()).getMessage(typeName);
  if (!schema) throw new Error(`containerd's API has no message ${typeName}`);
  // containerd 1.6 looks for the bare name, which anyPack() puts behind "type.googleapis.com/".
  return { typeUrl: typeName, value: toBinary(schema, create(schema, fields)) };
}

/** A generated file. */
async function generated<Module>(name: string): Promise<Module> {
  await api();
  return await import(`${API}/gen/${MODULE}/${name}_ttrpc.ts`);
}

let loaded: Promise<FileRegistry> | undefined;

function api(): Promise<FileRegistry> {
  return loaded ??= load();
}

async function load(): Promise<FileRegistry> {
  let image;
  try {
    image = await Deno.readFile(API_IMAGE);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await build();
    image = await Deno.readFile(API_IMAGE);
  }
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
}

async function build(): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "ttrpc-containerd-api-" });
  await Deno.mkdir(CACHE, { recursive: true });
  const made = await Deno.makeTempDir({ dir: CACHE });
  try {
    const module = await run("go", {
      args: ["mod", "download", "-json", `${MODULE}@${VERSION}`],
      cwd: folder,
    });
    // The files import each other by the path of the module, which is not where it is.
    const link = `${folder}/${MODULE}`;
    await Deno.mkdir(link.slice(0, link.lastIndexOf("/")), { recursive: true });
    await Deno.symlink(JSON.parse(module).Dir, link);
    const parts = ["runtime/task", "services/ttrpc/events/v1", "events"];
    const paths = parts.flatMap((part) => ["--path", `${MODULE}/${part}`]);
    const buf = (...args: string[]) =>
      run(Deno.execPath(), { args: ["run", "--allow-all", BUF, ...args, ...paths], cwd: folder });
    await buf("build", "--as-file-descriptor-set", "--output", `${made}/image.binpb`);
    const template = JSON.stringify({ version: "v2", plugins: PLUGINS });
    await buf("generate", "--include-imports", "--template", template, "--output", made);
    // Another test may be doing the same: what is there under the final name is always whole.
    await Deno.rename(made, API);
  } catch (error) {
    await Deno.remove(made, { recursive: true });
    if (!await Deno.stat(API_IMAGE).catch(() => false)) throw error;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
