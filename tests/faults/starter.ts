// A process that starts a server on a path when it is told to, and says whether it could. Each line of
// its standard input is a path, or nothing to close that server.

import { serve, type Server } from "../../core.ts";

let server: Server | undefined;
const decoder = new TextDecoder();
let rest = "";
for await (const bytes of Deno.stdin.readable) {
  const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
  rest = lines.pop()!;
  for (const path of lines) {
    if (path === "") {
      server?.close();
      await server?.finished.catch(() => {});
      server = undefined;
      console.log("closed");
      continue;
    }
    try {
      server = serve({ path, onError: () => {} }, () => {});
      await server.listening;
      console.log("won");
    } catch (error) {
      server = undefined;
      console.log((error as Error).name);
    }
  }
}
