/**
 * The options of the plugin, from `opt` in `buf.gen.yaml` or from `protoc --ttrpc-es_opt`.
 *
 * @module
 */

/** An error in the user's options or proto files. It is reported in the response, not on stderr. */
export class UserError extends Error {
  /** The name of the class. */
  override readonly name = "UserError";
}

/** The options of the plugin. */
export interface Options {
  /** The extension in imports of other generated files; `none` for bundlers that want none. */
  readonly importExtension: "ts" | "js" | "none";
  /**
   * The specifier of the module with ttrpc's types. If it begins with a dot, it is relative to the
   * output folder.
   */
  readonly runtime: string;
  /** The folder of the `_pb` files, relative to the output folder; or a package that has them. */
  readonly pbPath: string;
}

/** The default options. */
export const defaultOptions: Options = {
  importExtension: "ts",
  runtime: "@ttrpc/ttrpc/types",
  pbPath: ".",
};

const known: Readonly<Record<string, (value: string) => Partial<Options>>> = {
  target: (value) => {
    oneOf(["ts"], "target", value);
    return {};
  },
  import_extension: (value) => ({
    importExtension: oneOf(["ts", "js", "none"], "import_extension", value),
  }),
  runtime: (value) => ({ runtime: specifier("runtime", value) }),
  pb_path: (value) => ({ pbPath: withoutSlashes(specifier("pb_path", value)) }),
};

/**
 * Reads the options.
 *
 * @param parameter All options, as `a=b,c=d`.
 * @returns The options, with defaults for those that are not given.
 * @throws {UserError} If an option is unknown, or its value is not valid.
 */
export function parseOptions(parameter: string): Options {
  const options = { ...defaultOptions };
  for (const option of parameter.split(",").filter((text) => text !== "")) {
    const [key = "", ...rest] = option.split("=");
    const read = Object.hasOwn(known, key) ? known[key] : undefined;
    if (!read) {
      const names = Object.keys(known).join(", ");
      throw new UserError(`Cannot use the option ${quote(option)}: the options are ${names}`);
    }
    Object.assign(options, read(rest.join("=")));
  }
  return options;
}

function oneOf<const Value extends string>(
  values: readonly Value[],
  key: string,
  given: string,
): Value {
  const found = values.find((value) => value === given);
  if (found === undefined) {
    throw new UserError(
      `Cannot use the option ${quote(`${key}=${given}`)}: ${key} must be ${values.join(" or ")}`,
    );
  }
  return found;
}

function specifier(key: string, given: string): string {
  if (given.trim() === "") {
    throw new UserError(`Cannot use the option ${quote(`${key}=${given}`)}: ${key} needs a value`);
  }
  return given;
}

/** Removes the slashes at the end of a path; of `/` alone, one is left. */
function withoutSlashes(path: string): string {
  let end = path.length;
  while (end > 1 && path[end - 1] === "/") end--;
  return path.slice(0, end);
}

/**
 * Makes a string literal of text, on one line.
 *
 * @param text The text.
 * @returns The literal, with its quotes.
 */
export function quote(text: string): string {
  return JSON.stringify(text).replace(
    /[\u2028\u2029]/g,
    (end) => end === "\u2028" ? "\\u2028" : "\\u2029",
  );
}
