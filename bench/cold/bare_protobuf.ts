import "@bufbuild/protobuf";
import { exchange } from "./prepared.ts";

await exchange();
