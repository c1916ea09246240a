/**
 * The names of field types, as in .proto files.
 *
 * @module
 */

import { type DescField, ScalarType } from "@bufbuild/protobuf";

/** A field's type, as in a .proto file. */
export function typeNameOf(field: DescField): string {
  if (field.fieldKind === "map") {
    const value = field.message?.typeName ?? field.enum?.typeName ?? scalarName(field.scalar!);
    return `map<${scalarName(field.mapKey)}, ${value}>`;
  }
  const type = field.message?.typeName ?? field.enum?.typeName ?? scalarName(field.scalar!);
  return field.fieldKind === "list" ? `repeated ${type}` : type;
}

function scalarName(scalar: ScalarType): string {
  return ScalarType[scalar].toLowerCase();
}
