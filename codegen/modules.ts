/**
 * The specifiers of the modules that generated files import.
 *
 * @module
 */

import type { DescFile } from "@bufbuild/protobuf";
import { PbNames } from "./names.ts";
import type { Options } from "./options.ts";

// The files that come with protobuf-es, generated, in one module.
const WELL_KNOWN = new Set(
  ("any api descriptor duration empty field_mask source_context struct timestamp type wrappers " +
    "compiler/plugin").split(" ").map((name) => `google/protobuf/${name}.proto`),
);

/** The modules of one request. */
export class Modules {
  /** The options. */
  readonly options: Options;
  readonly #generated: ReadonlySet<string>;
  readonly #names = new Map<DescFile, PbNames>();

  /**
   * @param options The options.
   * @param generated The proto files that code is generated for.
   */
  constructor(options: Options, generated: ReadonlySet<string>) {
    this.options = options;
    this.#generated = generated;
  }

  /**
   * The names in the `_pb` file of a proto file.
   *
   * @param file The proto file.
   * @returns The names.
   */
  names(file: DescFile): PbNames {
    let names = this.#names.get(file);
    if (!names) this.#names.set(file, names = new PbNames(file));
    return names;
  }

  /**
   * Whether the code of a proto file is taken from protobuf-es.
   *
   * @param file The proto file.
   * @returns `true` for a well-known file, unless code is generated for it.
   */
  wellKnown(file: DescFile): boolean {
    return WELL_KNOWN.has(file.proto.name) && !this.#generated.has(file.proto.name);
  }

  /**
   * The specifier of the `_pb` file of a proto file.
   *
   * @param file The proto file.
   * @param importer The file that imports it.
   * @returns The specifier.
   */
  pb(file: DescFile, importer: DescFile): string {
    if (this.wellKnown(file)) return "@bufbuild/protobuf/wkt";
    const { pbPath, importExtension } = this.options;
    const name = `${file.name}_pb${importExtension === "none" ? "" : `.${importExtension}`}`;
    if (!isRelative(pbPath)) return `${pbPath}/${name}`;
    return relative(importer.name, `${pbPath}/${name}`);
  }

  /**
   * The specifier of the ttrpc module.
   *
   * @param importer The file that imports it.
   * @returns The specifier.
   */
  runtime(importer: DescFile): string {
    const { runtime } = this.options;
    return isRelative(runtime) ? relative(importer.name, runtime) : runtime;
  }
}

function isRelative(path: string): boolean {
  return /^\.{1,2}(\/|$)/.test(path);
}

/** The relative path from one file to another; both paths start from the output folder. */
function relative(from: string, to: string): string {
  const start = from.split("/").slice(0, -1);
  const parts: string[] = [];
  for (const part of to.split("/")) {
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  let common = 0;
  // The last part is the name of the file.
  while (common < parts.length - 1 && start[common] === parts[common]) common++;
  const up = start.slice(common).map(() => "..");
  const path = [...up, ...parts.slice(common)].join("/");
  return isRelative(path) ? path : `./${path}`;
}
