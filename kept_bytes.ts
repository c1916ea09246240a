/**
 * Takes the bytes in decoded messages out of the buffer that they were received in.
 *
 * protobuf-es leaves fields of bytes where they are: in a read buffer of up to 32 KiB. Who keeps a
 * few of them, say an id, keeps all of that. So short ones are copied: together with others, for
 * memory of its own costs a value more time than the rest of a small call.
 *
 * @module
 */

import { type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";

/** The memory that short values share, in bytes: all that one of them keeps beside itself. */
const SLAB_BYTES = 1 << 10;
/** Values up to this length share memory. */
const SHORT = 1 << 8;
/** What a value may keep in memory, as a multiple of itself, without being copied. */
const MULTIPLE = 8;

let slab = new Uint8Array(0);
let used = 0;

/**
 * Bytes that keep at most {@linkcode MULTIPLE} times their length in memory, and
 * {@linkcode SLAB_BYTES}.
 *
 * @param bytes Part of a larger buffer.
 * @returns The same bytes.
 */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (bytes.buffer.byteLength <= MULTIPLE * length + SLAB_BYTES) return bytes;
  if (length > SHORT) return bytes.slice();
  if (used + length > slab.length) {
    slab = new Uint8Array(SLAB_BYTES);
    used = 0;
  }
  slab.set(bytes, used);
  return slab.subarray(used, used += length);
}

type Members = Record<string, unknown>;

/** Where a message of one type can have bytes. */
interface Plan {
  readonly fields: readonly PlannedField[];
}

interface PlannedField {
  readonly name: string;
  /** The name of the oneof that the field belongs to. */
  readonly oneof: string | undefined;
  readonly kind: DescField["fieldKind"];
  /** The plan of the messages in it; `undefined` if it holds bytes. */
  readonly message: DescMessage | undefined;
}

const plans = new WeakMap<DescMessage, Plan>();
const bearing = new WeakMap<DescMessage, boolean>();

/**
 * Gives the bytes of a decoded message memory of their own, where they would keep much more.
 *
 * @param schema The type of the message.
 * @param message The message. Its fields are replaced.
 */
export function ownMessage(schema: DescMessage, message: Message): void {
  const { $unknown } = message;
  $unknown?.forEach((field, at) => $unknown[at] = { ...field, data: ownBytes(field.data) });
  if (!bearsBytes(schema)) return;
  for (const field of planOf(schema).fields) ownField(field, message as unknown as Members);
}

function ownField({ name, oneof, kind, message }: PlannedField, members: Members): void {
  let key = name;
  if (oneof !== undefined) {
    members = members[oneof] as Members;
    if (members["case"] !== name) return;
    key = "value";
  }
  if (!Object.hasOwn(members, key)) return; // what a field is by default is not the message's
  const value = members[key];
  if (kind === "list") {
    const list = value as unknown[];
    for (let i = 0; i < list.length; i++) list[i] = ownValue(list[i], message);
  } else if (kind === "map") {
    const map = value as Members;
    for (const key of Object.keys(map)) map[key] = ownValue(map[key], message);
  } else members[key] = ownValue(value, message);
}

function ownValue(value: unknown, schema: DescMessage | undefined): unknown {
  // A wrapper around bytes is decoded to just these.
  if (value instanceof Uint8Array) return ownBytes(value);
  if (schema !== undefined && typeof value === "object" && value !== null) {
    ownMessage(schema, value as Message);
  }
  return value;
}

function planOf(schema: DescMessage): Plan {
  let plan = plans.get(schema);
  if (!plan) {
    const fields: PlannedField[] = [];
    for (const field of schema.fields) {
      if (!holdsBytes(field) && !(field.message && bearsBytes(field.message))) continue;
      const oneof = field.oneof?.localName;
      fields.push({ name: field.localName, oneof, kind: field.fieldKind, message: field.message });
    }
    plan = { fields };
    plans.set(schema, plan);
  }
  return plan;
}

/** Whether a message of this type can have bytes in it, however deep. */
function bearsBytes(schema: DescMessage): boolean {
  const known = bearing.get(schema);
  if (known !== undefined) return known;
  const seen = new Set([schema]);
  let found = false;
  for (const { fields } of seen) {
    for (const field of fields) {
      found ||= holdsBytes(field);
      if (field.message) seen.add(field.message);
    }
  }
  bearing.set(schema, found);
  return found;
}

function holdsBytes(field: DescField): boolean {
  return field.fieldKind === "scalar" && field.scalar === ScalarType.BYTES ||
    field.fieldKind === "list" && field.listKind === "scalar" &&
      field.scalar === ScalarType.BYTES ||
    field.fieldKind === "map" && field.mapKind === "scalar" && field.scalar === ScalarType.BYTES;
}
