/** Calls in flight: the native library runs them in order, beside JavaScript, and says when each is done. */
import { native } from '../native.js';

/** One for each call in flight, in order; they keep alive what it works on. */
const settlers: (() => void)[] = [];
let listening = false;

/** Before the first call is submitted. */
export function listen(): void {
  if (listening) return;
  listening = true;
  native.onSettled(() => settlers.shift()!());
}

/** The outcome of the call submitted last: `outcome` answers or throws it when words and numbers say how the call ended. */
export function settled<R>(outcome: () => R): Promise<R> {
  return new Promise((resolve, reject) => {
    settlers.push(() => {
      try {
        resolve(outcome());
      } catch (error) {
        reject(error);
      }
    });
  });
}
