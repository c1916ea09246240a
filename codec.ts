/**
 * What turns messages into bytes and back.
 *
 * The engine knows no protobuf: to it a message is what a codec encodes and decodes. `protobuf.ts`
 * adds protobuf-es; a program that brings its own codecs imports `@ttrpc/ttrpc/core`, and does not
 * load protobuf-es.
 *
 * @module
 */

import type * as protobuf from "@bufbuild/protobuf";

/**
 * The schema of a message, as protobuf-es generates it.
 *
 * @category Generated code
 */
export type DescMessage = protobuf.DescMessage;

/**
 * The descriptor of a service, as protobuf-es generates it.
 *
 * @category Generated code
 */
export type DescService = protobuf.DescService;

// The documentation of protobuf-es has these two, under the same names.

/**
 * A message of a schema, as it is received.
 *
 * @ignore
 */
export type MessageShape<Desc extends DescMessage> = protobuf.MessageShape<Desc>;

/**
 * What a message of a schema can be made of: the message, or an object with some of its fields.
 *
 * @ignore
 */
export type MessageInitShape<Desc extends DescMessage> = protobuf.MessageInitShape<Desc>;

/**
 * Encodes and decodes the messages of one type.
 *
 * @category Codecs
 * @typeParam Message What is received.
 * @typeParam Init What may be sent: a message, or something to make one of.
 */
export interface Codec<Message, Init = Message> {
  /**
   * Encodes a message.
   *
   * @param message The message, or what it is made of.
   * @returns Its bytes, which are not changed afterwards. They may be sent without being copied.
   */
  encode(message: Init): Uint8Array;
  /**
   * Decodes a message.
   *
   * @param bytes An encoded message. The bytes are never overwritten, so the message may refer to
   * them. They are a part of a larger buffer: a read buffer of up to 32 KiB with other messages in
   * it, or that of one long frame. All of it stays in memory as long as anything refers to it, so
   * copy a few bytes that may be kept for long. (Codecs of protobuf-es do: a field of bytes keeps at
   * most eight times its length in memory, and 1 KiB. Other fields may be in the same buffer, so
   * transfer a copy to a worker, not the buffer.)
   * @returns The message.
   */
  decode(bytes: Uint8Array): Message;
  /**
   * About how many bytes of memory a message takes while it is decoded and after that, with the bytes
   * that it came in. It is asked for before `decode`, with the same bytes; a message that takes more
   * than `limits.decodeFactor` allows is refused with `RESOURCE_EXHAUSTED` instead of being decoded.
   * A codec without it is taken to make messages that are as large as their bytes.
   *
   * Codecs of protobuf-es count what the bytes will become. They also count the time that it takes,
   * and return `Infinity` for a message that would hold the event loop for too long: about 60 ms, or
   * as much longer as `most` is larger than 80 MiB.
   *
   * @param bytes An encoded message, or anything else that a peer has sent: what is wrong with it is
   * for `decode` to say.
   * @param most The most that is allowed, in bytes. Counting may end there.
   * @returns The memory in bytes; any number over `most` if it is more than that.
   */
  cost?(bytes: Uint8Array, most: number): number;
  /**
   * Whether `encode` gives away the bytes that it returns: they have a buffer of their own, to which
   * it keeps no reference. That of a long message is detached, and its memory freed, as soon as it
   * is sent; where the buffer has room before the bytes (100 bytes do for most methods), the header
   * is written there, which saves a write. `false` by default.
   */
  readonly transfers?: boolean | undefined;
}

/**
 * Leaves bytes as they are: for proxies and tools that do not look into messages. What is received
 * is never overwritten, but a part of a larger buffer, which stays in memory as long as the message
 * does: keep `bytes.slice()`. What is sent is not to be changed any more.
 *
 * @category Codecs
 */
export const bytesCodec: Codec<Uint8Array> = {
  encode: (bytes) => bytes,
  decode: (bytes) => bytes,
};

type SchemaCodec = <Desc extends DescMessage>(
  schema: Desc,
) => Codec<MessageShape<Desc>, MessageInitShape<Desc>>;

let provided: SchemaCodec | undefined;

/**
 * Says how messages of protobuf-es are encoded. Called once, by `protobuf.ts`.
 *
 * @param codec Makes the codec of a schema.
 */
export function provideSchemaCodec(codec: SchemaCodec): void {
  provided = codec;
}

/**
 * The codec of a protobuf-es schema.
 *
 * @param schema The message's schema.
 * @returns Its codec.
 * @throws {TypeError} If protobuf-es is not there, because only the core was imported.
 */
export function schemaCodec<Desc extends DescMessage>(
  schema: Desc,
): Codec<MessageShape<Desc>, MessageInitShape<Desc>> {
  if (!provided) {
    throw new TypeError(
      `Cannot encode or decode ${schema.typeName}: "@ttrpc/ttrpc/core" has no protobuf, ` +
        `import "@ttrpc/ttrpc"`,
    );
  }
  return provided(schema);
}
