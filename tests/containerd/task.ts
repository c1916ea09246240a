/**
 * containerd's own services: its API as it is published, compiled when the tests first run.
 *
 * @module
 */

import type { CallOptions, Client } from "@ttrpc/ttrpc";
import {
  create,
  createFileRegistry,
  type DescMessage,
  type DescService,
  type FileRegistry,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import { type Any, FileDescriptorSetSchema, type Timestamp } from "@bufbuild/protobuf/wkt";
import { run } from "./programs.ts";

const MODULE = "github.com/containerd/containerd/api";
const VERSION = "v1.8.0";
const BUF = "npm:@bufbuild/buf@1.74.0";
const CACHE = `${import.meta.dirname}/../../.cache`;

/** The compiled API. It takes the Go toolchain and the network to make it. */
export const API_IMAGE = `${CACHE}/containerd-api-${VERSION}.binpb`;

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
  exitedAt?: Timestamp;
}

/** What the tests use of `containerd.task.v2.Task`. Version 3 has the same methods. */
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
  ): Promise<Exit & TaskId & { pid: number; status: TaskStatus; bundle: string }>;
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

/** `containerd.services.events.ttrpc.v1.Events`. */
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
  const service = await descService(`containerd.task.v${version}.Task`);
  const metadata = { "containerd-namespace-ttrpc": namespace };
  // The descriptor is not known before the test runs, so the compiler cannot know its methods.
  return client.service(service, { metadata }) as unknown as Task;
}

/**
 * The events of containerd.
 *
 * @param client A connection to it.
 */
export async function eventsService(client: Client): Promise<Events> {
  const service = await descService("containerd.services.events.ttrpc.v1.Events");
  return client.service(service) as unknown as Events;
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

async function descService(typeName: string): Promise<DescService> {
  const service = (await api()).getService(typeName);
  if (!service) throw new Error(`containerd's API has no service ${typeName}`);
  return service;
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
  const image = await Deno.makeTempFile({ dir: CACHE, suffix: ".binpb" });
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
    await run(Deno.execPath(), {
      args: [
        ...["run", "--allow-all", BUF, "build", "--as-file-descriptor-set", "--output", image],
        ...parts.flatMap((part) => ["--path", `${MODULE}/${part}`]),
      ],
      cwd: folder,
    });
    // Another test may be doing the same: what is there under the final name is always whole.
    await Deno.rename(image, API_IMAGE);
  } catch (error) {
    await Deno.remove(image);
    throw error;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
