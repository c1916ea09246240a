/**
 * Messages to JSON and back, with a schema that may lack the types inside of an Any.
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

// Stands behind the type of an Any that was made bytes of, until it is JSON.
const MARK = `\0/${BytesValueSchema.typeName}`;

/** Says how messages of one schema look as JSON. */
export class JsonFormat {
  readonly #registry: FileRegistry;
  readonly #lenient: Registry;
  readonly #emitDefaults: boolean;
  #unknown = ""; // the last type that was asked for and is not there
  readonly #holdsAny = new Map<string, boolean>();

  constructor(registry: FileRegistry, emitDefaults = false) {
    this.#registry = registry;
    this.#emitDefaults = emitDefaults;
    // What it does not know it takes for bytes; #toWire() and #fromWire() put the real ones in place.
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

  /** The types. */
  get registry(): FileRegistry {
    return this.#registry;
  }

  /**
   * Encodes a message.
   *
   * @param schema Its type.
   * @param json The message.
   * @throws {Failure} If the JSON does not fit, with the field and what it takes.
   */
  encode(schema: DescMessage, json: JsonValue): Uint8Array {
    let message: Message;
    try {
      message = fromJson(schema, json, { registry: this.#lenient });
      this.#toWire(schema, message, json);
    } catch (error) {
      throw usage(`Cannot make a ${schema.typeName} of the JSON: ${this.#explain(error, schema)}`);
    }
    return toBinary(schema, message);
  }

  /**
   * Decodes a message.
   *
   * @param schema Its type.
   * @param bytes The message, encoded.
   * @throws {Error} If the bytes are none.
   */
  decode(schema: DescMessage, bytes: Uint8Array): JsonValue {
    const message = fromBinary(schema, bytes);
    this.#fromWire(schema, message);
    const options = { registry: this.#lenient, alwaysEmitImplicit: this.#emitDefaults };
    const json = toJson(schema, message, options);
    return schema.typeName === ANY || this.#mayHoldAny(schema) ? tidied(json) : json;
  }

  /**
   * Makes a detail of a status.
   *
   * @param json The JSON of an Any.
   * @throws {Failure} If it is none.
   */
  pack(json: JsonValue): { typeUrl: string; value: Uint8Array } {
    const { typeUrl, value } = fromBinary(AnySchema, this.encode(AnySchema, json));
    // In a status, all peers put the name behind a host.
    return { typeUrl: typeUrl.includes("/") ? typeUrl : `type.googleapis.com/${typeUrl}`, value };
  }

  /** A detail of a status, as a line. */
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

  /** Makes bytes of what is in an Any of unknown type. */
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

  /** protobuf-es says what is wrong; this says it with the way out. */
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

/** Puts the type of each Any in front, and takes the mark away. */
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

/** The type of a field's messages, if it has any. */
function messageType(field: DescField): DescMessage | undefined {
  if (field.fieldKind === "message") return field.message;
  if (field.fieldKind === "list" && field.listKind === "message") return field.message;
  if (field.fieldKind === "map" && field.mapKind === "message") return field.message;
  return undefined;
}

function isObject(json: JsonValue | undefined): json is { [key: string]: JsonValue } {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
