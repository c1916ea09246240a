/**
 * The router: registers handlers, finds that of a method, and runs it through the interceptors.
 *
 * @module
 */

import { bytesCodec } from "../codec.ts";
import { Expectation } from "./expected_replies.ts";
import {
  intercept,
  type InterceptedRequest,
  interceptedResponse,
  type Interceptor,
} from "../interceptor.ts";
import { MESSAGE_BYTES } from "../limits.ts";
import { DONE, iterate, MessageIterator } from "./messages.ts";
import { Method } from "./method.ts";
import { enter } from "./running.ts";
import { ServerCall } from "./server_call.ts";
import { type AnyService, type Messages, methodsOf, type ServiceHandlers } from "../service.ts";
import { isPromiseLike, tell } from "../async/tell.ts";

/** A handler of any kind of method. */
export type Handler = (request: unknown, call: ServerCall) => unknown;

/** A method with its handler. */
export interface Route {
  /** The method. */
  readonly method: Method;
  /** Its handler. */
  readonly handler: Handler;
  /** The length of its replies. */
  readonly replies: Expectation;
}

/**
 * Registers the services of a server.
 *
 * @category Server
 */
export class Router {
  /**
   * Runs the interceptors for a call that is refused; `undefined` if there are none.
   *
   * @internal
   */
  readonly refusals: Handler | undefined;
  readonly #services = new Map<string, Map<string, Route>>();
  readonly #interceptors: readonly Interceptor[];
  readonly #messageBytes: number;

  /**
   * Use `serve()`.
   *
   * @param interceptors Interceptors, outermost first.
   * @param messageBytes The longest reply, in bytes.
   */
  constructor(interceptors: readonly Interceptor[] = [], messageBytes = MESSAGE_BYTES) {
    this.#interceptors = [...interceptors];
    this.#messageBytes = messageBytes;
    this.refusals = interceptors.length === 0 ? undefined : this.#intercepted(() => {
      throw new TypeError("Cannot run a handler: the call is refused");
    });
  }

  /**
   * Registers a service.
   *
   * @param service The service: as `protoc-gen-ttrpc-es` or `protoc-gen-es` generates it, or a
   * descriptor with custom codecs.
   * @param handlers An object with a function for each method. The functions are called as methods
   * of the object, so it may be an instance of a class. It may also be a client of the same
   * service, which makes the server a proxy.
   * @returns The router.
   * @throws {TypeError} If the service is registered already, a method has no handler, or a plain
   * object has a function that is not a method of the service.
   */
  service<Service extends AnyService>(
    service: Service,
    handlers: ServiceHandlers<Service>,
  ): this {
    const methods = methodsOf(service);
    const { typeName } = service;
    if (this.#services.has(typeName)) {
      throw new TypeError(`Cannot serve ${typeName}: it is registered already`);
    }
    const given = handlers as Readonly<Record<string, unknown>>;
    checkNames(typeName, methods, given);
    const routes = new Map<string, Route>();
    for (const [name, method] of methods) {
      const handler = own(given, name);
      if (typeof handler !== "function") {
        throw new TypeError(
          `Cannot serve ${typeName}: there is no handler ${JSON.stringify(name)} ` +
            `for its method ${method.name}`,
        );
      }
      const bound: Handler = (request, call) => {
        const result = enter(call, () => handler.call(handlers, request, call.context));
        if (!isPromiseLike(result)) return result;
        // A thenable may do its work again each time that its `then()` is called.
        return call.work = Promise.resolve(result);
      };
      const replies = new Expectation(this.#messageBytes);
      routes.set(method.name, { method, handler: this.#intercepted(bound), replies });
    }
    this.#services.set(typeName, routes);
    return this;
  }

  #intercepted(handler: Handler): Handler {
    if (this.#interceptors.length === 0) return handler;
    const invoke = intercept(this.#interceptors, async (request: InterceptedRequest) => {
      const call = ServerCall.of(request);
      call.accept(request);
      const result = handler(request.message, call);
      const { method } = call;
      if (method.serverStreaming) {
        const messages = new RunningMessages(call, result as Messages<unknown>);
        return interceptedResponse(method, messages);
      }
      const message = isPromiseLike(result) ? await call.whileRunning(result) : result;
      return interceptedResponse(method, message);
    });
    return async (message, call) => (await invoke(call.offer(message))).message;
  }

  /**
   * Finds a method and its handler.
   *
   * @internal
   * @param service The full name of the service.
   * @param method The name of the method.
   * @returns The route; or, if there is none, what is missing, with the text that Go's server uses.
   */
  find(service: string, method: string): Route | string {
    const routes = this.#services.get(service);
    if (!routes) return `service ${service}`;
    return routes.get(method) ?? `method ${method}`;
  }
}

/** The messages of a handler, whose iteration ends when its call is over. */
class RunningMessages extends MessageIterator<unknown> {
  readonly #call: ServerCall;
  readonly #iterator: AsyncIterator<unknown> | Iterator<unknown>;
  #done = false;

  constructor(call: ServerCall, messages: Messages<unknown>) {
    super();
    this.#call = call;
    this.#iterator = iterate(messages);
  }

  async next(): Promise<IteratorResult<unknown>> {
    if (this.#done) return DONE;
    try {
      const next = enter(this.#call, () => this.#iterator.next());
      const result = await this.#call.whileRunning(Promise.resolve(next));
      this.#done ||= result.done === true;
      return result;
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  protected stop(): void {
    if (this.#done) return;
    this.#done = true;
    tell(() => {
      const stopped = this.#iterator.return?.();
      if (!isPromiseLike(stopped)) return stopped;
      return this.#call.work = Promise.resolve(stopped);
    });
  }
}

/**
 * Makes the method of a refused call from its names.
 *
 * @param service The full name of the service; empty if the request could not be decoded.
 * @param name The name of the method.
 * @returns A unary method of bytes.
 */
export function unknownMethod(service: string, name: string): Method {
  return new Method(service, { name, methodKind: "unary", input: bytesCodec, output: bytesCodec });
}

/** The property of an object or its class, except for those that every object has. */
function own(handlers: Readonly<Record<string, unknown>>, name: string): unknown {
  for (
    let owner: object | null = handlers;
    owner !== null && owner !== Object.prototype;
    owner = Object.getPrototypeOf(owner)
  ) {
    if (!Object.hasOwn(owner, name)) continue;
    // The constructor of a class is a function, too, but not a handler of a method `constructor`.
    return name === "constructor" && owner !== handlers ? undefined : handlers[name];
  }
  return undefined;
}

/** Finds misspelt handlers, which would never be called. */
function checkNames(
  typeName: string,
  methods: ReadonlyMap<string, Method>,
  handlers: Readonly<Record<string, unknown>>,
): void {
  // An instance of a class may have other methods, too.
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
