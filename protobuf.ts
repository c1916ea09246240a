/**
 * Adds protobuf-es to the engine: the codecs of its schemas.
 *
 * @module
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { provideSchemaCodec } from "./codec.ts";

provideSchemaCodec((schema) => ({
  encode: (message) => toBinary(schema, create(schema, message)),
  decode: (bytes) => fromBinary(schema, bytes),
  transfers: true,
}));
