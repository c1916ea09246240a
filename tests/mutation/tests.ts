/** Which tests a file is tried with. */

/** Files whose behaviour is tested by other tests than their own, and those tests. */
const OTHERS: Record<string, string[]> = {
  "call_options.ts": ["call_options_unit"],
  "client.ts": ["unary", "client_wire", "streams", "reconnect"],
  "codec.ts": ["protobuf", "service"],
  "connection.ts": ["connection_end"],
  "dial.ts": ["dial_unit"],
  "intercepted.ts": ["guard", "guard_calls"],
  "interceptor.ts": ["intercepted"],
  "logger.ts": ["refused"],
  "method.ts": ["service", "unary"],
  "protobuf.ts": ["kept_bytes"],
  "reconnect.ts": ["reconnect_unit"],
  "running.ts": ["shutdown_handler"],
  "server.ts": ["server_wire", "shutdown", "streams_wire", "running_handlers"],
  "server_connection.ts": ["server_connection_end", "server_connection_refusals"],
  "tell.ts": ["messages", "unary"],
  "unix_listener.ts": ["stale_socket", "listen"],
};

/**
 * The tests of a file: `tests/NAME_test.ts` for `NAME.ts` in whatever folder, if there is one, and
 * those above.
 *
 * @param root The folder of the project.
 * @param file The file, from there.
 * @returns The tests, from there; none if there are none.
 */
export async function testsOf(root: string, file: string): Promise<string[]> {
  const name = file.slice(file.lastIndexOf("/") + 1);
  const own = `tests/${name.replace(/\.ts$/, "_test.ts")}`;
  const others = (OTHERS[name] ?? []).map((name) => `tests/${name}_test.ts`);
  const hasOwn = await Deno.stat(`${root}/${own}`).then(() => true, () => false);
  return hasOwn ? [own, ...others] : others;
}
