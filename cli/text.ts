/**
 * Formats messages in protobuf's text format, which is easier to read than JSON.
 *
 * @module
 */

import {
  type DescEnum,
  type DescField,
  type DescMessage,
  fromBinary,
  type Registry,
  ScalarType,
} from "@bufbuild/protobuf";
import { reflect, type ReflectMessage } from "@bufbuild/protobuf/reflect";
import { printableJson } from "./printable.ts";

/**
 * A message as text.
 *
 * @param schema The type of the message.
 * @param bytes The encoded message.
 * @param registry The types that an Any may contain.
 * @returns Lines. Characters that a terminal would act on are escaped inside strings only.
 */
export function toText(schema: DescMessage, bytes: Uint8Array, registry: Registry): string[] {
  return fieldsOf(reflect(schema, fromBinary(schema, bytes)), registry);
}

function fieldsOf(message: ReflectMessage, registry: Registry): string[] {
  const packed = unpacked(message, registry);
  if (packed) return packed;
  const lines: string[] = [];
  for (const field of message.fields) {
    if (!message.isSet(field)) continue;
    const value: unknown = message.get(field);
    if (field.fieldKind === "list") {
      for (const each of value as Iterable<unknown>) {
        lines.push(...valueOf(field.name, field, each, registry));
      }
    } else if (field.fieldKind === "map") {
      for (const [key, each] of value as Iterable<[unknown, unknown]>) {
        const entry = [
          ...valueOf("key", { scalar: field.mapKey }, key, registry),
          ...valueOf("value", field, each, registry),
        ];
        lines.push(`${field.name} {`, ...indented(entry), "}");
      }
    } else lines.push(...valueOf(field.name, field, value, registry));
  }
  return lines;
}

/** An Any as the message in it, if its type is known. */
function unpacked(message: ReflectMessage, registry: Registry): string[] | undefined {
  if (message.desc.typeName !== "google.protobuf.Any") return undefined;
  const { typeUrl, value } = message.message as unknown as { typeUrl: string; value: Uint8Array };
  const schema = registry.getMessage(typeUrl.slice(typeUrl.lastIndexOf("/") + 1));
  if (!schema) return undefined;
  const inner = fieldsOf(reflect(schema, fromBinary(schema, value)), registry);
  return [`[${typeUrl}] {`, ...indented(inner), "}"];
}

type Valued = Pick<DescField, "scalar" | "enum" | "message"> | { scalar: ScalarType };

function valueOf(name: string, field: Valued, value: unknown, registry: Registry): string[] {
  if ("message" in field && field.message) {
    return [`${name} {`, ...indented(fieldsOf(value as ReflectMessage, registry)), "}"];
  }
  if ("enum" in field && field.enum) return [`${name}: ${enumName(field.enum, value as number)}`];
  if (field.scalar === ScalarType.STRING) return [`${name}: ${printableJson(value)}`];
  if (field.scalar === ScalarType.BYTES) return [`${name}: "${escaped(value as Uint8Array)}"`];
  return [`${name}: ${value}`];
}

function enumName({ values }: DescEnum, number: number): string {
  return values.find((value) => value.number === number)?.name ?? `${number}`;
}

function escaped(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => {
    if (byte === 0x22 || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
    if (byte >= 0x20 && byte < 0x7f) return String.fromCharCode(byte);
    return `\\${byte.toString(8).padStart(3, "0")}`;
  }).join("");
}

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}
