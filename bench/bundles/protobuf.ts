// What a generated service takes of protobuf-es.

export { create, fromBinary, toBinary } from "@bufbuild/protobuf";
export { Greeter } from "../../gen/greeter/v1/greeter_pb.ts";
