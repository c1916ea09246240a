/**
 * The imports of a generated file.
 *
 * @module
 */

import type { DescEnum, DescFile, DescMessage } from "@bufbuild/protobuf";
import type { Modules } from "./modules.ts";
import type { Names } from "./names.ts";
import { quote } from "./options.ts";

interface Binding {
  readonly imported: string;
  readonly local: string;
  readonly typeOnly: boolean;
}

/** By specifier, the bindings by their imported names. */
type Statements = Map<string, Map<string, Binding>>;

/** The imports and re-exports of one generated file. */
export class Imports {
  readonly #modules: Modules;
  readonly #file: DescFile;
  readonly #own: string;
  readonly #runtime: string;
  readonly #names: Names;
  readonly #types = new Map<DescMessage | DescEnum, readonly [shape: Binding, schema: Binding]>();
  readonly #imports: Statements = new Map();
  readonly #exports: Statements = new Map();

  /**
   * @param file The proto file.
   * @param modules The specifiers of the modules.
   * @param names The names that are taken in the generated file.
   */
  constructor(file: DescFile, modules: Modules, names: Names) {
    this.#modules = modules;
    this.#file = file;
    this.#own = modules.pb(file, file);
    this.#runtime = modules.runtime(file);
    this.#names = names;
  }

  /**
   * Imports the value of a service.
   *
   * @param name Its name in the `_pb` file; the generated file exports a value with the same name.
   * @returns Its name in this file.
   */
  service(name: string): string {
    return this.#free(this.#own, name, false);
  }

  /**
   * Imports a type of the ttrpc module.
   *
   * @param name Its name there.
   * @returns Its name in this file.
   */
  runtime(name: string): string {
    return this.#free(this.#runtime, name, true);
  }

  /**
   * Imports the type of a message.
   *
   * @param message The message.
   * @returns Its name in this file.
   */
  shape(message: DescMessage): string {
    const [shape] = this.#bindings(message);
    return this.#import(message, shape);
  }

  /**
   * Imports the schema of a message, for its type.
   *
   * @param message The message.
   * @returns Its name in this file.
   */
  schema(message: DescMessage): string {
    const [, schema] = this.#bindings(message);
    return this.#import(message, { ...schema, typeOnly: true });
  }

  /**
   * Re-exports the type and the schema of a message or an enum of another file.
   *
   * @param type The message or the enum.
   */
  reexport(type: DescMessage | DescEnum): void {
    const bindings = group(this.#exports, this.#modules.pb(type.file, this.#file));
    for (const binding of this.#bindings(type)) bindings.set(binding.imported, binding);
  }

  /** The statements. */
  print(): string[] {
    return [
      ...print("import", this.#imports, this.#runtime),
      "",
      `export * from ${quote(this.#own)};`,
      ...print("export", this.#exports),
    ];
  }

  #free(specifier: string, imported: string, typeOnly: boolean): string {
    const bindings = group(this.#imports, specifier);
    let binding = bindings.get(imported);
    if (!binding) {
      binding = { imported, local: this.#names.take(imported), typeOnly };
      bindings.set(imported, binding);
    }
    return binding.local;
  }

  #import(message: DescMessage, binding: Binding): string {
    const bindings = group(this.#imports, this.#modules.pb(message.file, this.#file));
    bindings.set(binding.imported, binding);
    return binding.local;
  }

  #bindings(type: DescMessage | DescEnum): readonly [shape: Binding, schema: Binding] {
    let bindings = this.#types.get(type);
    if (!bindings) {
      const names = this.#modules.names(type.file);
      const imported = [names.shape(type), names.descriptor(type)] as const;
      // The names of the file's own types are reserved for them.
      const local = type.file === this.#file ? imported : this.#names.takeAll(imported);
      bindings = [
        // An enum is also a value.
        { imported: imported[0], local: local[0]!, typeOnly: type.kind === "message" },
        { imported: imported[1], local: local[1]!, typeOnly: false },
      ];
      this.#types.set(type, bindings);
    }
    return bindings;
  }
}

function group(statements: Statements, specifier: string): Map<string, Binding> {
  let bindings = statements.get(specifier);
  if (!bindings) statements.set(specifier, bindings = new Map());
  return bindings;
}

function print(keyword: "import" | "export", statements: Statements, first?: string): string[] {
  const sorted = [...statements].sort(([a], [b]) => a === first || b !== first && a < b ? -1 : 1);
  return sorted.flatMap(([specifier, all]) => {
    const bindings = [...all.values()];
    const allTypes = bindings.every(({ typeOnly }) => typeOnly);
    const names = bindings.sort(byName).map(
      ({ imported, local, typeOnly }) =>
        (typeOnly && !allTypes ? "type " : "") +
        (imported === local ? imported : `${imported} as ${local}`),
    );
    const head = `${keyword}${allTypes ? " type" : ""}`;
    const line = `${head} { ${names.join(", ")} } from ${quote(specifier)};`;
    if (line.length <= 80) return [line];
    return [`${head} {`, ...names.map((name) => `  ${name},`), `} from ${quote(specifier)};`];
  });
}

/** As `deno fmt` sorts names. */
function byName({ imported: a }: Binding, { imported: b }: Binding): number {
  const [lowerA, lowerB] = [a.toLowerCase(), b.toLowerCase()];
  return lowerA < lowerB || lowerA === lowerB && a < b ? -1 : 1;
}
