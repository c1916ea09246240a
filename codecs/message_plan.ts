/**
 * What each field of a message type costs when protobuf-es decodes it, worked out once per type.
 *
 * @module
 */

import { type DescField, type DescMessage, type DescOneof, ScalarType } from "@bufbuild/protobuf";
import type { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

/** The cost of one part of a message. */
export interface Weight {
  /** Memory in addition to the part's encoded bytes, in bytes. */
  readonly bytes: number;
  /** Time to decode it, in nanoseconds. */
  readonly ns: number;
}

// Measured with Deno 2.9.6 on a machine with two cores: the growth of V8's heap, and the shortest
// of several times, in messages of 1 to 4 MiB that consist of one kind of part.

/** A number. */
const NUMBER: Weight = { bytes: 0, ns: 8 };
/** A number in a list: 8 bytes, and room for the list to grow. */
const LISTED: Weight = { bytes: 12, ns: 28 };
/** A number with a fraction, or an unsigned 32-bit one: it may be an object on the heap. */
const DOUBLE: Weight = { bytes: 28, ns: 48 };
/** A bigint, and the reference to it. */
const LONG: Weight = { bytes: 34, ns: 100 };
const LONG_STRING: Weight = { bytes: 48, ns: 240 };
/** A string, in addition to its characters. */
const STRING: Weight = { bytes: 34, ns: 46 };
/** A `Uint8Array`, in addition to its bytes; most are copied. */
const BYTES: Weight = { bytes: 124, ns: 400 };
/** Reading the tag of a field. */
const TAG_NS = 8;
/** The first item of a list makes room for 17. */
export const FIRST: Weight = { bytes: 144, ns: 60 };
/** The object of a oneof. */
const ONEOF: Weight = { bytes: 40, ns: 20 };
/** A property that a new message does not have, of a number or a string. */
const MEMBER: Weight = { bytes: 48, ns: 15 };
/** The same, of a message. */
const MESSAGE_MEMBER: Weight = { bytes: 48, ns: 60 };
/** An entry of a map, in addition to its key and its value. */
const ENTRY: Weight = { bytes: 56, ns: 250 };
/** V8 may change how it stores an object's numeric keys if there are gaps between them. */
export const NUMBERED_NS = 850;
const NUMBERED_ENTRY: Weight = { bytes: 56, ns: ENTRY.ns + NUMBERED_NS };
/** A value that a closed enum does not define. */
export const STRANGE: Weight = { bytes: 260, ns: 900 };
/** An unknown field, in addition to its bytes. */
export const UNKNOWN: Weight = { bytes: 170, ns: 350 };
/** A skipped field: an unknown one, or one in a group or a map entry. */
export const SKIPPED_NS = 50;
/** A string of more than 32 bytes, or one that is not ASCII: `TextDecoder` decodes it. */
export const TEXT_NS = 350;
export const ASCII_LONGEST = 32;

/** How protobuf-es reads a value: by the type of the field, not by the type on the wire. */
export const Read = {
  varint: 0,
  fixed64: 1,
  fixed32: 2,
  string: 3,
  bytes: 4,
  closedEnum: 5,
  message: 6,
  group: 7,
  entry: 8,
} as const;

/** One of {@linkcode Read}. */
export type Read = typeof Read[keyof typeof Read];

/** A field of a type. */
export interface FieldPlan extends Weight {
  readonly read: Read;
  readonly number: number;
  readonly list: boolean;
  /** A list of numbers, which may be packed. */
  readonly packable: boolean;
  /** The type of its messages, or of the entries of a map. */
  readonly message: MessagePlan | undefined;
  /** A google.protobuf.Struct, which is decoded as a message and then converted to JSON. */
  readonly json: boolean;
  /** If it comes again, it is merged with what came before, and its JSON is converted again. */
  readonly merges: boolean;
  /** The numbers that a closed enum defines. */
  readonly known: ReadonlySet<number> | undefined;
}

/** A message type, and the cost of a message without any fields set. */
export interface MessagePlan extends Weight {
  /** The fields with numbers below `NEAR`; the index is the number. */
  readonly near: (FieldPlan | undefined)[];
  /** The other fields, by number. */
  readonly far: Map<number, FieldPlan>;
}

/** Field numbers below this are found without a map. */
const NEAR = 64;

const plans = new WeakMap<DescMessage, MessagePlan>();

/**
 * The plan of a message type.
 *
 * @param schema The type.
 * @returns Its plan: made once, and stored before it is complete: types can contain themselves.
 */
export function planOf(schema: DescMessage): MessagePlan {
  const known = plans.get(schema);
  if (known) return known;
  const plan: MessagePlan = { ...weightOf(schema), near: [undefined], far: new Map() };
  plans.set(schema, plan);
  const numbers = schema.fields.map(({ number }) => number).filter((number) => number < NEAR);
  for (let number = Math.max(0, ...numbers); number > 0; number--) plan.near.push(undefined);
  for (const field of schema.fields) {
    const planned = alike(planField(field));
    if (field.number < NEAR) plan.near[field.number] = planned;
    else plan.far.set(field.number, planned);
  }
  return plan;
}

const PLAIN = {
  list: false,
  packable: false,
  message: undefined,
  json: false,
  merges: false,
  known: undefined,
} as const;

function planField(field: DescField): FieldPlan {
  const { number } = field;
  if (field.fieldKind === "map") {
    const key = planScalar(1, field.mapKey, false);
    const value = field.mapKind === "message"
      ? planMessage(2, field.message, field)
      : planScalar(2, field.mapKind === "enum" ? ScalarType.INT32 : field.scalar, false);
    const entry = field.mapKey === ScalarType.STRING ? ENTRY : NUMBERED_ENTRY;
    // protobuf-es makes a value even for an entry without one.
    const bytes = entry.bytes + value.bytes;
    const ns = entry.ns + value.ns;
    const message: MessagePlan = {
      ...NOTHING,
      near: [undefined, alike(key), alike(free(value))],
      far: new Map(),
    };
    return { ...PLAIN, number, read: Read.entry, bytes, ns, message };
  }
  if (field.fieldKind === "list") {
    const item = field.listKind === "message"
      ? planMessage(number, field.message, field)
      : planScalar(
        number,
        field.listKind === "enum" ? ScalarType.INT32 : field.scalar,
        long(field),
      );
    const packable = item.read < Read.string;
    const weight = item.read === Read.varint && item.bytes === 0 ? LISTED : NOTHING;
    return { ...add(item, weight), list: true, packable, merges: item.json };
  }
  const value = field.fieldKind === "message"
    ? planMessage(number, field.message, field)
    : field.fieldKind === "enum" && !field.enum.open
    ? planEnum(number, field.enum.values.map((value) => value.number))
    : planScalar(number, field.scalar ?? ScalarType.INT32, long(field));
  if (field.oneof) return add(value, ONEOF);
  if (implicit(field)) return value;
  return add(value, field.fieldKind === "message" ? MESSAGE_MEMBER : MEMBER);
}

/** Adds the cost of the tag, in an object of the same shape for all fields, as V8 reads faster. */
function alike(plan: FieldPlan): FieldPlan {
  const { number, read, bytes, ns, list, packable, message, json, merges, known } = plan;
  return { number, read, bytes, ns: ns + TAG_NS, list, packable, message, json, merges, known };
}

const NOTHING: Weight = { bytes: 0, ns: 0 };

function add(plan: FieldPlan, { bytes, ns }: Weight): FieldPlan {
  return { ...plan, bytes: plan.bytes + bytes, ns: plan.ns + ns };
}

/** A plan whose memory was already counted. */
function free(plan: FieldPlan): FieldPlan {
  return { ...plan, bytes: 0 };
}

function long(field: DescField): boolean {
  return "longAsString" in field && field.longAsString;
}

function planScalar(number: number, type: ScalarType, asString: boolean): FieldPlan {
  const plan = scalar(type, asString ? LONG_STRING : LONG);
  return { ...PLAIN, number, ...plan };
}

function scalar(type: ScalarType, long: Weight): Weight & { read: Read } {
  switch (type) {
    case ScalarType.STRING:
      return { read: Read.string, ...STRING };
    case ScalarType.BYTES:
      return { read: Read.bytes, ...BYTES };
    case ScalarType.DOUBLE:
      return { read: Read.fixed64, ...DOUBLE };
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return { read: Read.fixed32, ...DOUBLE };
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return { read: Read.fixed64, ...long };
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
      return { read: Read.varint, ...long };
    default:
      return { read: Read.varint, ...NUMBER };
  }
}

function planEnum(number: number, values: readonly number[]): FieldPlan {
  // protobuf-es searches the list of all values.
  const ns = NUMBER.ns + values.length;
  return { ...PLAIN, number, read: Read.closedEnum, bytes: 8, ns, known: new Set(values) };
}

function planMessage(number: number, message: DescMessage, field: DescField): FieldPlan {
  const json = isJson(field);
  const plan = planOf(message);
  return {
    ...PLAIN,
    number,
    read: "delimitedEncoding" in field && field.delimitedEncoding ? Read.group : Read.message,
    bytes: plan.bytes,
    ns: plan.ns,
    message: plan,
    json,
    merges: json || holdsJson(message, new Set()),
  };
}

function isJson({ message, parent }: DescField): boolean {
  return message?.typeName === "google.protobuf.Struct" &&
    parent.typeName !== "google.protobuf.Value";
}

/** Whether singular fields of a message type, at any depth, are decoded to JSON. */
function holdsJson(message: DescMessage, seen: Set<DescMessage>): boolean {
  if (seen.has(message)) return false;
  seen.add(message);
  return message.fields.some((field) =>
    field.fieldKind === "message" && (isJson(field) || holdsJson(field.message, seen))
  );
}

const IMPLICIT: FeatureSet_FieldPresence.IMPLICIT = 2;

/** Whether a new message has a property for the field. */
function implicit({ presence, fieldKind }: DescField): boolean {
  return presence === IMPLICIT && fieldKind !== "message";
}

/** With more properties, V8 stores an object as a hash table. */
const MOST_MEMBERS = 12;

/** The cost of a message in a list, without any fields set. */
function weightOf({ members }: DescMessage): Weight {
  let own = 0;
  let bytes = 0;
  let ns = 115;
  for (const member of members) {
    const made = weightOfMember(member);
    if (made === undefined) ns += 5;
    else {
      own++;
      bytes += made.bytes;
      ns += made.ns;
    }
  }
  // V8 makes room for three properties at a time. With some in a prototype, it is at least 66.
  if (own <= MOST_MEMBERS) bytes += Math.max(66, 58 + 24 * Math.ceil(own / 3));
  else {
    bytes += 98 + 24 * 2 ** Math.ceil(Math.log2(1.5 * (own + 1)));
    ns += 90 * own;
  }
  return { bytes, ns };
}

/** The cost of a property in a new message; `undefined` if a new message does not have it. */
function weightOfMember(member: DescField | DescOneof): Weight | undefined {
  if (member.kind === "oneof") return { bytes: 32, ns: 85 };
  if (member.fieldKind === "list") return { bytes: 32, ns: 70 };
  if (member.fieldKind === "map") return { bytes: 56, ns: 100 };
  return implicit(member) ? { bytes: 0, ns: 8 } : undefined;
}
