/** Connects, writes a prepared frame, and waits for the complete reply. */

const HEADER_BYTES = 10;

/** Does that, and prints the memory of the process. The arguments are a path and the frame. */
export async function exchange(): Promise<void> {
  const [path = "", hex = ""] = Deno.args;
  const conn = await Deno.connect({ transport: "unix", path });
  const frame = Uint8Array.fromHex(hex);
  for (let rest = frame; rest.length > 0;) rest = rest.subarray(await conn.write(rest));
  const reply = new Uint8Array(1 << 12);
  let length = 0;
  let due = HEADER_BYTES;
  while (length < due) {
    length += await conn.read(reply.subarray(length)) ?? Infinity;
    if (length >= HEADER_BYTES) due = HEADER_BYTES + new DataView(reply.buffer).getUint32(0);
  }
  console.log(Deno.memoryUsage().rss);
  Deno.exit();
}
