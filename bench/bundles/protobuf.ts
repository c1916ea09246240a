// The part of protobuf-es that a generated service uses.

export { create, fromBinary, toBinary } from "@bufbuild/protobuf";
export { Greeter } from "../../gen/greeter/v1/greeter_pb.ts";
