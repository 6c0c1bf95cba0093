// Small charts of a training: a line in the terminal, a page in SVG. Ours, since the libraries (vega-lite with vega: over 20 MB
// installed) are larger than all of brasa, for two panels with lines.
import { ArgumentError } from '../core/error.js';

const BLOCKS = '▁▂▃▄▅▆▇█';

/** Values as a line of at most `width` characters (each the mean of its share), from the smallest to the largest: `█▅▃▂▂▁▁▁`. */
export function sparkline(values: readonly number[], { width = 60 }: { width?: number } = {}): string {
  const cells = Math.min(width, values.length);
  const means = Array.from({ length: cells }, (_, i) => {
    const part = values.slice(Math.floor((i * values.length) / cells), Math.floor(((i + 1) * values.length) / cells));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const [low, high] = extent(means);
  const level = (value: number) => Math.round(((value - low) / (high - low || 1)) * (BLOCKS.length - 1));
  return means.map((value) => (Number.isFinite(value) ? BLOCKS[level(value)] : ' ')).join('');
}

/** A line through the points (x[i], y[i]); values that are not finite break it. */
export interface Series {
  name: string;
  x: readonly number[];
  y: readonly number[];
}

export interface Panel {
  title: string;
  xLabel?: string;
  /** A logarithmic y axis: for losses. Values <= 0 are left out. */
  log?: boolean;
  series: readonly Series[];
}

const WIDTH = 480;
const HEIGHT = 320;
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 16, 40, 40];
const COLORS = ['#d9480f', '#1971c2', '#2f9e44', '#9c36b5', '#5c5f66'];

/** Line charts beside one another as the text of an SVG file. Throws ArgumentError for series whose x and y differ in length. */
export function lineCharts(panels: readonly Panel[]): string {
  const drawn = panels.map((panel, i) => `<g transform="translate(${i * WIDTH} 0)">\n${drawPanel(panel)}\n</g>`);
  const width = panels.length * WIDTH;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${HEIGHT}" viewBox="0 0 ${width} ${HEIGHT}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
${drawn.join('\n')}
</svg>
`;
}

function drawPanel({ title, xLabel = '', log = false, series }: Panel): string {
  for (const { name, x, y } of series) {
    if (x.length !== y.length)
      throw new ArgumentError(`series '${name}' has ${x.length} x and ${y.length} y`, { op: 'lineCharts' });
  }
  const map = log ? (value: number) => (value > 0 ? Math.log10(value) : Number.NaN) : (value: number) => value;
  const xs = axis(extent(series.flatMap(({ x }) => x)), LEFT, WIDTH - RIGHT);
  const ys = axis(extent(series.flatMap(({ y }) => y.map(map))), HEIGHT - BOTTOM, TOP);
  const label = (value: number) => text(log ? (10 ** value).toPrecision(2) : String(value));
  const grid = ys.ticks.map(
    (value) =>
      `<path d="M${LEFT} ${ys.at(value)}H${WIDTH - RIGHT}" stroke="#e9ecef"/><text x="${LEFT - 6}" y="${ys.at(value)}" text-anchor="end" dominant-baseline="middle">${label(value)}</text>`,
  );
  const foot = xs.ticks.map(
    (value) =>
      `<text x="${xs.at(value)}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${text(String(value))}</text>`,
  );
  const lines = series.map(({ x, y }, i) => {
    const path = points(
      x.map(xs.at),
      y.map((value) => ys.at(map(value))),
    );
    return `<path d="${path}" fill="none" stroke="${COLORS[i % COLORS.length]}" stroke-width="1.5"/>`;
  });
  const legend = series.map(
    ({ name }, i) =>
      `<text x="${LEFT + 8 + i * 96}" y="${TOP - 8}" fill="${COLORS[i % COLORS.length]}">${text(name)}</text>`,
  );
  return [
    `<text x="${LEFT}" y="16" font-size="13" font-weight="bold">${text(title)}</text>`,
    ...grid,
    ...foot,
    `<text x="${WIDTH - RIGHT}" y="${HEIGHT - 6}" text-anchor="end">${text(xLabel)}</text>`,
    ...lines,
    ...legend,
  ].join('\n');
}

/** An SVG path, lifted at points that are not finite; a lone point is a short stroke. */
function points(x: readonly number[], y: readonly number[]): string {
  let path = '';
  let down = false;
  for (let i = 0; i < x.length; i++) {
    const fine = Number.isFinite(x[i]!) && Number.isFinite(y[i]!);
    if (fine)
      path += `${down ? 'L' : 'M'}${x[i]!.toFixed(1)} ${y[i]!.toFixed(1)}${down || i + 1 < x.length ? '' : 'h2'}`;
    down = fine;
  }
  return path;
}

/** Where a value lies between two pixels, and round numbers to mark. */
function axis([low, high]: [number, number], from: number, to: number) {
  const span = high - low || 1;
  const step = [1, 2, 5, 10].map((n) => n * 10 ** Math.floor(Math.log10(span / 4))).find((n) => span / n <= 5)!;
  const first = Math.ceil(low / step);
  const ticks = Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)),
  );
  return { at: (value: number) => Number((from + ((value - low) / span) * (to - from)).toFixed(1)), ticks };
}

function extent(values: readonly number[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : [0, 1];
}

function text(value: string): string {
  return value.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
