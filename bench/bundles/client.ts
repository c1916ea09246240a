// A client with a generated service.

export { connect } from "@ttrpc/ttrpc";
export { Greeter } from "../../gen/greeter/v1/greeter_pb.ts";
