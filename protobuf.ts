/**
 * Adds protobuf-es to the engine: codecs for its schemas.
 *
 * @module
 */

import {
  clearField,
  create,
  type DescField,
  type DescMessage,
  fromBinary,
  isFieldSet,
  type Message,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";
import { concat } from "@std/bytes/concat";
import {
  type Codec,
  type MessageInitShape,
  type MessageShape,
  provideSchemaCodec,
} from "./codec.ts";
import { bytesOwner } from "./codecs/kept_bytes.ts";
import { MessageCost } from "./codecs/message_cost.ts";

provideSchemaCodec((schema) => ({
  encode: encoder(schema),
  ...decoder(schema),
  transfers: true,
}));

/** Decodes messages, and copies those of their bytes that would keep a read buffer in memory. */
function decoder<Desc extends DescMessage>(
  schema: Desc,
): Required<Pick<Codec<MessageShape<Desc>>, "cost" | "decode">> {
  const own = bytesOwner(schema);
  const counted = new MessageCost(schema);
  let bare: Uint8Array | undefined; // was counted last; its message will not refer to the buffer
  return {
    cost(bytes, most) {
      const cost = counted.count(bytes, most);
      bare = cost > most || counted.views ? undefined : bytes;
      return cost;
    },
    decode(bytes) {
      const isBare = bare === bytes;
      bare = undefined;
      const message = fromBinary(schema, bytes);
      if (!isBare) own(message);
      return message;
    },
  };
}

/** The length from which a field of bytes is encoded separately, so that it is copied only once. */
const LONG = 1 << 13;
/** Free bytes before a long message: its header is written there when it is sent. */
const ROOM = new Uint8Array(256);

/**
 * `toBinary()` copies a field of bytes into a buffer that doubles as it fills, and then into the
 * one that it returns: 64 KiB take 36 microseconds, a single copy takes 5. So long fields are left
 * out of the message that it gets, and appended to its result: a message's fields may have any
 * order.
 */
function encoder<Desc extends DescMessage>(
  schema: Desc,
): (init: MessageInitShape<Desc>) => Uint8Array {
  const fields = schema.fields.filter(isBytes);
  return (init) => {
    const message = create(schema, init);
    for (const field of fields) {
      if (longBytes(message, field)) return encodeLong(schema, message, fields);
    }
    return toBinary(schema, message);
  };
}

function encodeLong(
  schema: DescMessage,
  message: Message,
  fields: readonly DescField[],
): Uint8Array {
  const rest = Object.assign(Object.create(Object.getPrototypeOf(message)), message);
  const parts: Uint8Array[] = [];
  for (const field of fields) {
    const bytes = longBytes(message, field);
    if (!bytes) continue;
    clearField(rest, field);
    const head = new BinaryWriter().tag(field.number, WireType.LengthDelimited);
    parts.push(head.uint32(bytes.length).finish(), bytes);
  }
  return concat([ROOM, toBinary(schema, rest), ...parts]).subarray(ROOM.length);
}

const LEGACY_REQUIRED: FeatureSet_FieldPresence.LEGACY_REQUIRED = 3;

/** Whether a field has the type `bytes` and may be absent. */
function isBytes(field: DescField): boolean {
  return field.fieldKind === "scalar" && field.scalar === ScalarType.BYTES &&
    field.presence !== LEGACY_REQUIRED;
}

/** The value of a field of bytes, if it is set and long. */
function longBytes(message: Message, field: DescField): Uint8Array | undefined {
  const members = message as unknown as Readonly<Record<string, unknown>>;
  let value = members[field.localName];
  if (field.oneof) {
    const chosen = members[field.oneof.localName] as { case?: string; value?: unknown } | undefined;
    value = chosen?.case === field.localName ? chosen.value : undefined;
  }
  if (!(value instanceof Uint8Array) || value.length < LONG) return undefined;
  return isFieldSet(message, field) ? value : undefined;
}
