// README.md and the pages in docs/: short enough to be read, whole enough to be copied.

import { deepEqual, equal, ok } from "node:assert/strict";
import { ROOT } from "./codegen/tools.ts";

const read = (path: string) => Deno.readTextFileSync(`${ROOT}/${path}`);
const PAGES = [...Deno.readDirSync(`${ROOT}/docs`)]
  .filter(({ name }) => name.endsWith(".md"))
  .map(({ name }) => `docs/${name}`)
  .sort();
const DOCUMENTS = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", ...PAGES];

/** The code blocks of one language. */
function blocksOf(markdown: string, language: string): string[] {
  const blocks = markdown.matchAll(
    new RegExp(`^\`\`\`${language}\\b[^\\n]*\\n(.*?)^\`\`\`$`, "gms"),
  );
  return Array.from(blocks, ([, block]) => block!);
}

/** A text without its blocks of code. */
function prose(markdown: string): string {
  return markdown.replaceAll(/^```.*?^```$/gms, "").replaceAll(/`[^`]*`/g, "");
}

/** The names by which a document's headings are linked to, as GitHub makes them. */
function anchorsOf(markdown: string): Set<string> {
  const headings = markdown.replaceAll(/^```.*?^```$/gms, "").matchAll(/^#+ (.+)$/gm);
  return new Set(Array.from(
    headings,
    ([, heading]) => heading!.toLowerCase().replaceAll(/[^\w\s-]/g, "").replaceAll(/\s/g, "-"),
  ));
}

Deno.test("the README is short enough for one sitting", () => {
  const lines = read("README.md").split("\n").length;
  ok(lines < 200, `${lines} lines`);
});

Deno.test("the README links to every page in docs/", () => {
  const readme = read("README.md");
  deepEqual(PAGES.filter((page) => !readme.includes(`](${page})`)), []);
});

Deno.test("the documents link to what is there", () => {
  const broken: string[] = [];
  for (const document of DOCUMENTS) {
    for (const [, link] of prose(read(document)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link!)) continue;
      const { pathname, hash } = new URL(link!, `file:///${document}`);
      const path = decodeURIComponent(pathname).slice(1);
      try {
        const { isFile } = Deno.statSync(`${ROOT}/${path}`);
        const anchor = hash.slice(1);
        if (anchor === "" || isFile && anchorsOf(read(path)).has(anchor)) continue;
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
      broken.push(`${document}: ${link}`);
    }
  }
  deepEqual(broken, []);
});

Deno.test("the examples of the documents import only what a reader has", () => {
  const known = /^(@ttrpc\/ttrpc(\/\w+)?|@bufbuild\/protobuf(\/wkt)?|node:\w+(\/\w+)?)$/;
  for (const document of ["README.md", ...PAGES]) {
    const text = read(document);
    for (const block of blocksOf(text, "ts")) {
      for (const [, specifier] of block.matchAll(/ from "([^"]+)"/g)) {
        if (known.test(specifier!)) continue;
        const [, name] = /^\.\/gen\/([\w/]+)_(?:ttrpc|pb)\.ts$/.exec(specifier!) ?? [];
        const shown = name === undefined ? specifier!.slice(2) : `proto/${name}.proto`;
        ok(text.includes(`\`${shown}\``), `${document} imports ${specifier} and does not show it`);
      }
    }
  }
});

Deno.test("the proto files that the documents show are those of the repository", () => {
  const plain = (proto: string) =>
    proto.replaceAll(/\/\/.*$|^option go_package.*$/gm, "").replaceAll(/\s+/g, " ").trim();
  const files = ["greeter", "weather"].map((name) => plain(read(`proto/${name}/v1/${name}.proto`)));
  let shown = 0;
  for (const document of ["README.md", ...PAGES]) {
    for (const block of blocksOf(read(document), "proto")) {
      if (/^package containerd/m.test(block)) continue;
      ok(files.includes(plain(block)), `${document} shows another file:\n${block}`);
      shown++;
    }
  }
  ok(shown >= 5);
});

Deno.test("the README and the page on addresses have the same permissions", () => {
  const permissions = (document: string) => read(document).match(/^\| (client|server) .*$/gm);
  equal(permissions("README.md")?.length, 2);
  deepEqual(permissions("README.md"), permissions("docs/addresses.md"));
});
