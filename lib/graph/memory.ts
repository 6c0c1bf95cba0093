/** Where the intermediate values of a program lie: each as long as it is used, in one arena. */
const ALIGN = 64;

export interface Life {
  readonly bytes: number;
  /** First and last step that touch it. */
  readonly from: number;
  to: number;
}

/** Offsets, largest value first, each at the lowest place that is free for as long as it lives. */
export function place(lives: readonly Life[]): { offsets: number[]; bytes: number } {
  const offsets = new Array<number>(lives.length).fill(0);
  const placed: { start: number; end: number; life: Life }[] = [];
  let bytes = 0;
  const order = lives.map((_, i) => i).sort((a, b) => lives[b]!.bytes - lives[a]!.bytes || a - b);
  for (const i of order) {
    const life = lives[i]!;
    // Also what has no elements lies somewhere.
    const size = Math.max(Math.ceil(life.bytes / ALIGN), 1) * ALIGN;
    let start = 0;
    for (const other of placed) {
      if (other.life.to < life.from || other.life.from > life.to) continue;
      if (other.end <= start) continue;
      if (other.start >= start + size) break;
      start = other.end;
    }
    offsets[i] = start;
    placed.push({ start, end: start + size, life });
    placed.sort((a, b) => a.start - b.start);
    bytes = Math.max(bytes, start + size);
  }
  return { offsets, bytes };
}
