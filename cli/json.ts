/**
 * Converts messages to JSON and back, with a schema that may lack the types inside an Any.
 *
 * An Any of a type that the schema does not have is written, and read, as
 * `{"@type": "...", "value": "its bytes in base64"}`.
 *
 * @module
 */

import {
  create,
  type DescField,
  type DescMessage,
  type FileRegistry,
  fromBinary,
  fromJson,
  type JsonValue,
  type Message,
  type Registry,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { reflect, usedTypes } from "@bufbuild/protobuf/reflect";
import { type Any, AnySchema, BytesValueSchema } from "@bufbuild/protobuf/wkt";
import { messageOf, usage } from "./failure.ts";
import { didYouMean } from "./names.ts";
import { printableJson, rawDetail } from "./printable.ts";

const ANY = "google.protobuf.Any";

// Marks the type URL of an Any whose value was wrapped as bytes, until it is JSON.
const MARK = `\0/${BytesValueSchema.typeName}`;

/** Converts messages of one schema to JSON and back. */
export class JsonFormat {
  readonly #registry: FileRegistry;
  readonly #lenient: Registry;
  readonly #emitDefaults: boolean;
  #unknown = ""; // the last type that was looked up and not found
  readonly #holdsAny = new Map<string, boolean>();

  constructor(registry: FileRegistry, emitDefaults = false) {
    this.#registry = registry;
    this.#emitDefaults = emitDefaults;
    // Unknown types are taken for BytesValue; #toWire() and #fromWire() wrap and unwrap the bytes.
    this.#lenient = {
      kind: "registry",
      [Symbol.iterator]: () => registry[Symbol.iterator](),
      get: (name) => registry.get(name),
      getMessage: (name) => {
        const schema = registry.getMessage(name);
        if (!schema) this.#unknown = name;
        return schema ?? BytesValueSchema;
      },
      getEnum: (name) => registry.getEnum(name),
      getExtension: (name) => registry.getExtension(name),
      getExtensionFor: (extendee, number) => registry.getExtensionFor(extendee, number),
      getService: (name) => registry.getService(name),
    };
  }

  /** The types of the schema. */
  get registry(): FileRegistry {
    return this.#registry;
  }

  /**
   * Encodes a message.
   *
   * @param schema The type of the message.
   * @param json The message as JSON.
   * @returns The encoded message.
   * @throws {Failure} If the JSON does not match the type, with the field and what is expected.
   */
  encode(schema: DescMessage, json: JsonValue): Uint8Array {
    let message: Message;
    try {
      message = fromJson(schema, json, { registry: this.#lenient });
      this.#toWire(schema, message, json);
    } catch (error) {
      throw usage(`Cannot encode the JSON as ${schema.typeName}: ${this.#explain(error, schema)}`);
    }
    return toBinary(schema, message);
  }

  /**
   * Decodes a message.
   *
   * @param schema The type of the message.
   * @param bytes The encoded message.
   * @returns The message as JSON.
   * @throws {Error} If the bytes are not a valid message.
   */
  decode(schema: DescMessage, bytes: Uint8Array): JsonValue {
    const message = fromBinary(schema, bytes);
    this.#fromWire(schema, message);
    const options = { registry: this.#lenient, alwaysEmitImplicit: this.#emitDefaults };
    const json = toJson(schema, message, options);
    return schema.typeName === ANY || this.#mayHoldAny(schema) ? tidied(json) : json;
  }

  /**
   * Makes a status detail.
   *
   * @param json An Any as JSON.
   * @returns The detail.
   * @throws {Failure} If the JSON is not an Any.
   */
  pack(json: JsonValue): { typeUrl: string; value: Uint8Array } {
    const { typeUrl, value } = fromBinary(AnySchema, this.encode(AnySchema, json));
    // In a status, all implementations put a host before the name.
    return { typeUrl: typeUrl.includes("/") ? typeUrl : `type.googleapis.com/${typeUrl}`, value };
  }

  /** A status detail, as a line. */
  detail({ typeUrl, value }: { typeUrl: string; value: Uint8Array }): string {
    try {
      const any = create(AnySchema, { typeUrl, value });
      const json = this.decode(AnySchema, toBinary(AnySchema, any)) as Record<string, JsonValue>;
      return `detail ${printableJson({ "@type": typeUrl, ...json })}`;
    } catch {
      return rawDetail({ typeUrl, value });
    }
  }

  /** Calls back for each Any in a message, with the JSON at its place. */
  #visit(
    schema: DescMessage,
    message: Message,
    json: JsonValue | undefined,
    visitor: (any: Any, json: JsonValue | undefined) => void,
  ): void {
    if (schema.typeName === ANY) return visitor(message as Any, json);
    if (!this.#mayHoldAny(schema)) return;
    const reflected = reflect(schema, message);
    for (const field of schema.fields) {
      const type = messageType(field);
      if (!type || !reflected.isSet(field)) continue;
      const inner = isObject(json) ? json[field.jsonName] ?? json[field.name] : undefined;
      const value: unknown = reflected.get(field);
      const visit = (each: unknown, at: JsonValue | undefined) =>
        this.#visit(type, (each as { message: Message }).message, at, visitor);
      if (field.fieldKind === "message") visit(value, inner);
      else if (field.fieldKind === "list") {
        const list = Array.isArray(inner) ? inner : [];
        Array.from(value as Iterable<unknown>).forEach((each, at) => visit(each, list[at]));
      } else {
        for (const [key, each] of value as Iterable<[unknown, unknown]>) {
          visit(each, isObject(inner) ? inner[String(key)] : undefined);
        }
      }
    }
  }

  #toWire(schema: DescMessage, message: Message, json: JsonValue): void {
    this.#visit(schema, message, json, (any, at) => {
      const url = isObject(at) ? at["@type"] : undefined;
      if (typeof url !== "string") return;
      // Kept as it was given: containerd looks for the bare name.
      any.typeUrl = url;
      if (this.#knows(url)) return;
      if (Object.keys(at as object).some((key) => key !== "@type" && key !== "value")) {
        throw new Error(noType(url));
      }
      any.value = fromBinary(BytesValueSchema, any.value).value;
    });
  }

  /** Wraps the value of each Any of unknown type as bytes. */
  #fromWire(schema: DescMessage, message: Message): void {
    this.#visit(schema, message, undefined, (any) => {
      if (any.typeUrl === "" || this.#knows(any.typeUrl)) return;
      any.typeUrl += MARK;
      any.value = toBinary(BytesValueSchema, create(BytesValueSchema, { value: any.value }));
    });
  }

  #knows(typeUrl: string): boolean {
    return this.#registry.getMessage(typeUrl.slice(typeUrl.lastIndexOf("/") + 1)) !== undefined;
  }

  #mayHoldAny(schema: DescMessage): boolean {
    const known = this.#holdsAny.get(schema.typeName);
    if (known !== undefined) return known;
    const holds = Array.from(usedTypes(schema)).some(({ typeName }) => typeName === ANY);
    this.#holdsAny.set(schema.typeName, holds);
    return holds;
  }

  /** Turns an error of protobuf-es into one that says what to do. */
  #explain(error: unknown, schema: DescMessage): string {
    const message = messageOf(error);
    if (message.includes(BytesValueSchema.typeName)) return noType(this.#unknown);
    const [, owner, key] = /^cannot decode message (\S+) from JSON: key "(.*)" is unknown$/s
      .exec(message) ?? [];
    if (owner !== undefined && key !== undefined) {
      const fields = this.#registry.getMessage(owner)?.fields.map(({ jsonName }) => jsonName) ?? [];
      const meant = didYouMean(key, fields) || `; it has ${fields.join(", ") || "no fields"}`;
      return `${owner} has no field ${JSON.stringify(key)}${meant}`;
    }
    const [, field, why] = /^cannot decode field (\S+) from JSON: (.*)$/s.exec(message) ?? [];
    if (field !== undefined && why !== undefined) {
      return `field ${field}: ${why.replace("invalid base64 string", "expected bytes as base64")}`;
    }
    const [, whole, got] = /^cannot decode message (\S+) from JSON: (.*)$/s.exec(message) ?? [];
    if (whole === undefined || got === undefined) return message;
    if (/^expected|^"@type"/.test(got)) return `${whole}: ${got}`;
    const object = whole === schema.typeName ? "an object" : `an object (${whole})`;
    return `expected ${object}, got ${got}`;
  }
}

function noType(name: string): string {
  return `the schema has no type ${name}; ` +
    `give its bytes as {"@type": "${name}", "value": BASE64}`;
}

/** Puts `@type` first in each Any, and removes the mark from it. */
function tidied(json: JsonValue): JsonValue {
  if (Array.isArray(json)) return json.map(tidied);
  if (!isObject(json)) return json;
  const { "@type": type, ...rest } = json;
  const fields = Object.entries(rest).map(([key, value]) => [key, tidied(value)]);
  if (type !== undefined) {
    fields.unshift(["@type", typeof type === "string" ? type.replace(MARK, "") : type]);
  }
  return Object.fromEntries(fields);
}

/** The message type of a field, if it has one. */
function messageType(field: DescField): DescMessage | undefined {
  if (field.fieldKind === "message") return field.message;
  if (field.fieldKind === "list" && field.listKind === "message") return field.message;
  if (field.fieldKind === "map" && field.mapKind === "message") return field.message;
  return undefined;
}

function isObject(json: JsonValue | undefined): json is { [key: string]: JsonValue } {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
