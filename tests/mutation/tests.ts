/** Which tests a file is tried with. */

/** Files whose behaviour is tested by other tests than their own, and those tests. */
const OTHERS: Record<string, string[]> = {
  "backlog.ts": ["backpressure", "streams_wire"],
  "call.ts": ["unary", "client_wire", "streams", "streams_wire"],
  "client.ts": ["unary", "client_wire", "streams", "reconnect"],
  "client_connection.ts": ["client_wire", "streams_wire", "reconnect"],
  "codec.ts": ["protobuf", "service"],
  "connection.ts": ["client_wire", "server_wire", "streams_wire", "backpressure"],
  "context.ts": ["server_wire", "unary"],
  "deadline.ts": ["unary", "client_wire", "server_wire"],
  "dial.ts": ["reconnect", "client_wire"],
  "logger.ts": ["interceptor"],
  "messages.ts": ["streams", "streams_wire"],
  "reader.ts": ["envelope"],
  "retry.ts": ["interceptor"],
  "router.ts": ["service"],
  "server.ts": ["server_wire", "shutdown", "streams_wire"],
  "server_connection.ts": ["server_wire", "shutdown", "streams_wire"],
  "signal.ts": ["unary", "streams"],
  "stream.ts": ["streams_wire", "streams", "backpressure"],
  "timer.ts": ["unary", "reconnect", "shutdown"],
};

/**
 * The tests of a file: `tests/NAME_test.ts` for `NAME.ts`, if there is one, and those above.
 *
 * @param root The folder of the project.
 * @param file The file, from there.
 * @returns The tests, from there; none if there are none.
 */
export async function testsOf(root: string, file: string): Promise<string[]> {
  const own = `tests/${file.replace(/\.ts$/, "_test.ts")}`;
  const others = (OTHERS[file] ?? []).map((name) => `tests/${name}_test.ts`);
  const hasOwn = await Deno.stat(`${root}/${own}`).then(() => true, () => false);
  return hasOwn ? [own, ...others] : others;
}
