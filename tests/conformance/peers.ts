/** The suite against the other implementations, whose servers tests/interop/ builds and starts. */

import {
  go,
  newGo,
  oldGo,
  type Peer,
  type PeerServer,
  rama,
  rust,
  rustSync,
  trapeze,
} from "../interop/peer.ts";
import { type Result, runAgainstServer } from "./run.ts";
import { chooseCases, type Level, loadCases } from "./vector.ts";
import { dial } from "./wire.ts";

/** An implementation, and what it is measured by. */
export interface Subject {
  /** What known.json calls it. */
  name: string;
  title: string;
  peer: Peer;
  /** As for `--tags`. */
  tags: string[];
}

/** All there are. A further one needs a `Peer` with a server, a row here and one in known.json. */
export const SUBJECTS: readonly Subject[] = [
  { name: "go1.2.10", title: "Go 1.2.10", peer: newGo, tags: [] },
  { name: "go", title: "Go 1.2.8", peer: go, tags: [] },
  { name: "go1.1", title: "Go 1.1.2", peer: oldGo, tags: ["-streams", "-v1.2"] },
  { name: "rust", title: "ttrpc-rust 0.9", peer: rust, tags: ["+panic"] },
  {
    name: "rust-sync",
    title: "ttrpc-rust 0.9 sync",
    peer: rustSync,
    tags: ["-streams", "-v1.2", "+panic"],
  },
  { name: "trapeze", title: "trapeze 0.7.6", peer: trapeze, tags: ["+panic"] },
  { name: "rama", title: "rama 0.4.0", peer: rama, tags: ["+panic"] },
];

/** How long a case may take against a peer, in milliseconds. Some only fail by taking as long. */
const DEADLINE_MS = 3_000;

/** Runs the suite against a peer's server, which is started anew whenever a case has killed it. */
export async function checkPeer(
  { peer, tags }: Subject,
  { level }: { level?: Level } = {},
): Promise<Result[]> {
  let server: PeerServer | undefined = await peer.serve();
  let restarting: Promise<void> | undefined;
  const restart = async () => {
    await stop(server);
    server = await peer.serve();
    restarting = undefined;
  };
  const connect = async (until: number): Promise<Deno.Conn> => {
    try {
      await restarting;
      return await dial(server!.address, until);
    } catch {
      await (restarting ??= restart());
      return await dial(server!.address, until);
    }
  };
  try {
    const cases = chooseCases(loadCases(), { role: "server", tags })
      .filter((each) => level === undefined || each.level === level);
    return await runAgainstServer(cases, connect, DEADLINE_MS);
  } finally {
    await stop(server);
  }
}

async function stop(server: PeerServer | undefined): Promise<void> {
  // That it has died is for the cases to tell.
  await server?.[Symbol.asyncDispose]().catch(() => {});
}
