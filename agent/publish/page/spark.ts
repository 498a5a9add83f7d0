/** The small plot of a source's last readings. Pure. */
import type { Reading } from './documents.ts';
import { counted, latency } from './texts.ts';

export interface Spark {
  /** `x,y` pairs of one stretch without a failure, each ready for a polyline. */
  readonly lines: readonly string[];
  /** Where readings failed. */
  readonly failed: readonly number[];
  readonly text: string;
}

/** Room for the failures' crosses above the line. */
const TOP = 7;
const BOTTOM = 2;
/** The usual latencies are a tenth of the rare ones: a logarithm shows both. */
const height = (ms: number): number => Math.log1p(ms);

/** The newest at the right edge; always as wide as `places` readings, so that a short history does not look like a long one. */
export function sparkOf(readings: readonly Reading[], width: number, tall: number, places = 60): Spark {
  const step = width / places;
  const x = (index: number): number => round(width - step / 2 - (readings.length - 1 - index) * step);
  const good = readings.filter(({ outcome }) => outcome === 'ok');
  const most = Math.max(height(1), ...good.map((reading) => height(reading.latency_ms)));
  const y = (ms: number): number => round(tall - BOTTOM - ((tall - TOP - BOTTOM) * height(ms)) / most);
  const lines: string[][] = [[]];
  const failed: number[] = [];
  readings.forEach(({ outcome, latency_ms: ms }, index) => {
    if (outcome === 'ok') lines.at(-1)?.push(`${x(index)},${y(ms)}`);
    else lines.push([]);
    if (outcome === 'failed') failed.push(x(index));
  });
  return {
    // A lone reading is a short stroke, since a line of one point draws nothing.
    lines: lines
      .filter((line) => line.length > 0)
      .map((line) => (line.length === 1 ? dash(line[0] ?? '', step) : line.join(' '))),
    failed,
    text: textOf(readings, good),
  };
}

function dash(point: string, step: number): string {
  const [x = '0', y = '0'] = point.split(',');
  return `${round(Number(x) - step / 2)},${y} ${round(Number(x) + step / 2)},${y}`;
}

function textOf(readings: readonly Reading[], good: readonly Reading[]): string {
  if (readings.length === 0) return 'no reading yet';
  const bad = readings.filter(({ outcome }) => outcome === 'failed');
  const times = good.map((reading) => reading.latency_ms).sort((one, other) => one - other);
  const middle = times[Math.floor(times.length / 2)];
  const [least, most] = [times[0], times.at(-1)];
  return [
    counted(readings.length, 'reading'),
    `${bad.length} failed`,
    ...(middle === undefined || least === undefined || most === undefined
      ? []
      : [`${latency(least)} to ${latency(most)}, mostly ${latency(middle)}`]),
  ].join(', ');
}

const round = (number: number): number => Math.round(number * 10) / 10;
