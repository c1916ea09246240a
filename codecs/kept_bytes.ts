/**
 * Takes the bytes in decoded messages out of the buffer that they were received in.
 *
 * protobuf-es leaves fields of bytes where they are: in a read buffer of up to 32 KiB, or in a
 * message of many MiB. Who keeps a few of them, say an id, keeps all of that. So short ones are
 * copied: together with others, for memory of its own costs a value more time than the rest of a
 * small call.
 *
 * @module
 */

import { type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";

/** What a value may keep in memory: so many times its length, and this many bytes beside. */
const MULTIPLE = 8;
const BESIDE = 1 << 10;

/** Fewer bytes than these are copied one by one in less time than by a call. */
const LOOP_BYTES = 32;

/** Memory that values share, of which each may keep all. */
class Slab {
  readonly #size: number;
  #memory = new Uint8Array(0);
  #used = 0;

  /** @param shortest The length of the shortest value in it, in bytes. */
  constructor(shortest: number) {
    this.#size = MULTIPLE * shortest + BESIDE;
  }

  copy(bytes: Uint8Array): Uint8Array {
    const { length } = bytes;
    if (this.#used + length > this.#memory.length) {
      this.#memory = new Uint8Array(this.#size);
      this.#used = 0;
    }
    const memory = this.#memory;
    const start = this.#used;
    if (length < LOOP_BYTES) {
      for (let at = 0; at < length; at++) {
        memory[start + at] = bytes[at]!;
      }
    } else memory.set(bytes, start);
    return memory.subarray(start, this.#used += length);
  }
}

const MEDIUM_BYTES = 1 << 8;
const LONG_BYTES = 1 << 10;
/** Values from this length on would hardly share. */
const ALONE_BYTES = 1 << 12;

const short = new Slab(0);
const medium = new Slab(MEDIUM_BYTES);
const long = new Slab(LONG_BYTES);

/**
 * Bytes that keep at most eight times their length in memory, and 1 KiB.
 *
 * @param bytes Part of a larger buffer.
 * @returns The same bytes, copied if they would keep more.
 */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (isKept(length, bytes.buffer.byteLength)) return bytes;
  if (length < MEDIUM_BYTES) return short.copy(bytes);
  if (length < LONG_BYTES) return medium.copy(bytes);
  return length < ALONE_BYTES ? long.copy(bytes) : bytes.slice();
}

/**
 * Whether bytes may keep the buffer that they are in.
 *
 * @param length How many they are.
 * @param memory The length of the buffer.
 */
export function isKept(length: number, memory: number): boolean {
  return memory <= MULTIPLE * length + BESIDE;
}

/** The fields of one type that can hold bytes, or messages. */
type Plan = readonly PlannedField[];

interface PlannedField {
  readonly name: string;
  /** The name of the oneof that the field belongs to. */
  readonly oneof: string | undefined;
  readonly kind: DescField["fieldKind"];
  /** The plan of the messages in it; `undefined` if it holds bytes. */
  readonly plan: Plan | undefined;
}

const plans = new WeakMap<DescMessage, Plan>();

/** Made once a type, and known before it is complete: types contain themselves. */
function planOf(schema: DescMessage): Plan {
  const known = plans.get(schema);
  if (known) return known;
  const plan: PlannedField[] = [];
  plans.set(schema, plan);
  for (const field of schema.fields) {
    if (field.scalar !== ScalarType.BYTES && !holdsMessages(field)) continue;
    const { localName: name, fieldKind: kind, message } = field;
    plan.push({ name, oneof: field.oneof?.localName, kind, plan: message && planOf(message) });
  }
  return plan;
}

/** Even those without a field of bytes can have unknown ones. */
function holdsMessages({ message, parent }: DescField): boolean {
  // Most of these are decoded to objects with whatever members, as in JSON.
  const json = message?.typeName === "google.protobuf.Struct" &&
    parent.typeName !== "google.protobuf.Value";
  return message !== undefined && !json;
}

/**
 * Gives the bytes of decoded messages memory of their own, where they would keep much more.
 *
 * @param schema The type of the messages.
 * @returns What does so with a message that was just decoded. Its fields are replaced.
 */
export function bytesOwner(schema: DescMessage): (message: Message) => void {
  let plan: Plan | undefined;
  return (message) => ownMessage(plan ??= planOf(schema), message);
}

type Members = Record<string, unknown>;

function ownMessage(plan: Plan, message: Message): void {
  const unknown = message.$unknown as { data: Uint8Array }[] | undefined;
  if (unknown !== undefined) { for (const field of unknown) field.data = ownBytes(field.data); }
  for (const field of plan) ownField(field, message as unknown as Members);
}

function ownField({ name, oneof, kind, plan }: PlannedField, members: Members): void {
  if (oneof !== undefined) {
    const chosen = members[oneof] as { case?: string; value?: unknown };
    if (chosen.case === name) ownMember(chosen, "value", plan);
  } else if (kind === "list") {
    const list = members[name] as unknown[];
    for (let at = 0; at < list.length; at++) ownMember(list, at, plan);
  } else if (kind === "map") {
    const map = members[name] as Members;
    for (const key of Object.keys(map)) ownMember(map, key, plan);
  } else ownMember(members, name, plan);
}

function ownMember<Key extends PropertyKey>(
  holder: { [key in Key]?: unknown },
  key: Key,
  plan: Plan | undefined,
): void {
  const value = holder[key];
  // A wrapper around bytes is decoded to just these, one around something else to that.
  if (value instanceof Uint8Array) {
    const own = ownBytes(value);
    if (own !== value) holder[key] = own;
  } else if (plan !== undefined && typeof value === "object") {
    ownMessage(plan, value as Message);
  }
}
