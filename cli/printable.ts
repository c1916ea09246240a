/**
 * Text that others have written, made fit to print: it cannot move the cursor, set colours or the
 * title of a terminal, turn the direction of what stands beside it, or begin a line.
 *
 * @module
 */

// C0, DEL and C1; what turns the direction of text; the ends of lines and paragraphs.
const UNPRINTABLE = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

// Of C0, JSON.stringify() has left only the ends of its own lines.
const UNPRINTABLE_IN_JSON = /[\x7f-\x9f\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

const NAMES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Escapes what a terminal would act on. All else stays as it is, backslashes too.
 *
 * @param text Whatever somebody has sent, or written to a file.
 * @returns The text, with `\n`, `\x1b` or `\u202e` where there was such a character.
 */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, (character) => {
    const code = character.charCodeAt(0);
    return NAMES[character] ?? (code < 0x100 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`);
  });
}

/**
 * A value as JSON that can be printed. What a terminal would act on is escaped as JSON does it, so
 * that the value stays the same.
 *
 * @param value The value.
 * @param indent How far to indent what is inside of it; all is on one line without.
 */
export function printableJson(value: unknown, indent?: number): string {
  const json = JSON.stringify(value, null, indent);
  return json.replaceAll(UNPRINTABLE_IN_JSON, (text) => `\\u${hex(text.charCodeAt(0), 4)}`);
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}

/** A detail of a status whose type nobody knows. */
export function rawDetail({ typeUrl, value }: { typeUrl: string; value: Uint8Array }): string {
  return `detail ${printableJson({ "@type": typeUrl, value: value.toBase64() })}`;
}
