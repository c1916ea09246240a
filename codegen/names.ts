/**
 * Names in TypeScript: those of protoc-gen-es, which must be the same here, and those that the
 * plugin chooses.
 *
 * @module
 */

import type {
  DescEnum,
  DescExtension,
  DescFile,
  DescMessage,
  DescService,
} from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { quote } from "./options.ts";

type Described = DescFile | DescMessage | DescEnum | DescExtension | DescService;

// Reserved names: protoc-gen-es appends a dollar sign to them.
const reserved = new Set(
  ("break case catch class const continue debugger default delete do else export extends false " +
    "finally for function if import in instanceof new null return super switch this throw true " +
    "try typeof var void while with yield enum implements interface let package private " +
    "protected public static Object bigint number boolean string object globalThis Uint8Array " +
    "Partial").split(" "),
);

/** Unique names: one that is taken gets a dollar sign, which protobuf names cannot contain. */
export class Names {
  readonly #taken = new Set<string>();

  /** @param taken Names that are taken from the start. */
  constructor(taken: Iterable<string> = []) {
    for (const name of taken) this.#taken.add(name);
  }

  /**
   * Takes a name.
   *
   * @param wanted The wanted name.
   * @returns The name, with `$`, `$1`, `$2` and so on appended if it is taken.
   * @throws {Error} If it is not an identifier.
   */
  take(wanted: string): string {
    return this.takeAll([wanted])[0]!;
  }

  /**
   * Takes names that belong together, and so get the same suffix.
   *
   * @param wanted The wanted names.
   * @returns The names.
   * @throws {Error} If one is not an identifier.
   */
  takeAll(wanted: readonly string[]): string[] {
    const wrong = wanted.find((name) => !/^[A-Za-z_$][\w$]*$/.test(name));
    if (wrong !== undefined) throw new Error(`Cannot use ${quote(wrong)} as a name in TypeScript`);
    for (let count = 0;; count++) {
      const salt = count === 0 ? "" : count === 1 ? "$" : `$${count - 1}`;
      const names = wanted.map((name) => reserved.has(name + salt) ? `${name}$` : name + salt);
      if (names.some((name) => this.#taken.has(name))) continue;
      for (const name of names) this.#taken.add(name);
      return names;
    }
  }

  /**
   * Whether a name is taken.
   *
   * @param name The name.
   * @returns `true` if it is taken.
   */
  has(name: string): boolean {
    return this.#taken.has(name);
  }

  /** The names that are taken. */
  [Symbol.iterator](): Iterator<string> {
    return this.#taken.values();
  }
}

/** The names that protoc-gen-es exports from the `_pb` file of a proto file. */
export class PbNames {
  /** All names. */
  readonly all: Names = new Names();
  readonly #shapes = new Map<DescMessage | DescEnum, string>();
  readonly #descriptors = new Map<Described, string>();

  /**
   * Assigns the names in the order of protoc-gen-es: the first declaration gets the plain name.
   *
   * @param file The proto file.
   */
  constructor(file: DescFile) {
    for (const type of nestedTypes(file)) {
      if (type.kind === "message" || type.kind === "enum") {
        this.#shapes.set(type, this.all.take(identifier(type)));
      }
    }
    this.#descriptors.set(file, this.all.take(`file_${file.name.replace(/\W+/g, "_")}`));
    for (const type of nestedTypes(file)) {
      const hasShape = type.kind === "message" || type.kind === "enum";
      this.#descriptors.set(type, this.all.take(identifier(type) + (hasShape ? "Schema" : "")));
    }
  }

  /**
   * The name of the TypeScript type of a message or an enum.
   *
   * @param type The message or enum, of this file.
   * @returns The name.
   */
  shape(type: DescMessage | DescEnum): string {
    return this.#shapes.get(type)!;
  }

  /**
   * The name of a descriptor.
   *
   * @param type The message, enum or service, of this file.
   * @returns The name.
   */
  descriptor(type: DescMessage | DescEnum | DescService): string {
    return this.#descriptors.get(type)!;
  }
}

/**
 * The name of a type without its package: `Outer_Inner` for `pkg.Outer.Inner`.
 *
 * @param type The type.
 * @returns The name.
 */
export function identifier(type: { readonly typeName: string; readonly file: DescFile }): string {
  const { package: name } = type.file.proto;
  return type.typeName.slice(name === "" ? 0 : name.length + 1).replaceAll(".", "_");
}
