/**
 * `ttrpc list` and `ttrpc describe`: print the services, methods and messages of a schema.
 *
 * @module
 */

import type { DescEnum, DescField, DescMessage, DescMethod, DescService } from "@bufbuild/protobuf";
import { type Commented, commentOf } from "./comments.ts";
import { usage } from "./failure.ts";
import { didYouMean } from "./names.ts";
import { needSchema, type Schema, type SchemaOptions, servicesOf } from "./schema.ts";
import { typeNameOf } from "./types.ts";
import type { Terminal } from "./terminal.ts";

/** The options of `ttrpc list`. */
export interface ListOptions extends SchemaOptions {
  /** Whether to print JSON. */
  readonly json?: boolean;
}

/**
 * Lists services, or the methods of one.
 *
 * @param terminal Where to print.
 * @param name A service; `undefined` for all of them.
 * @param options The schema.
 * @throws {Failure} If there is no schema, or no such service.
 */
export async function list(
  { out }: Terminal,
  name: string | undefined,
  options: ListOptions,
): Promise<void> {
  const schema = await needSchema(options, "Cannot list services");
  const services = name === undefined ? servicesOf(schema) : [findService(schema, name)];
  if (options.json) {
    for (const service of services) {
      const methods = service.methods.map((method) => ({
        name: method.name,
        kind: method.methodKind,
        input: method.input.typeName,
        output: method.output.typeName,
      }));
      out.json({ service: service.typeName, methods });
    }
    return;
  }
  if (services.length === 0) throw usage("Cannot list services: the schema has none");
  for (const service of services) {
    out.line`${out.paint("bold", service.typeName)}`;
    const width = Math.max(...service.methods.map(({ name }) => name.length));
    for (const method of service.methods) {
      out.line`  ${method.name.padEnd(width)}  ${signature(method)}`;
    }
  }
}

/** The options of `ttrpc describe`. */
export interface DescribeOptions extends SchemaOptions {
  /** Whether to print an example message as JSON instead. */
  readonly template?: boolean;
}

/**
 * Describes a service, a method, a message or an enum.
 *
 * @param terminal Where to print.
 * @param name The name; `undefined` for all services.
 * @param options The schema.
 * @throws {Failure} If there is no schema, or nothing with that name.
 */
export async function describe(
  { out }: Terminal,
  name: string | undefined,
  options: DescribeOptions,
): Promise<void> {
  const schema = await needSchema(options, "Cannot describe anything");
  const found = name === undefined ? servicesOf(schema) : [find(schema, name)];
  if (options.template) {
    const { templateOf } = await import("./template.ts");
    for (const each of found) {
      if (each.kind !== "rpc" && each.kind !== "message") {
        throw usage(
          `Cannot make an example of ${name ?? "a service"}; name a method or a message`,
        );
      }
      const message = each.kind === "rpc" ? each.input : each;
      out.json(templateOf(message), 2);
    }
    return;
  }
  for (const [at, each] of found.entries()) {
    if (at > 0) out.line``;
    for (const line of linesOf(each)) out.line`${line}`;
  }
}

type Described = DescService | DescMethod | DescMessage | DescEnum;

/** Finds `pkg.Type`, `pkg.Service/Method` or `pkg.Service.Method`. */
function find({ registry }: Schema, name: string): Described {
  const bare = name.replace(/^[/.]/, "");
  const type = registry.get(bare);
  if (type && type.kind !== "extension") return type;
  const at = Math.max(0, bare.lastIndexOf("/"), bare.lastIndexOf("."));
  const last = bare.slice(at + 1);
  const method = registry.getService(bare.slice(0, at))?.methods.find(({ name }) => name === last);
  if (method) return method;
  const names = Array.from(registry).filter(({ kind }) => kind !== "extension")
    .flatMap((each) => [
      each.typeName,
      ...each.kind === "service" ? each.methods.map(({ name }) => `${each.typeName}/${name}`) : [],
    ]);
  throw usage(`Cannot find ${name} in the schema${didYouMean(bare, names) || "; see ttrpc list"}`);
}

function findService(schema: Schema, name: string): DescService {
  const service = schema.registry.getService(name);
  if (service) return service;
  const names = servicesOf(schema).map(({ typeName }) => typeName);
  throw usage(
    `Cannot find service ${name} in the schema` +
      (didYouMean(name, names) || `; it has ${names.join(", ") || "no services"}`),
  );
}

function linesOf(described: Described): string[] {
  if (described.kind === "service") return serviceLines(described);
  if (described.kind === "rpc") return methodLines(described);
  return described.kind === "message" ? messageLines(described) : enumLines(described);
}

/** The signature of a method, as in a .proto file. */
export function signature({ input, output, methodKind }: DescMethod): string {
  const many = (streams: boolean, { typeName }: DescMessage) =>
    `(${streams ? "stream " : ""}${typeName})`;
  const requests = methodKind === "client_streaming" || methodKind === "bidi_streaming";
  const responses = methodKind === "server_streaming" || methodKind === "bidi_streaming";
  return `${many(requests, input)} returns ${many(responses, output)}`;
}

function serviceLines(service: DescService): string[] {
  return block(
    service,
    `service ${service.typeName}`,
    service.methods.map((method) => [
      ...comment(method),
      `rpc ${method.name}${signature(method)};`,
    ]),
  );
}

function methodLines(method: DescMethod): string[] {
  const types = new Set([method.input, method.output]);
  return [
    `// ${method.parent.typeName}/${method.name}, ${method.methodKind.replaceAll("_", " ")}`,
    ...comment(method),
    `rpc ${method.name}${signature(method)};`,
    ...Array.from(types).flatMap((type) => ["", ...messageLines(type)]),
  ];
}

function messageLines(message: DescMessage): string[] {
  const members = message.members.map((member) => {
    if (member.kind === "field") return fieldLines(member);
    const fields = member.fields.flatMap(fieldLines);
    return [`oneof ${member.name} {`, ...fields.map((line) => `  ${line}`), "}"];
  });
  return block(message, `message ${message.typeName}`, members);
}

function fieldLines(field: DescField): string[] {
  const optional = field.proto.proto3Optional ? "optional " : "";
  const deprecated = field.deprecated ? " [deprecated = true]" : "";
  const type = typeNameOf(field);
  return [...comment(field), `${optional}${type} ${field.name} = ${field.number}${deprecated};`];
}

function enumLines(desc: DescEnum): string[] {
  return block(
    desc,
    `enum ${desc.typeName}`,
    desc.values.map((value) => [...comment(value), `${value.name} = ${value.number};`]),
  );
}

function block(desc: Commented, head: string, members: string[][]): string[] {
  if (members.length === 0) return [...comment(desc), `${head} {}`];
  const lines = members.flat().map((line) => line === "" ? "" : `  ${line}`);
  return [...comment(desc), `${head} {`, ...lines, "}"];
}

function comment(desc: Commented): string[] {
  return commentOf(desc).map((line) => `// ${line}`.trimEnd());
}
