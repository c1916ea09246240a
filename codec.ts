/**
 * Codecs, which encode and decode the messages of a type.
 *
 * The engine does not depend on protobuf: it uses codecs only. `protobuf.ts` adds those of
 * protobuf-es; a program with its own codecs imports `@ttrpc/ttrpc/core`, which does not load
 * protobuf-es.
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

// These two are documented by protobuf-es, under the same names.

/**
 * A message of a schema, as it is received.
 *
 * @ignore
 */
export type MessageShape<Desc extends DescMessage> = protobuf.MessageShape<Desc>;

/**
 * What a message of a schema can be created from: a message, or an object with some of its fields.
 *
 * @ignore
 */
export type MessageInitShape<Desc extends DescMessage> = protobuf.MessageInitShape<Desc>;

/**
 * Encodes and decodes the messages of one type.
 *
 * @category Codecs
 * @typeParam Message The type of decoded messages.
 * @typeParam Init The type that can be encoded: a message, or what one can be created from.
 */
export interface Codec<Message, Init = Message> {
  /**
   * Encodes a message.
   *
   * @param message The message, or what it is created from.
   * @returns The encoded message. It must not change afterwards: it may be sent without being
   * copied.
   */
  encode(message: Init): Uint8Array;
  /**
   * Decodes a message.
   *
   * @param bytes An encoded message. The bytes are never overwritten, so the message may refer to
   * them. They are part of a larger buffer: a read buffer of up to 32 KiB with other messages in
   * it, or the buffer of one long frame. All of it stays in memory as long as anything refers to
   * it, so copy small parts that may be kept for long. (protobuf-es's codecs do: a field of bytes
   * keeps at most 1 KiB and eight times its length in memory. Its buffer may contain other fields,
   * so transfer a copy to a worker, not the buffer.)
   * @returns The message. An error that is thrown instead fails the call.
   */
  decode(bytes: Uint8Array): Message;
  /**
   * Estimates how many bytes of memory a message takes while it is decoded and after that,
   * including its encoded bytes. Called before `decode`, with the same bytes; a message that takes
   * more than `limits.decodeFactor` allows is refused with `RESOURCE_EXHAUSTED` instead of being
   * decoded. Without this method, a message is assumed to take as much memory as its encoded bytes.
   *
   * protobuf-es's codecs also estimate the time, and return `Infinity` for a message that would
   * block the event loop for too long: about 60 ms, or in proportion longer where `most` is larger
   * than 80 MiB.
   *
   * @param bytes An encoded message, or anything else that a peer has sent: leave it to `decode` to
   * report malformed bytes.
   * @param most The most memory that is allowed, in bytes. Counting may stop there.
   * @returns The memory in bytes; any number above `most` if it is more than that.
   */
  cost?(bytes: Uint8Array, most: number): number;
  /**
   * Whether `encode` gives up the bytes that it returns: nothing else is in their buffer, and the
   * codec keeps no reference to it. The buffer of a long message is then detached, which frees its
   * memory, as soon as the message is sent; where the buffer has free space before the bytes (100
   * bytes are enough for most methods), the header is written there, which saves a write. `false`
   * by default.
   */
  readonly transfers?: boolean | undefined;
}

/**
 * Leaves bytes unchanged, for proxies and tools that do not decode messages. Received bytes are
 * never overwritten, but are part of a larger buffer, which stays in memory as long as they do: to
 * keep them for long, copy them with `bytes.slice()`. Do not change bytes that you have sent.
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
 * Sets how messages of protobuf-es are encoded and decoded. Called once, by `protobuf.ts`.
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
 * @throws {TypeError} If protobuf-es is not loaded, because only the core was imported.
 */
export function schemaCodec<Desc extends DescMessage>(
  schema: Desc,
): Codec<MessageShape<Desc>, MessageInitShape<Desc>> {
  if (!provided) {
    throw new TypeError(
      `Cannot encode or decode ${schema.typeName}: ` +
        `"@ttrpc/ttrpc/core" does not load protobuf-es, import "@ttrpc/ttrpc"`,
    );
  }
  return provided(schema);
}
