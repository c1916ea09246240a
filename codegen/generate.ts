/**
 * The plugin as a function: from a request of buf or protoc to the generated files.
 *
 * @module
 */

import {
  create,
  createFileRegistry,
  type DescFile,
  type FileRegistry,
  maximumEdition,
  minimumEdition,
} from "@bufbuild/protobuf";
import {
  type CodeGeneratorRequest,
  type CodeGeneratorResponse,
  CodeGeneratorResponse_Feature,
  CodeGeneratorResponse_FileSchema,
  CodeGeneratorResponseSchema,
  type FileDescriptorProto,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { printFile } from "./file.ts";
import { Modules } from "./modules.ts";
import { parseOptions, quote, UserError } from "./options.ts";

/**
 * Generates the ttrpc services of proto files: `x_ttrpc.ts` for each `x.proto` with services.
 *
 * @param request The request of buf or protoc.
 * @returns The files; or in `error` what is wrong with the options or the proto files.
 * @throws {Error} If the request itself is not valid.
 */
export function generate(request: CodeGeneratorRequest): CodeGeneratorResponse {
  const response = create(CodeGeneratorResponseSchema, {
    supportedFeatures: BigInt(
      CodeGeneratorResponse_Feature.PROTO3_OPTIONAL |
        CodeGeneratorResponse_Feature.SUPPORTS_EDITIONS,
    ),
    minimumEdition,
    maximumEdition,
  });
  try {
    const options = parseOptions(request.parameter);
    const modules = new Modules(options, new Set(request.fileToGenerate));
    const written = filesOf(request).filter(({ services }) => services.length > 0).map((file) => ({
      name: `${file.name}_ttrpc.ts`,
      content: printFile(file, modules, request.parameter),
    }));
    response.file = written.map((file) => create(CodeGeneratorResponse_FileSchema, file));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    response.error = error.message;
  }
  return response;
}

function filesOf({ fileToGenerate, protoFile }: CodeGeneratorRequest): DescFile[] {
  if (fileToGenerate.length === 0) {
    throw new Error("Cannot generate anything: the request names no file");
  }
  for (const { name, package: pkg } of protoFile) {
    if (!/^([A-Za-z_]\w*(\.[A-Za-z_]\w*)*)?$/.test(pkg)) {
      throw new Error(`Cannot read ${name}: ${quote(pkg)} is not a valid package name`);
    }
  }
  const registry = registryOf(protoFile);
  return [...new Set(fileToGenerate)].map((name) => {
    const file = registry.getFile(name);
    if (!file) throw new Error(`Cannot generate ${name}: the request does not describe it`);
    return file;
  });
}

function registryOf(file: FileDescriptorProto[]): FileRegistry {
  try {
    return createFileRegistry(create(FileDescriptorSetSchema, { file }));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : cause;
    throw new Error(`Cannot read the descriptors in the request: ${reason}`, { cause });
  }
}
