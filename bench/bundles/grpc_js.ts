// A client of gRPC.

export { create, fromBinary, toBinary } from "@bufbuild/protobuf";
export { Client, credentials } from "npm:@grpc/grpc-js@1.14.7";
export { Greeter } from "../../gen/greeter/v1/greeter_pb.ts";
