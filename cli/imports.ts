/**
 * Finds the imports of a .proto file without a compiler, in one pass over the text.
 *
 * @module
 */

// A word, the start of a comment or a string, or another character; spaces are skipped.
const TOKEN = /[\w.]+|\/\/|\/\*|\S/g;

/**
 * The names of the files that a file imports.
 *
 * @param text The text of the file.
 * @returns The names as they are written, in order.
 */
export function importsIn(text: string): string[] {
  const imports: string[] = [];
  let statement: string[] = [];
  for (const token of tokens(text)) {
    if (token !== ";" && token !== "{" && token !== "}") {
      if (statement.length < 4) statement.push(token);
      continue;
    }
    const [keyword, ...rest] = statement;
    if (rest.length === 2 && (rest[0] === "public" || rest[0] === "weak")) rest.shift();
    const [name] = rest;
    if (token === ";" && keyword === "import" && rest.length === 1 && name!.startsWith('"')) {
      imports.push(name!.slice(1));
    }
    statement = [];
  }
  return imports;
}

/** The tokens without comments; a string comes as `"` and its contents. */
function* tokens(text: string): Generator<string> {
  const pattern = new RegExp(TOKEN);
  for (let found; (found = pattern.exec(text)) !== null;) {
    const [token] = found;
    const at = pattern.lastIndex;
    if (token === "//") pattern.lastIndex = after(text, "\n", at);
    else if (token === "/*") pattern.lastIndex = after(text, "*/", at);
    else if (token !== '"' && token !== "'") yield token;
    else {
      const end = endOfString(text, token, at);
      pattern.lastIndex = end + 1;
      yield `"${text.slice(at, end)}`;
    }
  }
}

function after(text: string, what: string, from: number): number {
  const at = text.indexOf(what, from);
  return at < 0 ? text.length : at + what.length;
}

function endOfString(text: string, quote: string, from: number): number {
  let at = from;
  while (at < text.length && text[at] !== quote && text[at] !== "\n") {
    at += text[at] === "\\" ? 2 : 1;
  }
  return Math.min(at, text.length);
}
