import { exchange } from "./prepared.ts";

await exchange();
