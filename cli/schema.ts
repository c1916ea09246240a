/**
 * Loads schemas from .proto files, descriptor sets and Buf images.
 *
 * @module
 */

import {
  createFileRegistry,
  type DescFile,
  type DescMethod,
  type DescService,
  type FileRegistry,
  fromBinary,
  fromJsonString,
} from "@bufbuild/protobuf";
import { type FileDescriptorSet, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { compile } from "./compile.ts";
import { type Failure, fileReason, messageOf, usage } from "./failure.ts";
import { didYouMean, splitMethod } from "./names.ts";

/** The files of a schema. */
export interface SchemaOptions {
  /** The paths of .proto files. */
  readonly proto?: readonly string[];
  /** The folders that are searched for .proto files. */
  readonly importPath?: readonly string[];
  /** The paths of FileDescriptorSets or Buf images. */
  readonly descriptorSet?: readonly string[];
}

/** The descriptors of a schema. */
export interface Schema {
  /** All descriptors. */
  readonly registry: FileRegistry;
  /** The files that the user named, without their imports. */
  readonly files: readonly DescFile[];
}

/**
 * Loads a schema.
 *
 * @param options The files of the schema.
 * @returns The schema; `undefined` if the options name none.
 * @throws {Failure} If it cannot be read or compiled.
 */
export async function loadSchema(options: SchemaOptions): Promise<Schema | undefined> {
  const { proto = [], importPath = [], descriptorSet = [] } = options;
  if (proto.length === 0 && descriptorSet.length === 0) {
    if (importPath.length > 0) {
      throw usage("Cannot load a schema from -I alone; name the file with --proto FILE");
    }
    return undefined;
  }
  const sets: FileDescriptorSet[] = [];
  const named = new Set<string>();
  if (proto.length > 0) {
    const { bytes, names } = await compile({ files: proto, folders: importPath });
    sets.push(fromBinary(FileDescriptorSetSchema, bytes));
    for (const name of names) named.add(name);
  }
  for (const path of descriptorSet) {
    const set = await readSet(path);
    const imported = new Set(set.file.flatMap(({ dependency }) => dependency));
    sets.push(set);
    // Imported files count as well if they have services.
    for (const { name, service } of set.file) {
      if (!imported.has(name) || service.length > 0) named.add(name);
    }
  }
  const registry = register(sets, [...proto, ...descriptorSet].join(", "));
  return { registry, files: Array.from(registry.files).filter((file) => named.has(nameOf(file))) };
}

/**
 * Loads the schema of a command that needs one.
 *
 * @param options The files of the schema.
 * @param what The start of the error message, such as `Cannot list services`.
 * @returns The schema.
 * @throws {Failure} If the options name none, or it cannot be read or compiled.
 */
export async function needSchema(options: SchemaOptions, what: string): Promise<Schema> {
  return await loadSchema(options) ?? fail(noSchema(what));
}

/** The failure of a command that has no schema. */
export function noSchema(what: string, otherwise = ""): Failure {
  return usage(
    `${what} without a schema: give --proto FILE, or --descriptor-set FILE (a Buf image is one)` +
      otherwise,
  );
}

/** All services of the files that the user named. */
export function servicesOf({ files }: Schema): DescService[] {
  return files.flatMap(({ services }) => services);
}

/**
 * Finds a method.
 *
 * @param schema The schema.
 * @param name `pkg.Service/Method` or `pkg.Service.Method`, with or without a slash or dot before.
 * @returns The method.
 * @throws {Failure} If it is not in the schema, with the most similar name.
 */
export function findMethod({ registry }: Schema, name: string): DescMethod {
  const [service, method] = splitMethod(name);
  const services = Array.from(registry).filter((type) => type.kind === "service");
  const found = services.find(({ typeName }) => typeName === service);
  if (!found) {
    const paths = services.flatMap((each) => each.methods.map(pathOf));
    throw usage(
      `Cannot find service ${service} in the schema` +
        (didYouMean(`${service}/${method}`, paths) ||
          didYouMean(service, services.map(({ typeName }) => typeName)) ||
          `; it has ${services.map(({ typeName }) => typeName).join(", ") || "no services"}`),
    );
  }
  const descriptor = found.methods.find((each) => each.name === method);
  if (descriptor) return descriptor;
  const names = found.methods.map(({ name }) => name);
  const meant = didYouMean(method, names);
  throw usage(
    `Cannot find method ${method} of ${service}` +
      (meant === "" ? `; it has ${names.join(", ") || "none"}` : `${meant}`),
  );
}

/** A method as `pkg.Service/Method`. */
export function pathOf(method: DescMethod): string {
  return `${method.parent.typeName}/${method.name}`;
}

async function readSet(path: string): Promise<FileDescriptorSet> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    throw usage(`Cannot read the schema ${path}: ${fileReason(error)}`);
  }
  try {
    if (bytes[0] === 0x1f && bytes[1] === 0x8b) bytes = await gunzip(bytes);
    if (bytes[0] === 0x7b) { // {
      const options = { ignoreUnknownFields: true };
      return fromJsonString(FileDescriptorSetSchema, new TextDecoder().decode(bytes), options);
    }
    const set = fromBinary(FileDescriptorSetSchema, bytes);
    if (set.file.some(({ name }) => name !== "")) return set;
  } catch {
    // The error below says what is expected.
  }
  throw usage(
    `Cannot use ${path} as a descriptor set: make it with "buf build -o ${path}" or ` +
      `"protoc --include_imports --include_source_info --descriptor_set_out=${path} FILE"; ` +
      `a .proto file is given with --proto`,
  );
}

async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function register(sets: readonly FileDescriptorSet[], from: string): FileRegistry {
  const [first, ...rest] = sets;
  const set = first!;
  const known = new Set(set.file.map(({ name }) => name));
  for (const file of rest.flatMap((other) => other.file)) {
    if (!known.has(file.name)) set.file.push(file);
    known.add(file.name);
  }
  try {
    return createFileRegistry(set);
  } catch (error) {
    const imports = /imported by/.test(messageOf(error))
      ? "; make it with its imports (protoc --include_imports)"
      : "";
    throw usage(`Cannot use the schema ${from}: ${messageOf(error)}${imports}`);
  }
}

// protobuf-es's name of a file lacks the ".proto".
function nameOf(file: DescFile): string {
  return file.proto.name;
}

function fail(failure: Failure): never {
  throw failure;
}
