/**
 * Escapes text from peers and files, so that it cannot control the terminal: move the cursor, set
 * colours or the title, change the direction of the text around it, or start a new line.
 *
 * @module
 */

// C0, DEL and C1; characters that change the direction of text; line and paragraph separators.
const UNPRINTABLE = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

// JSON.stringify() has escaped C0, except for the line breaks of its indentation.
const UNPRINTABLE_IN_JSON = /[\x7f-\x9f\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

const NAMES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Escapes the characters that a terminal would act on. All others stay, backslashes too.
 *
 * @param text Any text.
 * @returns The text, with `\n`, `\x1b` or `\u202e` in place of such characters.
 */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, (character) => {
    const code = character.charCodeAt(0);
    return NAMES[character] ?? (code < 0x100 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`);
  });
}

/**
 * A value as JSON that can be printed. Characters that a terminal would act on are escaped as in
 * JSON, so that the value stays the same.
 *
 * @param value The value.
 * @param indent The number of spaces to indent with; without it, the JSON is one line.
 * @returns The JSON.
 */
export function printableJson(value: unknown, indent?: number): string {
  const json = JSON.stringify(value, null, indent);
  return json.replaceAll(UNPRINTABLE_IN_JSON, (text) => `\\u${hex(text.charCodeAt(0), 4)}`);
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}

/** A status detail of unknown type, as a line. */
export function rawDetail({ typeUrl, value }: { typeUrl: string; value: Uint8Array }): string {
  return `detail ${printableJson({ "@type": typeUrl, value: value.toBase64() })}`;
}
