// What the compiler must accept of generated services, and that it is what it accepts of the
// services of protoc-gen-es. `deno test` and `deno check` compile this; there is little to run.

import type {
  CallOptions,
  Client,
  HandlerContext,
  Messages,
  MessageStream,
  Router,
  ServiceClient,
  ServiceHandlers,
} from "@ttrpc/ttrpc";
import type { MessageInitShape } from "@ttrpc/ttrpc/types";
import { equal } from "node:assert/strict";
import type { Greeter as BareCollisions } from "./gen/collisions_pb.ts";
import type {
  Greeter as Collisions,
  GreeterClient as GreeterClientMessage,
  GreeterClient$,
} from "./gen/collisions_ttrpc.ts";
import type { Empty as BareEmpty } from "./gen/empty_pb.ts";
import type { Empty } from "./gen/empty_ttrpc.ts";
import { Kinds as BareKinds } from "./gen/kinds_pb.ts";
import { Kinds, type KindsClient, type KindsHandlers, type Number } from "./gen/kinds_ttrpc.ts";
import type { NumberSchema } from "./gen/kinds_ttrpc.ts";
import type { Methods as BareMethods } from "./gen/methods_pb.ts";
import type { Methods, MethodsClient } from "./gen/methods_ttrpc.ts";
import type { Shop as BareShop } from "./gen/shop/v1/shop_pb.ts";
import type { Money, Money$, Shop, ShopClient } from "./gen/shop/v1/shop_ttrpc.ts";
import { Currency, PurseSchema } from "./gen/shop/v1/shop_ttrpc.ts";
import type { WellKnown as BareWellKnown } from "./gen/well_known_pb.ts";
import type { WellKnown } from "./gen/well_known_ttrpc.ts";

/** Fails to compile unless the two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

function same<A, B>(..._proof: Same<A, B> extends true ? [] : [never]): void {}

/** The methods one by one: the types of the parameters and of the result. */
type Calls<Service> = {
  [Name in keyof Service]: Service[Name] extends (...args: infer Args) => infer Result
    ? { args: Args; result: Result }
    : never;
};

/** Fails to compile unless calls and handlers of two services have the same types. */
function alike<A extends Bound, B extends Bound>(
  ..._proof: [
    Same<Calls<ServiceClient<A>>, Calls<ServiceClient<B>>>,
    Same<Calls<ServiceHandlers<A>>, Calls<ServiceHandlers<B>>>,
  ] extends [true, true] ? [] : [never]
): void {}

type Bound = Parameters<Client["service"]>[0];

Deno.test("a generated service has the types of the service that it is made of", () => {
  alike<typeof Kinds, typeof BareKinds>();
  alike<typeof Methods, typeof BareMethods>();
  alike<typeof Shop, typeof BareShop>();
  alike<typeof Collisions, typeof BareCollisions>();
  alike<typeof WellKnown, typeof BareWellKnown>();
  alike<typeof Empty, typeof BareEmpty>();
  // @ts-expect-error these are different
  alike<typeof Kinds, typeof BareShop>();
  const interchangeable = (
    typed: ServiceClient<typeof Kinds>,
    bare: ServiceClient<typeof BareKinds>,
  ): [ServiceClient<typeof BareKinds>, ServiceClient<typeof Kinds>] => [typed, bare];
  equal(typeof interchangeable, "function");
  equal<unknown>(Kinds, BareKinds);
});

Deno.test("clients and handlers of a generated service are its interfaces", () => {
  same<ServiceClient<typeof Kinds>, KindsClient>();
  same<ServiceHandlers<typeof Kinds>, KindsHandlers>();
  type Init = MessageInitShape<typeof NumberSchema>;
  same<Parameters<KindsClient["unary"]>, [request: Init, options?: CallOptions | undefined]>();
  same<
    Parameters<KindsClient["up"]>,
    [requests: Messages<Init>, options?: CallOptions | undefined]
  >();
  same<ReturnType<KindsClient["unary"]>, Promise<Number>>();
  same<ReturnType<KindsClient["down"]>, MessageStream<Number>>();
  same<ReturnType<KindsClient["up"]>, Promise<Number>>();
  same<ReturnType<KindsClient["both"]>, MessageStream<Number>>();
  same<Parameters<KindsHandlers["both"]>[0], MessageStream<Number>>();
  same<Parameters<KindsHandlers["both"]>[1], HandlerContext>();
  same<ReturnType<KindsHandlers["unary"]>, Init | Promise<Init>>();
  same<ReturnType<KindsHandlers["both"]>, Messages<Init>>();
});

Deno.test("a client of a generated service is an object of handlers", () => {
  const proxy = (client: KindsClient): KindsHandlers => client;
  const route = (router: Router, client: Client) => router.service(Kinds, client.service(Kinds));
  const mixed = (router: Router, client: Client) =>
    router.service(Kinds, client.service(BareKinds)).service(BareKinds, client.service(Kinds));
  equal([proxy, route, mixed].length, 3);
});

Deno.test("types are inferred where a generated service is used, and mistakes are found", () => {
  const serve = (router: Router) => [
    router.service(Kinds, {
      unary: ({ value, unit }, { signal }) => ({ value: signal.aborted ? 0 : value, unit: unit! }),
      down: function* ({ value }) {
        yield { value };
      },
      up: async (requests) => (await Array.fromAsync(requests))[0]!,
      async *both(requests) {
        for await (const { value } of requests) yield { value };
      },
      old: (request) => request,
      aNameThatIsSoLongThatNoLineOfEightyColumnsHasRoomForItAndItsTypes: () => ({}),
    }),
    // @ts-expect-error most methods are missing
    router.service(Kinds, { unary: () => ({}) }),
  ];
  const wrong: Partial<KindsHandlers>[] = [
    // @ts-expect-error there is no such field
    { unary: () => ({ valeu: 1 }) },
    // @ts-expect-error a stream is not one message
    { unary: () => [{ value: 1 }] },
    // @ts-expect-error a handler may not want more than it gets
    { unary: (request: Number & { more: string }) => request },
  ];
  const use = (kinds: KindsClient) => [
    kinds.unary({ value: 1 }, { timeoutMs: 1 }),
    kinds.up([{ value: 1 }]),
    // @ts-expect-error there is no such field
    kinds.unary({ valeu: 1 }),
    // @ts-expect-error the method takes many messages
    kinds.up({ value: 1 }),
    // @ts-expect-error there is no such option
    kinds.unary({}, { timeout: 1 }),
  ];
  equal([serve, wrong, use].length, 3);
});

Deno.test("names that are taken get a dollar sign, and one import has all there is to say", () => {
  same<Awaited<ReturnType<ShopClient["price"]>>, Money>();
  same<Parameters<ServiceHandlers<typeof Shop>["offer"]>[0], MessageStream<Money$>>();
  same<ReturnType<GreeterClient$["both"]>, MessageStream<GreeterClientMessage>>();
  same<"then" extends keyof MethodsClient ? true : false, false>();
  same<ReturnType<MethodsClient["then$"]>, ReturnType<MethodsClient["new"]>>();
  equal(Currency.EUR, 1);
  equal(PurseSchema.typeName, "corpus.other.Purse");
});
