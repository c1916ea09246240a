/**
 * Which handler answers which method.
 *
 * @module
 */

import type { ServerCall } from "./context.ts";
import {
  intercept,
  interceptedRequest,
  interceptedResponse,
  type Interceptor,
} from "./interceptor.ts";
import { type AnyService, type Method, methodsOf, type ServiceHandlers } from "./service.ts";

/** A handler of any kind of method. */
export type Handler = (request: unknown, call: ServerCall) => unknown;

/** A method with what answers it. */
export interface Route {
  /** The method. */
  readonly method: Method;
  /** Its handler. */
  readonly handler: Handler;
}

/** Takes the services that a server offers. */
export class Router {
  readonly #services = new Map<string, Map<string, Route>>();
  readonly #interceptors: readonly Interceptor[];

  /**
   * Use `serve()`.
   *
   * @param interceptors What stands around every handler, the outermost first.
   */
  constructor(interceptors: readonly Interceptor[] = []) {
    this.#interceptors = interceptors;
  }

  /**
   * Offers a service.
   *
   * @param service The service: as `protoc-gen-ttrpc-es` or `protoc-gen-es` generates it, or with
   * codecs of its own.
   * @param handlers A function for each method; they are called on this object, so it may be an
   * instance of a class. A client of the same service is such an object, too, and makes a proxy.
   * @returns The router.
   * @throws {TypeError} If the service is offered already, a method has no handler, or a plain
   * object has a function for which there is no method.
   */
  service<Service extends AnyService>(
    service: Service,
    handlers: ServiceHandlers<Service>,
  ): this {
    const methods = methodsOf(service);
    const { typeName } = service;
    if (this.#services.has(typeName)) throw new TypeError(`Cannot serve ${typeName} twice`);
    const given = handlers as Readonly<Record<string, unknown>>;
    checkNames(typeName, methods, given);
    const routes = new Map<string, Route>();
    for (const [name, method] of methods) {
      const handler = given[name];
      if (typeof handler !== "function") {
        throw new TypeError(
          `Cannot serve ${typeName}: there is no handler ${JSON.stringify(name)} ` +
            `for its method ${method.name}`,
        );
      }
      // To make a context takes a fifth of a small call's time, and most handlers take none. What
      // they find all the same, if they look, only cannot be spread.
      const bound: Handler = handler.length === 1
        ? (request, call) => handler.call(handlers, request, call)
        : (request, call) => handler.call(handlers, request, call.context);
      routes.set(method.name, { method, handler: this.#intercepted(method, bound) });
    }
    this.#services.set(typeName, routes);
    return this;
  }

  #intercepted(method: Method, handler: Handler): Handler {
    if (this.#interceptors.length === 0) return handler;
    const calls = new WeakMap<object, ServerCall>();
    const invoke = intercept(
      this.#interceptors,
      async ({ message, metadata, timeoutMs, context }) => {
        const call = context && calls.get(context);
        if (!call) {
          throw new TypeError(
            `An interceptor of ${method.path} has left out the request's context`,
          );
        }
        call.change(metadata, timeoutMs);
        const result = handler(message, call);
        return interceptedResponse(method, method.serverStreaming ? result : await result);
      },
    );
    return async (message, call) => {
      calls.set(call.context, call);
      return (await invoke(interceptedRequest(method, message, call.offer()))).message;
    };
  }

  /**
   * Finds what answers a method.
   *
   * @internal
   * @param service The full name of the service.
   * @param method The name of the method.
   * @returns The route; or, if there is none, what is missing, in the words of ttrpc.
   */
  find(service: string, method: string): Route | string {
    const routes = this.#services.get(service);
    if (!routes) return `service ${service}`;
    return routes.get(method) ?? `method ${method}`;
  }
}

/** Finds misspelt handlers, which would answer nothing. */
function checkNames(
  typeName: string,
  methods: ReadonlyMap<string, Method>,
  handlers: Readonly<Record<string, unknown>>,
): void {
  // An instance of a class may have other business, too.
  const prototype: unknown = Object.getPrototypeOf(handlers);
  if (prototype !== Object.prototype && prototype !== null) return;
  for (const [name, value] of Object.entries(handlers)) {
    if (methods.has(name) || typeof value !== "function") continue;
    const names = [...methods.keys()].map((known) => JSON.stringify(known)).join(", ");
    throw new TypeError(
      `Cannot serve ${typeName}: it has no method for the handler ${JSON.stringify(name)}; ` +
        `its methods are ${names || "none"}`,
    );
  }
}
