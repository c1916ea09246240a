/**
 * Reads the comments in a schema that was compiled with source info.
 *
 * @module
 */

import type {
  DescEnum,
  DescEnumValue,
  DescField,
  DescFile,
  DescMessage,
  DescMethod,
  DescService,
} from "@bufbuild/protobuf";

/** The descriptors that can have a comment. */
export type Commented =
  | DescService
  | DescMethod
  | DescMessage
  | DescField
  | DescEnum
  | DescEnumValue;

/** The field numbers in descriptor.proto that make up the path of a comment. */
const Place = {
  fileMessage: 4,
  fileEnum: 5,
  fileService: 6,
  messageField: 2,
  messageNested: 3,
  messageEnum: 4,
  enumValue: 2,
  serviceMethod: 2,
} as const;

/**
 * The comment before a declaration, or the one after it on the same line.
 *
 * @param desc The declaration.
 * @returns The lines, without empty ones at the start and the end.
 */
export function commentOf(desc: Commented): string[] {
  const { file, path } = placeOf(desc);
  const locations = file.proto.sourceCodeInfo?.location ?? [];
  const location = locations.find(({ path: other }) =>
    other.length === path.length && other.every((step, at) => step === path[at])
  );
  const text = location?.leadingComments || location?.trailingComments || "";
  const lines = text.split("\n").map((line) =>
    line.replace(/^ /, "").replaceAll("\t", "    ").trimEnd()
  );
  const isText = (line: string) => line !== "";
  return lines.slice(lines.findIndex(isText), lines.findLastIndex(isText) + 1);
}

function placeOf(desc: Commented): { file: DescFile; path: number[] } {
  switch (desc.kind) {
    case "service":
      return below(desc.file, Place.fileService, desc.file.proto.service.indexOf(desc.proto));
    case "rpc":
      return inside(desc.parent, Place.serviceMethod, desc.parent.proto.method.indexOf(desc.proto));
    case "field":
      return inside(desc.parent, Place.messageField, desc.parent.proto.field.indexOf(desc.proto));
    case "enum_value":
      return inside(desc.parent, Place.enumValue, desc.parent.proto.value.indexOf(desc.proto));
    case "message":
      return desc.parent
        ? inside(desc.parent, Place.messageNested, desc.parent.proto.nestedType.indexOf(desc.proto))
        : below(desc.file, Place.fileMessage, desc.file.proto.messageType.indexOf(desc.proto));
    case "enum":
      return desc.parent
        ? inside(desc.parent, Place.messageEnum, desc.parent.proto.enumType.indexOf(desc.proto))
        : below(desc.file, Place.fileEnum, desc.file.proto.enumType.indexOf(desc.proto));
  }
}

function below(file: DescFile, ...path: number[]): { file: DescFile; path: number[] } {
  return { file, path };
}

function inside(parent: Commented, ...steps: number[]): { file: DescFile; path: number[] } {
  const { file, path } = placeOf(parent);
  return { file, path: [...path, ...steps] };
}
