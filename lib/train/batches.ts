import { setImmediate } from 'node:timers/promises';

/**
 * The batches one after the other. Awaiting what is ready never turns the event loop: every 20 ms it is let run, so that
 * signals and timers come through.
 */
export async function* eachBatch<B>(data: AsyncIterable<B> | Iterable<B>): AsyncGenerator<B, void, undefined> {
  let turned = performance.now();
  for await (const batch of data) {
    if (performance.now() - turned > 20) {
      await setImmediate();
      turned = performance.now();
    }
    yield batch;
  }
}
