/**
 * Copies short bytes fields of decoded messages, so that they do not keep the whole buffer.
 *
 * protobuf-es decodes a bytes field to a view of the received buffer: up to 32 KiB, or a message of
 * many MiB. A program that keeps one short value, such as an id, would keep all of that. So short
 * values are copied, several into one block of memory: an allocation for each would take more time
 * than the rest of a small call.
 *
 * @module
 */

import { type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";

/** A value may keep `MULTIPLE` times its length in memory, and `BESIDE` more bytes. */
const MULTIPLE = 8;
const BESIDE = 1 << 10;

/** Fewer bytes than this are copied faster by a loop than by a call of `set()`. */
const LOOP_BYTES = 32;

/** A block of memory that several values share. Each of them keeps all of it. */
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
/** Values of this length or more get memory of their own. */
const ALONE_BYTES = 1 << 12;

const short = new Slab(0);
const medium = new Slab(MEDIUM_BYTES);
const long = new Slab(LONG_BYTES);

/**
 * Returns bytes that keep at most eight times their length and 1 KiB in memory.
 *
 * @param bytes A view of a larger buffer.
 * @returns The same bytes, copied if the view would keep more.
 */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (isKept(length, bytes.buffer.byteLength)) return bytes;
  if (length < MEDIUM_BYTES) return short.copy(bytes);
  if (length < LONG_BYTES) return medium.copy(bytes);
  return length < ALONE_BYTES ? long.copy(bytes) : bytes.slice();
}

/**
 * Whether bytes may stay in their buffer.
 *
 * @param length The length of the bytes.
 * @param memory The length of the buffer, in bytes.
 * @returns `true` if they need not be copied.
 */
export function isKept(length: number, memory: number): boolean {
  return memory <= MULTIPLE * length + BESIDE;
}

/** The fields of one message type that can hold bytes or messages. */
type Plan = readonly PlannedField[];

interface PlannedField {
  readonly name: string;
  /** The name of the field's oneof, if it is in one. */
  readonly oneof: string | undefined;
  readonly kind: DescField["fieldKind"];
  /** The plan of the field's message type; `undefined` for bytes. */
  readonly plan: Plan | undefined;
}

const plans = new WeakMap<DescMessage, Plan>();

/** Made once for each type, and stored before it is complete: types can contain themselves. */
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

/** All messages count, since those without bytes fields can have unknown fields. */
function holdsMessages({ message, parent }: DescField): boolean {
  // protobuf-es decodes a Struct to plain JSON, except in a Value.
  const json = message?.typeName === "google.protobuf.Struct" &&
    parent.typeName !== "google.protobuf.Value";
  return message !== undefined && !json;
}

/**
 * Makes a function that copies the bytes in decoded messages where they would keep much more.
 *
 * @param schema The type of the messages.
 * @returns The function. It takes a message that was just decoded, and replaces its fields.
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
  // protobuf-es decodes a BytesValue to its bytes, and other wrapper types to their values.
  if (value instanceof Uint8Array) {
    const own = ownBytes(value);
    if (own !== value) holder[key] = own;
  } else if (plan !== undefined && typeof value === "object") {
    ownMessage(plan, value as Message);
  }
}
