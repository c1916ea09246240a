// What the crate rama-ttrpc 0.4.0 does wrong. The calls that work stand in matrix_test.ts, where it
// runs on one thread.

import { rama } from "./peer.ts";
import { OurServer } from "./services.ts";

// The client's reader takes a frame off its queue and then waits until the call has room for it. If
// anything else happens first, a call that begins or ends, it starts anew, and the frame is gone. On
// one thread there is always room for an answer. On two, 1 to 4 of 1,000 answers were lost in four
// of five runs, and their calls hang without a deadline.
rama.test("known defect: its client loses answers to calls at once on two threads", async () => {
  await using ours = new OurServer();
  await rama.threaded(2).call(ours.path, "concurrent-lost");
});

// The same on one thread: one message is lost, each time.
rama.test("known defect: a call costs its client a message of a stream nobody reads", async () => {
  await using ours = new OurServer();
  await rama.call(ours.path, "count-while-calling");
});

// As trapeze, whose code this was: of 100 messages, 62 to 100 were received before the error.
rama.test("known defect: its client may lose the messages before an error", async () => {
  await using ours = new OurServer();
  await rama.call(ours.path, "stream-fails-at-once");
});
