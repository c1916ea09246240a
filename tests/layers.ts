/**
 * Which file of the module imports which, as it is: `layers.ts` prints the map that CONTRIBUTING.md
 * has, and `layers.ts --write` puts it there.
 */

const ROOT = new URL("../", import.meta.url);

/** The folders of the module, and what the files of each may import beside each other. */
export const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  "": ["engine", "net", "wire", "async", "codecs"],
  engine: ["", "net", "wire", "async"],
  net: ["", "async"],
  wire: [""],
  codecs: [],
  async: [],
  cli: ["", "net", "wire", "async"],
  codegen: ["cli"],
};

/** Those that the map shows, and what they are for. */
const SHOWN: Readonly<Record<string, string>> = {
  "": "what users import and read about",
  engine: "calls and connections, in both roles",
  wire: "protobuf's wire format, and the messages around every call",
  net: "where connections come from",
  async: "waiting, signals and callbacks",
  codecs: "what protobuf-es's messages take in memory",
};

const MAP = /(<!-- the map: deno run -A tests\/layers.ts --write -->\n)[^]*?(\n<!-- its end -->)/;

/** The folder of a file. */
export function folderOf(file: string): string {
  return file.includes("/") ? file.slice(0, file.lastIndexOf("/")) : "";
}

/** The files of the module, each with those that it imports, now or later. */
export async function imports(): Promise<Map<string, Set<string>>> {
  const found = new Map<string, Set<string>>();
  for (const folder of Object.keys(FOLDERS)) {
    for await (const { name } of Deno.readDir(new URL(`./${folder}`, ROOT))) {
      if (!name.endsWith(".ts")) continue;
      const file = folder === "" ? name : `${folder}/${name}`;
      const url = new URL(file, ROOT);
      const text = await Deno.readTextFile(url);
      const specifiers = [
        ...text.matchAll(/^(?:import|export)\b[^;]*?"(\.{1,2}\/[^"]+)";/gms),
        ...text.matchAll(/^[^*]*\bimport\("(\.{1,2}\/[^"]+)"\)/gm),
      ].map(([, specifier]) => new URL(specifier!, url).href.slice(ROOT.href.length));
      found.set(file, new Set(specifiers));
    }
  }
  return found;
}

/**
 * The floor of each file: zero if it imports none, else one above the highest of those.
 *
 * @throws {Error} If files import each other, naming them.
 */
export function floors(graph: ReadonlyMap<string, ReadonlySet<string>>): Map<string, number> {
  const found = new Map<string, number>();
  const floor = (file: string, above: readonly string[]): number => {
    const known = found.get(file);
    if (known !== undefined) return known;
    if (above.includes(file)) {
      const circle = [...above.slice(above.indexOf(file)), file];
      throw new Error(`files import each other: ${circle.join(", ")}`);
    }
    const below = [...graph.get(file) ?? []].map((each) => floor(each, [...above, file]));
    const height = Math.max(-1, ...below) + 1;
    found.set(file, height);
    return height;
  };
  for (const file of graph.keys()) floor(file, []);
  return found;
}

/** The first sentence of a file about itself. */
async function about(file: string): Promise<string> {
  const text = await Deno.readTextFile(new URL(file, ROOT));
  const [, comment] = text.match(/^\/\*\*\n([^]*?)\*\//)!;
  const paragraph = comment!.replaceAll(/^ \* ?/gm, "").trim().split("\n\n")[0]!;
  return paragraph.replaceAll("\n", " ").match(/^.*?[.:](?= [A-Z]|$)/)?.[0] ?? paragraph;
}

/** The map: the files of each folder, the highest first. */
export async function map(): Promise<string> {
  const heights = floors(await imports());
  const parts: string[] = [];
  for (const [folder, what] of Object.entries(SHOWN)) {
    const files = [...heights.keys()].filter((file) => folderOf(file) === folder)
      .toSorted((a, b) => heights.get(b)! - heights.get(a)! || (a < b ? -1 : 1));
    const rows = await Promise.all(files.map(async (file) => [
      `\`${file.slice(folder === "" ? 0 : folder.length + 1)}\``,
      (await about(file)).replace(/[.:]$/, ""),
    ]));
    parts.push(
      `${folder === "" ? "The root" : `\`${folder}/\``}: ${what}.`,
      "",
      ...rows.map(([file, text]) => `- ${file}: ${text}`),
      "",
    );
  }
  return parts.join("\n").trim();
}

/** Whether a text has the map, or with it. */
export function withMap(text: string, map: string): string {
  return text.replace(MAP, (_, begin: string, end: string) => `${begin}\n${map}\n${end}`);
}

if (import.meta.main) {
  const file = new URL("CONTRIBUTING.md", ROOT);
  if (Deno.args.includes("--write")) {
    await Deno.writeTextFile(file, withMap(await Deno.readTextFile(file), await map()));
    await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", file.pathname] }).output();
  } else console.log(await map());
}
