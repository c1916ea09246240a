/**
 * Stands in for `@std/streams/to-transform-stream` where JSR cannot be reached.
 *
 * @module
 */

/**
 * Makes a transform stream of a generator function.
 *
 * @typeparam I What goes in.
 * @typeparam O What comes out.
 * @param transformer Reads the stream that goes in and yields what comes out.
 * @param writableStrategy How much may wait before the transformer.
 * @param readableStrategy How much may wait behind it.
 * @returns The transform. An error on one side reaches the other.
 */
export function toTransformStream<I, O>(
  transformer: (src: ReadableStream<I>) => Iterable<O> | AsyncIterable<O>,
  writableStrategy?: QueuingStrategy<I>,
  readableStrategy?: QueuingStrategy<O>,
): TransformStream<I, O> {
  const input = new TransformStream<I, I>(undefined, writableStrategy);
  const output = iterate(transformer(input.readable));
  const readable = new ReadableStream<O>({
    async pull(controller) {
      try {
        const { done, value } = await output.next();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        await stop(error);
        controller.error(error);
      }
    },
    async cancel(reason) {
      try {
        await output.throw?.(reason);
      } catch {
        // A generator passes on what is thrown into it.
      }
      await stop(reason);
    },
  }, readableStrategy);
  return { writable: input.writable, readable };

  async function stop(reason: unknown): Promise<void> {
    try {
      await input.readable.cancel(reason);
    } catch {
      // Locked by a transformer that does not let go, or errored already: it is stopped as well.
    }
  }
}

function iterate<T>(source: Iterable<T> | AsyncIterable<T>): Iterator<T> | AsyncIterator<T> {
  if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
  if (Symbol.iterator in source) return source[Symbol.iterator]();
  throw new TypeError("Transformer must return an iterable or async iterable");
}
