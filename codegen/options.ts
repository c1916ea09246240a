/**
 * The options of the plugin, as `buf.gen.yaml` or `protoc --ttrpc-es_opt` give them.
 *
 * @module
 */

/** What a user can mend, in his options or his protos. It goes into the response, not to stderr. */
export class UserError extends Error {
  /** The name. */
  override readonly name = "UserError";
}

/** How the plugin is to write its files. */
export interface Options {
  /** How imports of other generated files end; `none` for bundlers that want no extension. */
  readonly importExtension: "ts" | "js" | "none";
  /**
   * The specifier of the module with ttrpc's types. If it begins with a dot, it starts from the
   * output folder.
   */
  readonly runtime: string;
  /** The folder of the `_pb` files, from the output folder; or a package that has them. */
  readonly pbPath: string;
}

/** What holds without any option. */
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
 * @param parameter All of them, as `a=b,c=d`.
 * @returns The options, the defaults among them.
 * @throws {UserError} If one is unknown, or has a value that it cannot have.
 */
export function parseOptions(parameter: string): Options {
  const options = { ...defaultOptions };
  for (const option of parameter.split(",").filter((text) => text !== "")) {
    const [key = "", ...rest] = option.split("=");
    const read = Object.hasOwn(known, key) ? known[key] : undefined;
    if (!read) {
      const names = Object.keys(known).join(", ");
      throw new UserError(`Cannot take the option ${quote(option)}: the options are ${names}`);
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
      `Cannot take the option ${quote(`${key}=${given}`)}: ${key} is ${values.join(" or ")}`,
    );
  }
  return found;
}

function specifier(key: string, given: string): string {
  if (given.trim() === "") {
    throw new UserError(`Cannot take the option ${quote(`${key}=${given}`)}: ${key} needs a value`);
  }
  return given;
}

/** Without the slashes at its end; of one that has nothing else, the first is left. */
function withoutSlashes(path: string): string {
  let end = path.length;
  while (end > 1 && path[end - 1] === "/") end--;
  return path.slice(0, end);
}

/**
 * Puts text between quotes, so that it stays on one line and is one string.
 *
 * @param text The text.
 */
export function quote(text: string): string {
  return JSON.stringify(text).replace(
    /[\u2028\u2029]/g,
    (end) => end === "\u2028" ? "\\u2028" : "\\u2029",
  );
}
