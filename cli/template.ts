/**
 * Makes example messages, for the user to fill in.
 *
 * @module
 */

import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import type { Json } from "./input.ts";

// The JSON of these types does not follow from their fields.
const KNOWN: Readonly<Record<string, Json>> = {
  "google.protobuf.Any": { "@type": "pkg.Message" },
  "google.protobuf.Duration": "1s",
  "google.protobuf.Empty": {},
  "google.protobuf.FieldMask": "field.name",
  "google.protobuf.ListValue": [],
  "google.protobuf.Struct": {},
  "google.protobuf.Timestamp": "2026-01-01T00:00:00Z",
  "google.protobuf.Value": null,
};

/**
 * Makes a message with all its fields, and with the first field of each oneof.
 *
 * @param schema The type of the message.
 * @returns The message as JSON. `call` accepts it as it is, except for the type of an Any.
 */
export function templateOf(schema: DescMessage): Json {
  return messageOf(schema, []);
}

function messageOf(schema: DescMessage, above: readonly DescMessage[]): Json {
  const known = KNOWN[schema.typeName];
  if (known !== undefined) return known;
  const wrapped = /^google\.protobuf\.\w+Value$/.test(schema.typeName) && schema.fields[0];
  if (wrapped) return scalarOf(wrapped.scalar!);
  const within = [...above, schema];
  const json: Record<string, Json> = {};
  for (const member of schema.members) {
    const field = member.kind === "field" ? member : member.fields[0];
    // A type that contains itself would never end.
    if (field && !within.some((type) => type === field.message)) {
      json[field.jsonName] = fieldOf(field, within);
    }
  }
  return json;
}

function fieldOf(field: DescField, above: readonly DescMessage[]): Json {
  const value = field.message
    ? messageOf(field.message, above)
    : field.enum
    ? (field.enum.values.find(({ number }) => number !== 0) ?? field.enum.values[0])!.name
    : scalarOf(field.scalar!);
  if (field.fieldKind === "list") return [value];
  return field.fieldKind === "map" ? { [keyOf(field.mapKey)]: value } : value;
}

function keyOf(type: ScalarType): string {
  if (type === ScalarType.STRING) return "key";
  return type === ScalarType.BOOL ? "true" : "0";
}

function scalarOf(type: ScalarType): Json {
  switch (type) {
    case ScalarType.STRING:
      return "";
    case ScalarType.BYTES:
      return "";
    case ScalarType.BOOL:
      return false;
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return "0"; // a JSON number cannot hold all 64-bit integers
    default:
      return 0;
  }
}
