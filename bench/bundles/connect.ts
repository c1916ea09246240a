// A client of Connect over HTTP/2.

export { createClient } from "npm:@connectrpc/connect@2.2.0";
export { createConnectTransport } from "npm:@connectrpc/connect-node@2.2.0";
export { Greeter } from "../../gen/greeter/v1/greeter_pb.ts";
