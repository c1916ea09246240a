import { create } from "@bufbuild/protobuf";
import { anyPack, DurationSchema, StringValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, RpcError } from "@ttrpc/ttrpc";
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { abortStatus, codeName, statusError } from "../status.ts";
import { TestBed } from "./fixture.ts";

Deno.test("Code has gRPC's names and numbers", () => {
  const names =
    "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS " +
    "PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED " +
    "INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED";
  equal(Array.from({ length: 17 }, (_, code) => Code[code]).join(" "), names);
});

Deno.test("RpcError names the method and the code in its message", () => {
  const method = "pkg.Service/Method";
  equal(
    new RpcError(Code.NOT_FOUND, "no such task", { method }).message,
    "pkg.Service/Method: NOT_FOUND: no such task",
  );
  equal(new RpcError(Code.NOT_FOUND, "no such task").message, "NOT_FOUND: no such task");
  equal(new RpcError(Code.NOT_FOUND, "").message, "NOT_FOUND");
  equal(new RpcError(99 as Code, "new").message, "CODE_99: new");
});

Deno.test("RpcError keeps what it was made of", () => {
  const cause = new Error("why");
  const details = [{ typeUrl: "x/Y", value: new Uint8Array([1]) }];
  const error = new RpcError(Code.ABORTED, "text", { details, cause, method: "s/m" });
  equal(error.name, "RpcError");
  equal(error.code, Code.ABORTED);
  equal(error.rawMessage, "text");
  equal(error.cause, cause);
  equal(error.method, "s/m");
  deepEqual(error.details, details);
  equal("cause" in new RpcError(Code.ABORTED, "text"), false);
});

Deno.test("RpcError cannot be made of OK or of what is no code", () => {
  for (const code of [0, NaN, 1.5, 2 ** 40]) {
    throws(() => new RpcError(code as Code, "fine"), RangeError);
  }
});

Deno.test("instanceof RpcError holds for another copy of the module", async () => {
  const other: { RpcError: typeof RpcError } = await import(
    `data:text/javascript,${
      encodeURIComponent(`
        export class RpcError extends Error {
          constructor() {
            super("foreign");
            Object.defineProperty(this, Symbol.for("@ttrpc/ttrpc/RpcError"), { value: true });
          }
        }`)
    }`
  );
  ok(new other.RpcError(Code.ABORTED, "") instanceof RpcError);
  for (const value of [new Error("plain"), null, undefined, 1, {}, "RpcError"]) {
    equal((value as unknown) instanceof RpcError, false);
  }
});

Deno.test("RpcError.findDetails() decodes the details of one type, in order", () => {
  const error = new RpcError(Code.UNAVAILABLE, "later", {
    details: [
      anyPack(DurationSchema, create(DurationSchema, { seconds: 1n })),
      anyPack(StringValueSchema, create(StringValueSchema, { value: "x" })),
      anyPack(DurationSchema, create(DurationSchema, { seconds: 2n })),
      { typeUrl: "type.googleapis.com/google.protobuf.Duration", value: new Uint8Array([8]) },
      { typeUrl: "google.protobuf.Duration", value: new Uint8Array([8, 3]) },
    ],
  });
  deepEqual(error.findDetails(DurationSchema).map(({ seconds }) => seconds), [1n, 2n, 3n]);
  deepEqual(error.findDetails(StringValueSchema).map(({ value }) => value), ["x"]);
});

Deno.test("RpcError.from() keeps a status and makes UNKNOWN of anything else", () => {
  const error = new RpcError(Code.ABORTED, "a");
  equal(RpcError.from(error), error);
  const plain = new TypeError("bad");
  const made = RpcError.from(plain);
  deepEqual([made.message, made.cause], ["UNKNOWN: bad", plain]);
  equal(RpcError.from("text").rawMessage, "text");
  equal(
    RpcError.from(Object.create(null)).rawMessage,
    "a value was thrown that cannot be converted to a string",
  );
});

Deno.test("RpcError refuses details that are none", () => {
  for (const details of [[null], [{}], [{ typeUrl: 5, value: new Uint8Array(0) }]]) {
    throws(() => new RpcError(Code.ABORTED, "x", { details: details as [] }), TypeError);
  }
  equal(new RpcError(Code.ABORTED, 42 as unknown as string).rawMessage, "42");
});

Deno.test("codeName() names unknown codes by their number", () => {
  equal(codeName(5), "NOT_FOUND");
  equal(codeName(-3), "CODE_-3");
});

Deno.test("abortStatus() tells a timeout from any other abort", () => {
  const error = (signal: AbortSignal, method?: string) => statusError(abortStatus(signal), method);
  const timeout = AbortSignal.abort(new DOMException("too slow", "TimeoutError"));
  equal(error(timeout).message, "DEADLINE_EXCEEDED: too slow");
  equal(error(AbortSignal.abort()).message, "CANCELLED: the caller gave up");
  const reason = new Error("changed my mind");
  const { message, cause } = error(AbortSignal.abort(reason), "s/m");
  equal(message, "s/m: CANCELLED: the caller gave up: changed my mind");
  equal(cause, reason);
  equal(error(AbortSignal.abort("text")).rawMessage, "the caller gave up: text");
});

class NotFound extends RpcError {
  readonly what: string;
  constructor(what: string) {
    super(Code.NOT_FOUND, `no such ${what}`);
    this.what = what;
  }
}

class TaskNotFound extends NotFound {
  constructor() {
    super("task");
  }
}

Deno.test("instanceof a subclass of RpcError holds for its own instances only", () => {
  const error = new RpcError(Code.NOT_FOUND, "no such task");
  const notFound = new NotFound("disk");
  const taskNotFound = new TaskNotFound();
  const other = class extends RpcError {};
  const classes = [RpcError, NotFound, TaskNotFound, other, Error];
  const isOf = (value: unknown) => classes.map((each) => value instanceof each);
  deepEqual(isOf(error), [true, false, false, false, true]);
  deepEqual(isOf(notFound), [true, true, false, false, true]);
  deepEqual(isOf(taskNotFound), [true, true, true, false, true]);
  deepEqual(isOf(new other(Code.ABORTED, "")), [true, false, false, true, true]);
  for (const value of [new Error("plain"), null, undefined, 1, "x", {}, NotFound]) {
    deepEqual(isOf(value).slice(0, 4), [false, false, false, false]);
  }
});

Deno.test("an RpcError of another copy of the module is no instance of this copy's subclasses", async () => {
  const { href } = new URL("../status.ts", import.meta.url);
  const copy: typeof import("../status.ts") = await import(`${href}?copy`);
  const foreign = new copy.RpcError(Code.NOT_FOUND, "no such task");
  equal(copy.RpcError === RpcError, false);
  ok(foreign instanceof RpcError);
  equal(foreign instanceof NotFound, false);
  class ForeignNotFound extends copy.RpcError {}
  const theirs = new ForeignNotFound(Code.NOT_FOUND, "");
  ok(theirs instanceof RpcError);
  ok(theirs instanceof copy.RpcError);
  ok(theirs instanceof ForeignNotFound);
  ok(new NotFound("task") instanceof copy.RpcError);
  equal(new NotFound("task") instanceof ForeignNotFound, false);
});

Deno.test("a subclass of RpcError travels as what it is made of", async () => {
  const thrown = new TaskNotFound();
  await using bed = new TestBed({
    nothing: () => {
      throw thrown;
    },
  });
  const got = await (await bed.service()).nothing({}).catch((error) => error);
  ok(got instanceof RpcError);
  equal(got instanceof NotFound, false); // that class is the server's
  deepEqual([got.code, got.rawMessage], [Code.NOT_FOUND, "no such task"]);
  const near = await bed.service({
    interceptors: [() => () => {
      throw thrown;
    }],
  });
  equal(await near.nothing({}).catch((error) => error), thrown);
  equal(RpcError.from(thrown), thrown);
});

/** An error with all that one can have. */
function full(): RpcError {
  return new RpcError(Code.NOT_FOUND, "no such task", {
    details: [{ typeUrl: "x/Y", value: new Uint8Array([0, 1, 0xff]) }],
    method: "s/m",
    cause: () => "what cannot be cloned",
  });
}

Deno.test("an RpcError says as JSON what it is", () => {
  deepEqual(JSON.parse(JSON.stringify({ error: full() })).error, {
    name: "RpcError",
    message: "s/m: NOT_FOUND: no such task",
    code: 5,
    rawMessage: "no such task",
    details: [{ typeUrl: "x/Y", value: "AAH/" }],
    method: "s/m",
  });
  equal("method" in new RpcError(Code.ABORTED, "").toJSON(), false);
});

Deno.test("an RpcError shows its code, its details and its method in a console", () => {
  const text = Deno.inspect(full(), { colors: false });
  match(text, /^RpcError: s\/m: NOT_FOUND: no such task\n/);
  match(text, /code: 5/);
  match(text, /method: "s\/m"/);
  match(text, /typeUrl: "x\/Y"/);
});

Deno.test("RpcError.fromJSON() makes an error again of what was cloned, posted or parsed", async () => {
  const error = full();
  const { port1, port2 } = new MessageChannel();
  const posted = new Promise<MessageEvent>((resolve) => port2.onmessage = resolve);
  port1.postMessage(error.toJSON());
  const copies = [
    structuredClone(error.toJSON()),
    (await posted).data,
    JSON.parse(JSON.stringify(error)),
  ];
  port1.close();
  port2.close();
  for (const copy of copies) {
    const again = RpcError.fromJSON(copy);
    ok(again instanceof RpcError);
    equal(again.message, error.message);
    deepEqual(again.toJSON(), error.toJSON());
    deepEqual(again.details, error.details);
  }
  equal(RpcError.fromJSON(new RpcError(Code.ABORTED, "").toJSON()).method, undefined);
});

Deno.test("what structuredClone() makes of an RpcError has its message, and no code", () => {
  const clone = structuredClone(new RpcError(Code.NOT_FOUND, "no such task", { method: "s/m" }));
  equal(clone.message, "s/m: NOT_FOUND: no such task");
  equal(clone instanceof RpcError, false);
  equal(clone.code, undefined); // should this ever fail, the documentation has to be changed
});

Deno.test("RpcError.fromJSON() refuses what is something else", () => {
  const json = full().toJSON();
  const wrong = [
    undefined,
    null,
    "text",
    {},
    structuredClone(new RpcError(Code.ABORTED, "")),
    { ...json, rawMessage: 5 },
    { ...json, method: 5 },
    { ...json, details: undefined },
    { ...json, details: [null] },
    { ...json, details: [{ typeUrl: 5, value: "" }] },
    { ...json, details: [{ typeUrl: "x", value: "?" }] },
  ];
  for (const each of wrong) throws(() => RpcError.fromJSON(each as never), TypeError);
  throws(() => RpcError.fromJSON({ ...json, code: 0 }), RangeError);
});
