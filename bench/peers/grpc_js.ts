import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  Client,
  credentials,
  type handleUnaryCall,
  Server,
  ServerCredentials,
} from "npm:@grpc/grpc-js@1.14.7";
import { Buffer } from "node:buffer";
import {
  type EchoRequest,
  EchoRequestSchema,
  type EchoResponse,
  EchoResponseSchema,
} from "../../gen/ttrpc/test/v1/test_pb.ts";
import { callLoad, check, payloadOf, runPeer } from "./peer.ts";

// The same codec as ours has, so that the difference is the RPC's.
const echo = {
  path: "/ttrpc.test.v1.TestService/Echo",
  requestStream: false,
  responseStream: false,
  requestSerialize: (message: EchoRequest) => bufferOf(toBinary(EchoRequestSchema, message)),
  requestDeserialize: (bytes: Uint8Array) => fromBinary(EchoRequestSchema, bytes),
  responseSerialize: (message: EchoResponse) => bufferOf(toBinary(EchoResponseSchema, message)),
  responseDeserialize: (bytes: Uint8Array) => fromBinary(EchoResponseSchema, bytes),
} as const;

const answer: handleUnaryCall<EchoRequest, EchoResponse> = ({ request }, callback) =>
  callback(null, create(EchoResponseSchema, { payload: request.payload }));

await runPeer({
  serve(path) {
    const server = new Server();
    server.addService({ echo }, { echo: answer });
    return new Promise((resolve, reject) =>
      server.bindAsync(
        `unix:${path}`,
        ServerCredentials.createInsecure(),
        (error) => error ? reject(error) : resolve(),
      )
    );
  },

  connect(path, plan) {
    const client = new Client(`unix:${path}`, credentials.createInsecure());
    const payload = payloadOf(plan);
    return callLoad(plan, () =>
      new Promise((resolve, reject) =>
        client.makeUnaryRequest(
          echo.path,
          echo.requestSerialize,
          echo.responseDeserialize,
          create(EchoRequestSchema, { payload }),
          (error, response) => {
            if (error) return reject(error);
            check(response?.payload, plan);
            resolve();
          },
        )
      ));
  },
});

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
