/**
 * BRASA_DEBUG, read once: 1 errors keep their whole stack; 2 also tells each plan when it is made, and what elementwise programs are
 * compiled to; 3 also each run, with its time. Anything else that is set counts as 1. BRASA_PROFILE: see watch.ts.
 */
const text = process.env.BRASA_DEBUG ?? '';
export const debugLevel: number = /^\d+$/.test(text) ? Number(text) : text === '' ? 0 : 1;
