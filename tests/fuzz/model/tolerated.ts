/**
 * Where the engine does not do what the models say, and is let off. Each is a fault, or a question
 * that is open; whoever settles it takes the line out.
 */
export const TOLERATED = {
  /** A server may count a deadline of a millisecond after the model thinks that all is over. */
  lateDeadlines: true,
  /** The iterable of a caller whose `next()` has thrown is told to stop: `for await` does not. */
  returnAfterThrow: false,
  /**
   * With interceptors, an abort or `client.close()` takes from a stream that has ended what has come
   * and was not taken yet, and how it ended; and `client.close()` takes what has come of others.
   */
  endsTwice: true,
  /**
   * A caller's iterable that throws when its call is over already takes from the caller what has come
   * and was not taken yet.
   */
  lateThrow: false,
  /** Several calls of `next()` that wait at the same time get the end before messages. */
  order: true,
  /** A server that is writing when it reads the end of a connection notices a second later. */
  slowToNotice: true,
};
