/**
 * Turns the comments of proto files into doc comments.
 *
 * @module
 */

import type { DescFile, DescMethod, DescService } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";

// The numbers of the fields that lead to a service and to a method, in the paths of
// SourceCodeInfo: FileDescriptorProto.service and ServiceDescriptorProto.method.
const SERVICE = 6;
const METHOD = 2;

/** The doc comments for the services and methods of a proto file. */
export class Comments {
  readonly #texts = new Map<string, string>();
  readonly #file: DescFile;

  /** @param file The proto file. */
  constructor(file: DescFile) {
    this.#file = file;
    for (const { path, leadingComments, trailingComments } of locations(file)) {
      // Detached comments belong to something else.
      const text = [leadingComments, trailingComments].map(clean).filter((part) => part !== "");
      this.#texts.set(path.join(), text.join("\n\n"));
    }
  }

  /**
   * The comment of a service.
   *
   * @param service The service.
   * @param role The first paragraph: what is declared for the service.
   * @returns The lines, with the slashes and stars.
   */
  service(service: DescService, role: string): string[] {
    return docComment([
      role,
      this.#texts.get([SERVICE, this.#file.services.indexOf(service)].join()) ?? "",
      tags(service, service.deprecated || this.#file.deprecated),
    ]);
  }

  /**
   * The comments of the methods of a service.
   *
   * @param service The service.
   * @returns The lines for each method, with the slashes and stars.
   */
  methods(service: DescService): string[][] {
    const at = [SERVICE, this.#file.services.indexOf(service), METHOD];
    return service.methods.map((method, index) =>
      docComment([
        this.#texts.get([...at, index].join()) || `Method ${method.name} of ${service.typeName}.`,
        idempotency(method),
        tags(method, method.deprecated),
      ])
    );
  }
}

function locations(file: DescFile) {
  const all = file.proto.sourceCodeInfo?.location ?? [];
  return all.filter(({ path }) => path[0] === SERVICE);
}

function clean(comment: string): string {
  const lines = comment.split(/\r\n|[\n\r\u2028\u2029]/)
    .map((line) => line.replace(/^ /, "").trimEnd());
  const isText = (line: string) => line !== "";
  return lines.slice(lines.findIndex(isText), lines.findLastIndex(isText) + 1).join("\n");
}

function idempotency({ idempotency: level }: DescMethod): string {
  const name = MethodOptions_IdempotencyLevel[level];
  switch (level) {
    case MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS:
      return `Has no side effects, so it is safe to call again (idempotency level ${name}).`;
    case MethodOptions_IdempotencyLevel.IDEMPOTENT:
      return `Calling it twice has the same effect as calling it once (idempotency level ${name}).`;
    default:
      return "";
  }
}

function tags(described: DescService | DescMethod, deprecated: boolean): string {
  return `@generated from ${described}${deprecated ? "\n@deprecated" : ""}`;
}

function docComment(paragraphs: string[]): string[] {
  const text = paragraphs.filter((paragraph) => paragraph !== "").join("\n\n");
  const lines = text.replaceAll("*/", "*\\/").split(/[\n\r\u2028\u2029]/);
  if (lines.length === 1) return [`/** ${lines[0]} */`];
  return ["/**", ...lines.map((line) => line === "" ? " *" : ` * ${line}`), " */"];
}
