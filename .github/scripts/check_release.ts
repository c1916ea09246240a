/**
 * Checks that a tag can be released, and prints the text of its release in Markdown:
 *
 *     deno run --allow-read .github/scripts/check_release.ts v0.1.0 [URL]
 *
 * With a URL, links to files of this repository become links below it.
 *
 * @module
 */

/** What a release is made of. */
export interface Release {
  /** The tag, `v` and the version. */
  readonly tag: string;
  /** The version that deno.json says. */
  readonly version: string;
  /** The text of CHANGELOG.md. */
  readonly changelog: string;
  /** Where the files of the tag can be read. */
  readonly url?: string | undefined;
}

/**
 * The section of CHANGELOG.md for a release.
 *
 * @param release The tag, and what it has to agree with.
 * @returns The section, without its heading.
 * @throws {Error} If the tag is not the version's, or the section is missing, empty or has no date.
 */
export function releaseText({ tag, version, changelog, url }: Release): string {
  const refuse = (reason: string) => new Error(`Cannot release ${tag}: ${reason}`);
  if (tag !== `v${version}`) {
    throw refuse(`deno.json has version ${version}, so its tag is v${version}`);
  }
  const sections = changelog.split(/^## /m).slice(1);
  const section = sections.find((text) => text.split(/\s/, 1)[0] === version);
  const wanted = `"## ${version} (YYYY-MM-DD)"`;
  if (section === undefined) throw refuse(`CHANGELOG.md has no section ${wanted}`);
  const [heading, ...lines] = section.split("\n");
  const [, date] = /^\S+ \((\d{4}-\d\d-\d\d)\)$/.exec(heading!) ?? [];
  if (date === undefined || !isDate(date)) {
    throw refuse(`CHANGELOG.md has "## ${heading}", and not ${wanted}`);
  }
  const text = lines.join("\n").trim();
  if (text === "") throw refuse(`the section "## ${heading}" of CHANGELOG.md is empty`);
  return url === undefined ? text : text.replaceAll(/\]\((?!\w+:|#)/g, `](${url}/`);
}

/** Whether a day is one of the calendar. */
function isDate(day: string): boolean {
  const date = new Date(day);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day);
}

if (import.meta.main) {
  const [tag, url] = Deno.args;
  const root = new URL("../../", import.meta.url);
  const read = (name: string) => Deno.readTextFile(new URL(name, root));
  if (tag === undefined) {
    console.error("usage: check_release.ts TAG [URL]");
    Deno.exit(2);
  }
  try {
    const { version } = JSON.parse(await read("deno.json"));
    console.log(releaseText({ tag, version, changelog: await read("CHANGELOG.md"), url }));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
