/** Times work in this process; bench/peers/peer.py does the same in Python. */
import { median, type Pace } from './case.js';

const WARM_UP = 0.05;

/** Seconds a call: the median of samples, after a warm-up. `finish` waits for what calls have only begun. */
export function measure(work: () => unknown, { sample, samples, budget }: Pace, finish: () => void): number {
  const time = (calls: number): number => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) work();
    finish();
    return (performance.now() - start) / 1e3;
  };
  time(1); // what the first call records or compiles is no warm-up
  for (let spent = 0; spent < WARM_UP; ) spent += time(1);
  let calls = 1;
  while (time(calls) < sample) calls *= 2;
  const times: number[] = [];
  for (let spent = 0; times.length < samples || spent < budget; ) {
    const seconds = time(calls);
    times.push(seconds / calls);
    spent += seconds;
  }
  return median(times);
}
