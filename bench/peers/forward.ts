// The smallest program between a client and a server: it only forwards bytes.

const [at, target] = Deno.args;

async function pump(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(1 << 15);
  for (let length = await from.read(buffer); length !== null; length = await from.read(buffer)) {
    let rest = buffer.subarray(0, length);
    while (rest.length > 0) rest = rest.subarray(await to.write(rest));
  }
}

const listener = Deno.listen({ transport: "unix", path: at! });
for await (const client of listener) {
  const server = await Deno.connect({ transport: "unix", path: target! });
  const both = Promise.all([pump(client, server), pump(server, client)]);
  void both.catch(() => {}).finally(() => {
    client.close();
    server.close();
  });
}
