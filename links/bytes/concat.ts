/**
 * Stands in for `@std/bytes/concat` where JSR cannot be reached.
 *
 * @module
 */

/**
 * Joins byte arrays.
 *
 * @param buffers The arrays, in order.
 * @returns A new array with the bytes of all.
 */
export function concat(buffers: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(buffers.reduce((length, buffer) => length + buffer.length, 0));
  let at = 0;
  for (const buffer of buffers) {
    joined.set(buffer, at);
    at += buffer.length;
  }
  return joined;
}
